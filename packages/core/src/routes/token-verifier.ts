import type { IssuerVerifierOptions } from "../auth/issuer-verifier.js";
import { IssuerVerifier } from "../auth/issuer-verifier.js";
import { Verifier } from "../auth/verifier.js";
import type { ResolvedAuth } from "../options/auth.js";

/** What a route asks of tokens, where it is not what the guard asks. */
export type TokenDemands = Partial<Omit<IssuerVerifierOptions, "keysOf" | "algorithms" | "issuer">>;

/** A verifier of the gate's issuers, with their keys, whose tokens must satisfy something else than those of requests. */
export function createTokenVerifier<Raw>(
  { issuers, scope, byIssuer }: ResolvedAuth<Raw>,
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
    prepare: () => ({ question: undefined, partition: "" }),
  });
}
