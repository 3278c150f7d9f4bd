import type { ResolvedDpop } from "../auth/dpop/options.js";
import type { Keyspace } from "../store/keyspace.js";
import type { Challenges } from "./challenges.js";
import { denyForClock } from "./challenges.js";
import type { ReplayCheck } from "../store/ports/decisions.js";
import type { DenialDetail } from "../http/denial-detail.js";
import type { Header, Denied } from "../http/verdict.js";
import { DpopNonces } from "../auth/dpop/nonce.js";
import type { Exchange } from "../http/exchange.js";
import type { VerifiedToken } from "../auth/verifier.js";
import type { StoreHealth } from "../store/ports/health.js";
import { verifyProof } from "../auth/dpop/proof.js";

export interface ProofOfPossessionOptions {
  readonly dpop: ResolvedDpop;
  readonly toleranceSeconds: number;
  readonly keys: Keyspace;
  readonly challenges: Challenges;
  readonly health: StoreHealth;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** A proof that is valid if the store has not seen it before. */
export interface Proof {
  readonly replayCheck: ReplayCheck;
  /** Fields for the response: a new nonce. */
  readonly headers: readonly Header[];
}

/** Verifies that the sender of a bound token has the key that the token is bound to (DPoP, RFC 9449). */
export class ProofOfPossession {
  readonly #options: ProofOfPossessionOptions;
  readonly #nonces: DpopNonces | undefined;
  /** A proof is remembered for as long as it may be accepted, by any of the clocks. */
  readonly #rememberMs: number;

  constructor(options: ProofOfPossessionOptions) {
    const { dpop, toleranceSeconds, now } = options;
    this.#options = options;
    this.#nonces = dpop.nonceSecret === undefined ? undefined : new DpopNonces(dpop.nonceSecret, now);
    this.#rememberMs = Math.ceil((dpop.maxAgeSeconds + 2 * toleranceSeconds) * 1000) + 1000;
  }

  /** Verifies the proof for a token that is bound to the key with this thumbprint. */
  async prove<Raw>(exchange: Exchange<Raw>, { auth }: VerifiedToken, thumbprint: string): Promise<Proof | Denied> {
    const { dpop, toleranceSeconds, keys, challenges, health, now } = this.#options;
    const proof = exchange.header("dpop");
    if (proof === undefined) return challenges.proofInvalid("the request has no DPoP proof", missing);
    const verified = await verifyProof(proof, {
      method: exchange.method,
      uri: dpop.baseUrl + pathOf(exchange.url),
      accessToken: auth.token,
      thumbprint,
      algorithms: dpop.algorithms,
      nowSeconds: now() / 1000,
      maxAgeSeconds: dpop.maxAgeSeconds,
      toleranceSeconds,
    });
    if ("cause" in verified)
      return (
        (verified.isUntimely === true ? denyForClock(health) : undefined) ??
        challenges.proofInvalid(verified.cause, verified.detail)
      );
    const freshness = this.#nonces?.judge(verified.nonce ?? "");
    if (this.#nonces !== undefined && freshness === "unknown") return challenges.nonceRequired(this.#nonces.current());
    const headers: readonly Header[] =
      this.#nonces !== undefined && freshness === "stale" ? [["DPoP-Nonce", this.#nonces.current()]] : [];
    return { replayCheck: { key: keys.proof(thumbprint, verified.jti), ttlMs: this.#rememberMs }, headers };
  }
}

const missing = (): DenialDetail => ({ header: "DPoP", expected: "a proof", found: "none" });

/** The path alone, also of a request line in absolute form: the client chooses the host there. */
export function pathOf(url: string): string {
  const path = url.startsWith("/") ? url : url.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, "");
  return path.startsWith("/") ? path : `/${path}`;
}
