import type { IssuerVerifierOptions } from "../auth/verifier.js";
import { IssuerVerifier, Verifier } from "../auth/verifier.js";
import type { TokenRefusal } from "../auth/token-refusal.js";
import type { OpenedAuth } from "../auth/issuers.js";
import { clockDiffers } from "../store/ports/health.js";
import type { StoreHealth } from "../store/ports/health.js";

/** Requirements of a route on tokens, where they differ from those of the guard. */
export type TokenRequirements = Partial<Omit<IssuerVerifierOptions, "keysOf" | "algorithms" | "issuer">>;

/** A verifier with the issuers and keys of the gate, and other requirements than for requests. */
export function createTokenVerifier<Raw>(
  { issuers, scope, byIssuer }: OpenedAuth<Raw>,
  requirementsOf: (issuer: IssuerVerifierOptions) => TokenRequirements,
  now: () => number,
): Verifier {
  return new Verifier({
    issuers: issuers.map(
      (issuer) => new IssuerVerifier({ ...issuer, validate: undefined, ...requirementsOf(issuer) }, scope, now),
    ),
    byIssuer,
    // Each token comes once.
    cacheSize: 1,
    prepare: () => ({ question: undefined, partition: "", lasts: true }),
  });
}

/** Was the token refused because the keys of the issuer are missing, or because our clock is wrong? Then it may be valid. */
export function isUnverifiable({ code }: TokenRefusal, health: StoreHealth): boolean {
  return code === "keys_unavailable" || (code === "token_untimely" && clockDiffers(health));
}
