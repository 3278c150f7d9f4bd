import { decodeProtectedHeader, errors, jwtVerify } from "jose";
import type { JWTHeaderParameters, JWTVerifyOptions } from "jose";
import type { TokenQuestion } from "../store/ports.js";
import type { Auth, ClaimRules } from "./claims.js";
import { createAuth, isTooOld, refusalOfClaims } from "./claims.js";
import type { IssuerScope } from "./issuer-scope.js";
import type { KeySource } from "./keys.js";
import { KeysUnavailable } from "./keys.js";
import { TokenCache } from "./token-cache.js";

/** A token that was verified, with what every request that carries it needs again. */
export interface VerifiedToken {
  readonly auth: Auth;
  /** What to ask the store; undefined if revocation is off. */
  readonly question: TokenQuestion | undefined;
  /** The user as a part of our keys; empty if the token names no subject. */
  readonly partition: string;
}

export interface VerifierOptions {
  readonly keys: KeySource;
  readonly algorithms: readonly string[];
  readonly issuer: string | readonly string[] | undefined;
  readonly audience: string | readonly string[] | false;
  readonly issuers: IssuerScope;
  readonly requiredClaims: readonly string[];
  readonly rules: ClaimRules;
  /** The application's own say about a token, once it is verified. */
  readonly validate?: TokenValidator | undefined;
  readonly cacheSize: number;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Called once for each token, when it was verified. */
  readonly prepare: (auth: Auth) => Omit<VerifiedToken, "auth">;
}

/** Says true of a token that may pass; anything else refuses it. Asked once for each token, not at every request. */
export type TokenValidator = (auth: Auth) => boolean | Promise<boolean>;

/** Why a token is refused; `keys_unavailable` is an outage, not a fault of the token. */
export interface TokenRefusal {
  readonly code: "token_invalid" | "keys_unavailable";
  /** A fixed phrase or jose's error code, for logs. */
  readonly cause: string;
}

/** Verifies compact JWTs with jose. A token seen before costs a look-up, and is answered synchronously. */
export class Verifier {
  readonly #options: VerifierOptions;
  readonly #joseOptions: JWTVerifyOptions;
  readonly #cache: TokenCache;
  /** Verifications under way, by token: requests that come with one unknown token at once share one. */
  readonly #underWay = new Map<string, Promise<VerifiedToken | TokenRefusal>>();
  #keysVersion = 0;

  constructor(options: VerifierOptions) {
    this.#options = options;
    const { issuer, audience, requiredClaims, rules } = options;
    this.#joseOptions = {
      clockTolerance: rules.toleranceSeconds,
      requiredClaims: ["exp", ...requiredClaims],
      ...(issuer === undefined ? {} : { issuer: typeof issuer === "string" ? issuer : [...issuer] }),
      ...(audience === false ? {} : { audience: typeof audience === "string" ? audience : [...audience] }),
    };
    this.#cache = new TokenCache(options.cacheSize);
  }

  verify(token: string): VerifiedToken | Promise<VerifiedToken | TokenRefusal> {
    this.#forgetOldKeys();
    const known = this.#cache.get(token);
    if (known !== undefined && this.#isCurrent(known.auth)) return known;
    const underWay = this.#underWay.get(token);
    if (underWay !== undefined) return underWay;
    const verification = this.#verifyAnew(token).finally(() => this.#underWay.delete(token));
    this.#underWay.set(token, verification);
    return verification;
  }

  /** What was verified with a key that the issuer has taken back must not outlive it. */
  #forgetOldKeys(): void {
    const version = this.#options.keys.version();
    if (version === this.#keysVersion) return;
    this.#keysVersion = version;
    this.#cache.clear();
  }

  /** Expiry and not-before once more: the entry may be older than them. */
  #isCurrent({ expiresAt, claims }: Auth): boolean {
    const { now, rules } = this.#options;
    const seconds = now() / 1000;
    if (isTooOld(claims.iat, rules, seconds)) return false;
    const tolerance = rules.exactExpiry ? 0 : rules.toleranceSeconds;
    return (
      expiresAt > seconds - tolerance && (claims.nbf === undefined || claims.nbf <= seconds + rules.toleranceSeconds)
    );
  }

  async #verifyAnew(token: string): Promise<VerifiedToken | TokenRefusal> {
    const { keys, validate, prepare } = this.#options;
    const keysVersion = keys.version();
    const auth = await this.#examine(token);
    if ("code" in auth) return auth;
    // Outside of what turns errors into refusals: an error in here is a bug of the application.
    if (validate !== undefined) {
      const answer: unknown = await validate(auth);
      if (answer !== true) return refusal("auth.validate refuses the token");
    }
    const verified: VerifiedToken = Object.freeze({ auth, ...prepare(auth) });
    if (keys.version() === keysVersion) this.#cache.set(verified);
    return verified;
  }

  async #examine(token: string): Promise<Auth | TokenRefusal> {
    try {
      if (!isCanonical(token)) return refusal("the signature is not in canonical base64url");
      const { header, payload } = await this.#verifySignature(token);
      const cause = refusalOfClaims(header, payload, this.#options.rules, this.#options.now() / 1000);
      return cause === undefined ? createAuth(token, header, payload, this.#options.issuers) : refusal(cause);
    } catch (error) {
      if (error instanceof KeysUnavailable) return { code: "keys_unavailable", cause: error.message };
      // A weak key in a fetched set makes jose throw a TypeError: the token cannot be verified all the same.
      return refusal(error instanceof errors.JOSEError ? error.code : "the token cannot be verified");
    }
  }

  async #verifySignature(token: string): Promise<{ header: JWTHeaderParameters; payload: Auth["claims"] }> {
    const { keys, algorithms, now } = this.#options;
    const unverified = decodeProtectedHeader(token) as JWTHeaderParameters;
    if (!algorithms.includes(unverified.alg)) throw new errors.JOSEAlgNotAllowed();
    const candidates = await keys.candidates(unverified);
    for (const candidate of candidates) {
      try {
        const { protectedHeader, payload } = await jwtVerify(token, candidate.key, {
          ...this.#joseOptions,
          algorithms: [...candidate.algorithms],
          currentDate: new Date(now()),
        });
        return { header: protectedHeader, payload };
      } catch (error) {
        // Another key may fit. What is not of jose comes of the key: a weak or damaged one of a fetched set.
        const goesOn = error instanceof errors.JWSSignatureVerificationFailed || !(error instanceof errors.JOSEError);
        if (!goesOn) throw error;
      }
    }
    throw candidates.length === 0 ? new errors.JWKSNoMatchingKey() : new errors.JWSSignatureVerificationFailed();
  }
}

function refusal(cause: string): TokenRefusal {
  return { code: "token_invalid", cause };
}

/** base64url has spare bits at its end: two spellings of one signature would be two tokens to a cache. */
function isCanonical(token: string): boolean {
  const signature = token.slice(token.lastIndexOf(".") + 1);
  return Buffer.from(signature, "base64url").toString("base64url") === signature;
}
