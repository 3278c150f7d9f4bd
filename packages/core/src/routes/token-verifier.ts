import type { IssuerVerifierOptions } from "../auth/issuer-verifier.js";
import { IssuerVerifier } from "../auth/issuer-verifier.js";
import type { TokenRefusal } from "../auth/token-refusal.js";
import { Verifier } from "../auth/verifier.js";
import type { ResolvedAuth } from "../auth/resolve.js";
import type { DecisionStore } from "../store/ports/decisions.js";
import { clockDiffers } from "../store/ports/decisions.js";

/** What a route asks of tokens, where it is not what the guard asks. */
export type TokenRequirements = Partial<Omit<IssuerVerifierOptions, "keysOf" | "algorithms" | "issuer">>;

/** A verifier of the gate's issuers, with their keys, whose tokens must satisfy something else than those of requests. */
export function createTokenVerifier<Raw>(
  { issuers, scope, byIssuer }: ResolvedAuth<Raw>,
  requirementsOf: (issuer: IssuerVerifierOptions) => TokenRequirements,
  now: () => number,
): Verifier {
  return new Verifier({
    issuers: issuers.map(
      (issuer) => new IssuerVerifier({ ...issuer, validate: undefined, ...requirementsOf(issuer) }, scope, now),
    ),
    byIssuer,
    // Each comes once.
    cacheSize: 1,
    prepare: () => ({ question: undefined, partition: "", lasts: true }),
  });
}

/** Is a token refused for the issuer's keys or for our clock, so that nobody can say whether it is good? */
export function isUnverifiable({ code }: TokenRefusal, store: Pick<DecisionStore, "state">): boolean {
  return code === "keys_unavailable" || (code === "token_untimely" && clockDiffers(store));
}
