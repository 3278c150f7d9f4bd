import type { IssuerVerifierOptions } from "../auth/verifier.js";
import { IssuerVerifier, Verifier } from "../auth/verifier.js";
import type { TokenRefusal } from "../auth/token-refusal.js";
import type { OpenedAuth } from "../auth/issuers.js";
import type { DecisionStore } from "../store/ports/decisions.js";
import { clockDiffers } from "../store/ports/decisions.js";

/** What a route asks of tokens, where it is not what the guard asks. */
export type TokenDemands = Partial<Omit<IssuerVerifierOptions, "keysOf" | "algorithms" | "issuer">>;

/** A verifier of the gate's issuers, with their keys, whose tokens must satisfy something else than those of requests. */
export function createTokenVerifier<Raw>(
  { issuers, scope, byIssuer }: OpenedAuth<Raw>,
  demandsOn: (issuer: IssuerVerifierOptions) => TokenDemands,
  now: () => number,
): Verifier {
  return new Verifier({
    issuers: issuers.map(
      (issuer) => new IssuerVerifier({ ...issuer, validate: undefined, ...demandsOn(issuer) }, scope, now),
    ),
    byIssuer,
    // Each comes once.
    cacheSize: 1,
    prepare: () => ({ question: undefined, partition: "", lasts: true }),
  });
}

/** Is a token refused for the issuer's keys or for our clock, so that nobody can say whether it is good? */
export function isOurFault({ code }: TokenRefusal, store: Pick<DecisionStore, "state">): boolean {
  return code === "keys_unavailable" || (code === "token_untimely" && clockDiffers(store));
}
