import { decodeJwt } from "jose";
import type { StoreFault, TokenQuestion } from "../store/ports/decisions.js";
import type { Auth } from "./claims.js";
import { boundKey } from "./claims.js";
import type { IssuerScope } from "./issuer-scope.js";
import type { IssuerVerifier } from "./issuer-verifier.js";
import type { KeySource } from "./keys/key-source.js";
import { TokenCache } from "./token-cache.js";
import type { TokenRefusal } from "./token-refusal.js";
import { refuseToken } from "./token-refusal.js";

/** A token that was verified, with what every request that carries it needs again. */
export interface VerifiedToken {
  readonly auth: Auth;
  /** What to ask the store, or why that is not known now; undefined if revocation is off. */
  readonly question: TokenQuestion | StoreFault | undefined;
  /** The user as a part of our keys; empty if the token names no subject. */
  readonly partition: string;
  /** The thumbprint of the key that must have signed a DPoP proof; undefined for a Bearer token. */
  readonly boundTo: string | undefined;
  /** Where its issuer keeps roles, if the gate was told. */
  readonly rolesClaim: string | undefined;
  /** Tells whose its names are, also at another gate: the issuers of the gate that has verified it. */
  readonly issuers: IssuerScope;
}

/** What a gate makes of the facts of a token. */
export interface Prepared extends Pick<VerifiedToken, "question" | "partition"> {
  /** Is it the same for the next request? */
  readonly lasts: boolean;
}

/** A verified token with what its verification rests on. */
interface Verification extends VerifiedToken {
  readonly verifier: IssuerVerifier;
  readonly keys: KeySource;
  readonly keysVersion: number;
}

export interface VerifierOptions {
  /** One for each configured issuer; the first that accepts an issuer verifies its tokens. */
  readonly issuers: readonly IssuerVerifier[];
  /** Must the token's (unverified) issuer be known to find its verifier or keys? */
  readonly byIssuer: boolean;
  readonly cacheSize: number;
  /** Called once for each token, when it was verified. It refuses one that does not say rightly whose it is. */
  readonly prepare: (auth: Auth) => Prepared | TokenRefusal;
}

/**
 * Verifies tokens of all issuers. A token seen before costs a look-up, and is answered synchronously, also when it has
 * expired since.
 */
export class Verifier {
  readonly #options: VerifierOptions;
  readonly #cache: TokenCache<Verification>;
  /** Verifications under way, by token: requests that come with one unknown token at once share one. */
  readonly #underWay = new Map<string, Promise<VerifiedToken | TokenRefusal>>();

  constructor(options: VerifierOptions) {
    this.#options = options;
    this.#cache = new TokenCache(options.cacheSize);
  }

  verify(token: string): VerifiedToken | TokenRefusal | Promise<VerifiedToken | TokenRefusal> {
    const known = this.#cache.get(token);
    if (known !== undefined && isUpToDate(known)) {
      return known.verifier.refusalNow(known.auth) ?? known;
    }
    const underWay = this.#underWay.get(token);
    if (underWay !== undefined) return underWay;
    const verification = this.#verifyAnew(token).finally(() => this.#underWay.delete(token));
    this.#underWay.set(token, verification);
    return verification;
  }

  async #verifyAnew(token: string): Promise<VerifiedToken | TokenRefusal> {
    const { issuers, byIssuer, prepare } = this.#options;
    const issuer = byIssuer ? unverifiedIssuer(token) : undefined;
    const verifier = byIssuer ? issuers.find((one) => issuer !== undefined && one.accepts(issuer)) : issuers[0];
    if (verifier === undefined) return refuseToken("no configured issuer issued the token");
    const keys = verifier.keysOf(issuer);
    const keysVersion = keys.version();
    const auth = await verifier.verify(token, issuer, keys);
    if ("code" in auth) return auth;
    const prepared = prepare(auth);
    if ("code" in prepared) return prepared;
    const { lasts, question, partition } = prepared;
    const verified: Verification = Object.freeze({
      auth,
      question,
      partition,
      boundTo: boundKey(auth.claims),
      rolesClaim: verifier.rolesClaim,
      issuers: verifier.issuers,
      verifier,
      keys,
      keysVersion,
    });
    if (keys.version() === keysVersion && lasts) this.#cache.set(verified);
    return verified;
  }
}

/** What was verified with a key that the issuer has taken back must not outlive it. */
function isUpToDate({ keys, keysVersion }: Verification): boolean {
  return keys.version() === keysVersion;
}

/** Chooses among verifiers and nothing else: the one it chooses demands the same issuer of the verified token. */
function unverifiedIssuer(token: string): string | undefined {
  try {
    const { iss } = decodeJwt(token) as { iss?: unknown };
    return typeof iss === "string" && iss !== "" ? iss : undefined;
  } catch {
    return undefined;
  }
}
