import { decodeJwt, decodeProtectedHeader, errors, jwtVerify } from "jose";
import type { JWTHeaderParameters, JWTPayload, JWTVerifyOptions } from "jose";
import { LRUCache } from "lru-cache";
import type { StoreFault, TokenQuestion } from "../store/ports/decisions.js";
import type { ClaimRules } from "./access-token.js";
import { refusalOfClaims, refusalOfFirstTime, refusalOfTime } from "./access-token.js";
import type { Auth } from "./claims.js";
import { boundKey, createAuth, values } from "./claims.js";
import { isCanonical } from "./compact-jws.js";
import type { IssuerScope } from "./issuer-scope.js";
import type { KeySource } from "./keys/key-source.js";
import { KeysUnavailable } from "./keys/key-source.js";
import type { TokenRefusal } from "./token-refusal.js";
import { refuseToken, untimelyToken } from "./token-refusal.js";

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
  readonly #pending = new Map<string, Promise<VerifiedToken | TokenRefusal>>();

  constructor(options: VerifierOptions) {
    this.#options = options;
    this.#cache = new TokenCache(options.cacheSize);
  }

  verify(token: string): VerifiedToken | TokenRefusal | Promise<VerifiedToken | TokenRefusal> {
    const known = this.#cache.get(token);
    if (known !== undefined && isUpToDate(known)) {
      return known.verifier.refusalNow(known.auth) ?? known;
    }
    const pending = this.#pending.get(token);
    if (pending !== undefined) return pending;
    const verification = this.#verifyAnew(token).finally(() => this.#pending.delete(token));
    this.#pending.set(token, verification);
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

/** Says whether an issuer is one of those whose tokens are accepted. Exactly true is yes. */
export type IssuerTest = (issuer: string) => boolean;

/** For whom a token must be meant: its `aud` is one of these, or another claim is, or anybody. */
export type Audience = readonly string[] | false | { readonly claim: string; readonly values: readonly string[] };

/** What tokens of one issuer (or of several that share keys and rules) must satisfy. */
export interface IssuerVerifierOptions {
  /** The keys of this issuer; it was accepted already, and is undefined if nobody asked. */
  readonly keysOf: (issuer: string | undefined) => KeySource;
  readonly algorithms: readonly string[];
  /** Undefined: any. */
  readonly issuer: readonly string[] | IssuerTest | undefined;
  readonly audience: Audience;
  readonly requiredClaims: readonly string[];
  readonly rules: ClaimRules;
  /** What else may refuse a token, instead of the rules for access tokens. */
  readonly refusalOf?:
    | ((header: JWTHeaderParameters, claims: JWTPayload, nowSeconds: number) => string | TokenRefusal | undefined)
    | undefined;
  /** The application's own say about a token, once it is verified. */
  readonly validate: TokenValidator | undefined;
  /** Where `requireRole()` looks. */
  readonly rolesClaim: string | undefined;
}

/** Says true of a token that may pass; anything else refuses it. Asked once for each token, not at every request. */
export type TokenValidator = (auth: Auth) => boolean | Promise<boolean>;

/** Verifies compact JWTs of one issuer with jose. */
export class IssuerVerifier {
  readonly rolesClaim: string | undefined;
  readonly #options: IssuerVerifierOptions;
  readonly #joseOptions: JWTVerifyOptions;
  /** Tells whose the names in its tokens are. */
  readonly issuers: IssuerScope;
  /** Claims that name the user, and that must be there. */
  readonly #requiredNames: readonly string[];
  /** Unix milliseconds. */
  readonly #now: () => number;

  constructor(options: IssuerVerifierOptions, scope: IssuerScope, now: () => number) {
    this.#options = options;
    this.issuers = scope;
    this.#now = now;
    this.rolesClaim = options.rolesClaim;
    const { audience, requiredClaims, rules, issuer } = options;
    const { subjectClaims = [] } = rules;
    this.#requiredNames = requiredClaims.filter((name) => name === "sub" || subjectClaims.includes(name));
    this.#joseOptions = {
      clockTolerance: rules.toleranceSeconds,
      requiredClaims: ["exp", ...requiredClaims],
      ...(typeof issuer === "object" ? { issuer: [...issuer] } : {}),
      ...(audience === false || "claim" in audience ? {} : { audience: [...audience] }),
    };
  }

  /** Is this the verifier for tokens that name this issuer? An error of the application's test is its bug. */
  accepts(issuer: string): boolean {
    const { issuer: accepted } = this.#options;
    if (typeof accepted !== "function") return accepted === undefined || accepted.includes(issuer);
    return isYes(accepted(issuer));
  }

  keysOf(issuer: string | undefined): KeySource {
    return this.#options.keysOf(issuer);
  }

  /** Why a token that was verified a while ago is good no longer, or not yet; undefined if it still is. */
  refusalNow({ claims }: Auth): TokenRefusal | undefined {
    const cause = refusalOfTime(claims, this.#options.rules, this.#now() / 1000);
    return cause === undefined ? undefined : untimelyToken(cause);
  }

  /** The facts of a token, or why it is refused. An error of `validate` is the application's bug, not a refusal. */
  async verify(token: string, issuer: string | undefined, keys: KeySource): Promise<Auth | TokenRefusal> {
    const { validate } = this.#options;
    const auth = await this.#check(token, issuer, keys);
    if ("code" in auth || validate === undefined) return auth;
    const answer: unknown = await validate(auth);
    return answer === true ? auth : refuseToken("auth.validate refuses the token");
  }

  /** The checks of a token, in their order. */
  async #check(token: string, issuer: string | undefined, keys: KeySource): Promise<Auth | TokenRefusal> {
    const { rules, audience, refusalOf } = this.#options;
    try {
      // 1. One spelling of the signature.
      if (!isCanonical(token)) return refuseToken("the signature is not in canonical base64url");
      // 2. Algorithm, key and signature; then exp, nbf, iss, aud and the required claims, by jose.
      const { header, payload } = await this.#verifySignature(token, issuer, keys);
      const nowSeconds = this.#now() / 1000;
      // 3. The other claims and the header; a route may have rules of its own for them.
      const refusal =
        refusalOf === undefined ? refusalOfClaims(header, payload, rules) : refusalOf(header, payload, nowSeconds);
      if (refusal !== undefined) return typeof refusal === "string" ? refuseToken(refusal) : refusal;
      // 4. Required claims that name the user are not empty.
      if (this.#requiredNames.some((name) => isEmpty(payload[name]))) return refuseToken("a required claim is empty");
      // 5. The audience, if another claim than aud says it.
      if (!isMeantFor(payload, audience)) return refuseToken("the token is meant for somebody else");
      // 6. Times, last: the clock of this process may be wrong, so another reason counts first.
      const untimely = refusalOf === undefined ? refusalOfFirstTime(payload, rules, nowSeconds) : undefined;
      if (untimely !== undefined) return untimelyToken(untimely);
      return createAuth(token, header, payload, this.issuers, rules);
    } catch (error) {
      if (error instanceof KeysUnavailable) return { code: "keys_unavailable", cause: error.message };
      if (isUntimely(error)) return untimelyToken(error.code);
      // A weak key in a fetched set makes jose throw a TypeError: the token cannot be verified all the same.
      return refuseToken(error instanceof errors.JOSEError ? error.code : "the token cannot be verified");
    }
  }

  async #verifySignature(
    token: string,
    issuer: string | undefined,
    keys: KeySource,
  ): Promise<{ header: JWTHeaderParameters; payload: Auth["claims"] }> {
    const unverified = decodeProtectedHeader(token) as JWTHeaderParameters;
    if (!this.#options.algorithms.includes(unverified.alg)) throw new errors.JOSEAlgNotAllowed();
    const candidates = await keys.candidates(unverified);
    for (const candidate of candidates) {
      try {
        const { protectedHeader, payload } = await jwtVerify(token, candidate.key, {
          ...this.#joseOptions,
          ...(issuer === undefined ? {} : { issuer }),
          algorithms: [...candidate.algorithms],
          currentDate: new Date(this.#now()),
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

/** Is a claim that names the user as good as missing? */
function isEmpty(value: unknown): boolean {
  return value === "" || value === null;
}

/** Only true is a yes of the application's. A promise is none, and its failure must not end the process. */
export function isYes(answer: unknown): boolean {
  if (answer instanceof Promise) answer.catch(() => undefined);
  return answer === true;
}

/** Has jose found a token expired, or not valid yet? */
function isUntimely(error: unknown): error is errors.JOSEError {
  if (error instanceof errors.JWTExpired) return true;
  return error instanceof errors.JWTClaimValidationFailed && error.claim === "nbf" && error.reason === "check_failed";
}

/** Some providers say in another claim than `aud` whom a token is for, such as Amazon Cognito in `client_id`. */
function isMeantFor(claims: Auth["claims"], audience: Audience): boolean {
  if (audience === false || !("claim" in audience)) return true;
  return (
    Object.hasOwn(claims, audience.claim) &&
    values(claims[audience.claim]).some((value) => audience.values.includes(value))
  );
}

/** What an entry must tell of itself. */
export interface Tokened {
  readonly auth: { readonly token: string };
}

/** How much of a token finds its entry. The last characters belong to the signature, so they differ between tokens. */
const tailLength = 32;
/** Most characters of all tokens kept, so that large tokens do not take more memory than many. */
const maxCharacters = 8 * 1024 * 1024;

/**
 * Tokens that were verified, so that a signature is checked once and not at every request. Exact: an entry is found by the
 * token's tail and used only if the whole token is equal. It belongs to one verifier. What may have changed since, expiry,
 * not-before and revocation, is checked again on every hit by those who know.
 */
export class TokenCache<Entry extends Tokened> {
  readonly #entries: LRUCache<string, Entry>;

  constructor(size: number) {
    this.#entries = new LRUCache({
      max: size,
      maxSize: maxCharacters,
      sizeCalculation: ({ auth }) => auth.token.length,
    });
  }

  get size(): number {
    return this.#entries.size;
  }

  get(token: string): Entry | undefined {
    const entry = this.#entries.get(token.slice(-tailLength));
    return entry !== undefined && entry.auth.token === token ? entry : undefined;
  }

  set(entry: Entry): void {
    this.#entries.set(entry.auth.token.slice(-tailLength), entry);
  }

  delete(entry: Entry): void {
    this.#entries.delete(entry.auth.token.slice(-tailLength));
  }

  clear(): void {
    this.#entries.clear();
  }
}
