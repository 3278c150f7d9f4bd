import { decodeJwt, decodeProtectedHeader, errors, jwtVerify } from "jose";
import type { JWTHeaderParameters, JWTPayload, JWTVerifyOptions } from "jose";
import { kindFound, quotedList, urlFound } from "../http/denial-detail.js";
import type { TokenQuestion } from "../store/ports/decisions.js";
import type { StoreFault } from "../store/ports/fault.js";
import type { ClaimRules } from "./access-token.js";
import type { Audience } from "./audience.js";
import { refusalOfAudience } from "./audience.js";
import { certainTimes, refusalOfClaims, refusalOfFirstTime, refusalOfTime, isCanonical } from "./access-token.js";
import type { Auth } from "./claims.js";
import { boundKey, createAuth } from "./claims.js";
import type { IssuerScope } from "./issuer-scope.js";
import { refusalOfError } from "./error-refusal.js";
import type { KeySource } from "./keys/key-source.js";
import { TokenCache } from "./token-cache.js";
import type { TokenRefusal } from "./token-refusal.js";
import { refuseClaim, refuseToken } from "./token-refusal.js";

/** A token that was verified. */
export interface VerifiedToken {
  readonly auth: Auth;
  /** The question whether it is revoked, or the fault that prevents it; undefined if revocation is off. */
  readonly question: TokenQuestion | StoreFault | undefined;
  /** The user as a part of Redis keys; empty if the token has no subject. */
  readonly partition: string;
  /** The thumbprint of the key that must have signed a DPoP proof; undefined for a Bearer token. */
  readonly boundTo: string | undefined;
  /** The claim with its roles; undefined for the default claims. */
  readonly rolesClaim: string | undefined;
  /** The issuers of the gate that verified it; they tell its identifiers apart, also at another gate. */
  readonly issuers: IssuerScope;
  /** Consumption of a limit, kept for the next request with this token. */
  readonly note?: TokenNote | undefined;
}

/** A value that is looked up for each request of a token, kept beside the token. */
export interface TokenNote {
  /** The member of a group of limits that has written the value; undefined for none. */
  writer: object | undefined;
  /** The value is out of date if this number of the writer is another one. */
  generation: number;
  value: unknown;
}

/** Facts that a gate derives from a verified token. */
export interface Prepared extends Pick<VerifiedToken, "question" | "partition"> {
  /** Is the result valid for later requests too? */
  readonly lasts: boolean;
}

/** The parts of a {@link Verification}. */
type Verified = Omit<VerifiedToken, "note"> & {
  readonly verifier: IssuerVerifier;
  readonly keys: KeySource;
  readonly keysVersion: number;
};

/**
 * A verified token with the keys and rules that verified it, and everything else that each request with this token needs. With
 * many users each object that a request reads is a miss of the processor's caches, so this is one object, and its own note.
 */
class Verification implements VerifiedToken, TokenNote {
  /** The text of the token. */
  readonly token: string;
  readonly #from: number;
  readonly #until: number;
  readonly keys: KeySource;
  readonly keysVersion: number;
  readonly auth: Auth;
  readonly question: VerifiedToken["question"];
  readonly boundTo: string | undefined;
  readonly note: TokenNote = this;
  writer: object | undefined = undefined;
  generation = 0;
  value: unknown = undefined;
  readonly partition: string;
  readonly verifier: IssuerVerifier;
  readonly rolesClaim: string | undefined;
  readonly issuers: IssuerScope;

  constructor({ auth, question, partition, boundTo, rolesClaim, issuers, verifier, keys, keysVersion }: Verified) {
    const { from, until } = certainTimes(auth.claims, verifier.options.rules);
    this.token = auth.token;
    this.#from = from;
    this.#until = until;
    this.keys = keys;
    this.keysVersion = keysVersion;
    this.auth = auth;
    this.question = question;
    this.boundTo = boundTo;
    this.partition = partition;
    this.verifier = verifier;
    this.rolesClaim = rolesClaim;
    this.issuers = issuers;
  }

  /** A verification must not outlive its key. */
  get isUpToDate(): boolean {
    return this.keys.version === this.keysVersion;
  }

  /** The refusal by the time; undefined while the token is valid. */
  refusalAt(nowSeconds: number): TokenRefusal | undefined {
    if (nowSeconds >= this.#from && nowSeconds < this.#until) return undefined;
    return refusalOfTime(this.auth.claims, this.verifier.options.rules, nowSeconds);
  }
}

export interface VerifierOptions {
  /** One for each configured issuer; the first that accepts an issuer verifies its tokens. */
  readonly issuers: readonly IssuerVerifier[];
  /** Does the (unverified) issuer of a token choose its verifier or keys? */
  readonly byIssuer: boolean;
  readonly cacheSize: number;
  /** Called once for each verified token. Refuses a token whose identifying claims identify nobody. */
  readonly prepare: (auth: Auth) => Prepared | TokenRefusal | Promise<Prepared | TokenRefusal>;
}

/** Finds the keys of an issuer. */
export type KeysOf = (verifier: IssuerVerifier, issuer: string | undefined) => KeySource;

/** Verifies tokens of all issuers. A known token costs a look-up and is answered synchronously, also after its expiry. */
export class Verifier {
  readonly #options: VerifierOptions;
  readonly #cache: TokenCache<Verification>;
  /** Verifications in progress, by token: concurrent requests with the same unknown token share one. */
  readonly #pending = new Map<string, Promise<VerifiedToken | TokenRefusal>>();

  constructor(options: VerifierOptions) {
    this.#options = options;
    this.#cache = new TokenCache(options.cacheSize);
  }

  /** A token that was verified before, as it is kept, which is compared faster; undefined for another text. */
  readonly known = (token: string): string | undefined => this.#cache.get(token)?.token;

  verify(token: string): VerifiedToken | TokenRefusal | Promise<VerifiedToken | TokenRefusal> {
    const known = this.#cache.get(token);
    if (known?.isUpToDate === true) return known.refusalAt(known.verifier.nowSeconds()) ?? known;
    const pending = this.#pending.get(token);
    if (pending !== undefined) return pending;
    const verification = this.#verifyAnew(token).finally(() => this.#pending.delete(token));
    this.#pending.set(token, verification);
    return verification;
  }

  /** The time from which requests with a verified token are refused for its age, in unix seconds. */
  endOf(auth: Auth): number {
    const { issuers, byIssuer } = this.#options;
    const verifier = byIssuer ? issuers.find((one) => one.accepts(auth.issuer)) : issuers[0];
    return verifier?.endOf(auth) ?? auth.expiresAt;
  }

  /** Verifies a token anew, by the keys that this function returns, and keeps nothing. */
  inspect(token: string, keysOf: KeysOf): Promise<VerifiedToken | TokenRefusal> {
    return this.#verifyAnew(token, keysOf);
  }

  /** The verifier for the (unverified) issuer of a token; undefined if the gate does not accept it. */
  chosenFor(token: string): IssuerVerifier | undefined {
    const { issuers, byIssuer } = this.#options;
    if (!byIssuer) return issuers[0];
    const issuer = unverifiedIssuer(token);
    return issuers.find((one) => issuer !== undefined && one.accepts(issuer));
  }

  async #verifyAnew(token: string, keysOf?: KeysOf): Promise<VerifiedToken | TokenRefusal> {
    const { issuers, byIssuer, prepare } = this.#options;
    const issuer = byIssuer ? unverifiedIssuer(token) : undefined;
    const verifier = byIssuer ? issuers.find((one) => issuer !== undefined && one.accepts(issuer)) : issuers[0];
    if (verifier === undefined)
      return refuseToken("the gate does not accept the issuer of the token", () => ({
        claim: "iss",
        expected: quotedList(issuers.flatMap((one) => one.named ?? ["an issuer that a function accepts"])),
        found: issuer === undefined ? "none" : urlFound(issuer),
      }));
    const keys = keysOf === undefined ? verifier.keysOf(issuer) : keysOf(verifier, issuer);
    const keysVersion = keys.version;
    const auth = await verifier.verify(token, issuer, keys);
    if ("code" in auth) return auth;
    const prepared = await prepare(auth);
    if ("code" in prepared) return prepared;
    const { lasts, question, partition } = prepared;
    const { rolesClaim, issuers: scope } = verifier;
    const of = { auth, question, partition, boundTo: boundKey(auth.claims), rolesClaim, issuers: scope };
    const verified = new Verification({ ...of, verifier, keys, keysVersion });
    if (keysOf === undefined && keys.version === keysVersion && lasts) this.#cache.set(verified);
    return verified;
  }
}

/** Only chooses the verifier, which then requires the same issuer of the verified token. */
function unverifiedIssuer(token: string): string | undefined {
  try {
    const { iss } = decodeJwt(token) as { iss?: unknown };
    return typeof iss === "string" && iss !== "" ? iss : undefined;
  } catch {
    return undefined;
  }
}

/** Decides whether the gate accepts tokens of an issuer. Only `true` accepts. */
export type IssuerTest = (issuer: string) => boolean;

/** The rules for tokens of one issuer, or of several issuers that share keys and rules. */
export interface IssuerVerifierOptions {
  /** The keys of an accepted issuer; undefined if the issuer does not choose the keys. */
  readonly keysOf: (issuer: string | undefined) => KeySource;
  /** The same without fetching; undefined if a request would fetch the keys first. @default `keysOf` */
  readonly knownKeysOf?: ((issuer: string | undefined) => KeySource | undefined) | undefined;
  readonly algorithms: readonly string[];
  /** Undefined: any issuer. */
  readonly issuer: readonly string[] | IssuerTest | undefined;
  readonly audience: Audience;
  readonly requiredClaims: readonly string[];
  readonly rules: ClaimRules;
  /** Replaces the rules for access tokens, for routes that take other tokens. */
  readonly refusalOf?:
    | ((header: JWTHeaderParameters, claims: JWTPayload, nowSeconds: number) => string | TokenRefusal | undefined)
    | undefined;
  /** The check by the application, after all others. */
  readonly validate: TokenValidator | undefined;
  /** The claim that `requireRole()` reads. */
  readonly rolesClaim: string | undefined;
}

/** Decides whether a verified token is accepted. Only `true` accepts. Called once for each token, not at every request. */
export type TokenValidator = (auth: Auth) => boolean | Promise<boolean>;

/** Verifies compact JWTs of one issuer with jose. */
export class IssuerVerifier {
  readonly rolesClaim: string | undefined;
  readonly #options: IssuerVerifierOptions;
  readonly #joseOptions: JWTVerifyOptions;
  /** Tells the identifiers of several issuers apart. */
  readonly issuers: IssuerScope;
  /** Required claims that name the user. */
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

  /** Does it verify tokens of this issuer? An error of the application's function is a bug, not a refusal. */
  accepts(issuer: string): boolean {
    const { issuer: accepted } = this.#options;
    if (typeof accepted !== "function") return accepted === undefined || accepted.includes(issuer);
    return isYes(accepted(issuer));
  }

  /** The accepted issuers; undefined where a function decides, or any is accepted. */
  get named(): readonly string[] | undefined {
    const { issuer } = this.#options;
    return typeof issuer === "object" ? issuer : undefined;
  }

  keysOf(issuer: string | undefined): KeySource {
    return this.#options.keysOf(issuer);
  }

  get options(): IssuerVerifierOptions {
    return this.#options;
  }

  /** The time by the clock of this process, in unix seconds. */
  nowSeconds(): number {
    return this.#now() / 1000;
  }

  /** The time from which {@link refusalOfTime} refuses the token for its age. */
  endOf({ expiresAt, issuedAt }: Auth): number {
    const issued = issuedAt === undefined ? undefined : { iat: issuedAt };
    return certainTimes({ exp: expiresAt, ...issued }, this.#options.rules).until;
  }

  /** Verifies a token. An error of `validate` is a bug of the application, not a refusal. */
  async verify(token: string, issuer: string | undefined, keys: KeySource): Promise<Auth | TokenRefusal> {
    const { validate } = this.#options;
    const auth = await this.#check(token, issuer, keys);
    if ("code" in auth || validate === undefined) return auth;
    const answer: unknown = await validate(auth);
    if (answer === true) return auth;
    return refuseToken("auth.validate refuses the token", () => ({ expected: "true", found: kindFound(answer) }));
  }

  /** The checks of a token, in their order. */
  async #check(token: string, issuer: string | undefined, keys: KeySource): Promise<Auth | TokenRefusal> {
    const { rules, audience, refusalOf } = this.#options;
    try {
      // 1. One spelling of the signature.
      if (!isCanonical(withoutPadding(token))) return refuseToken("the signature is not in canonical base64url");
      // 2. Algorithm, key and signature; then exp, nbf, iss, aud and the required claims, by jose.
      const { header, payload } = await this.#verifySignature(token, issuer, keys);
      const nowSeconds = this.nowSeconds();
      // 3. The other claims and the header; a route may have rules of its own for them.
      const refusal =
        refusalOf === undefined ? refusalOfClaims(header, payload, rules) : refusalOf(header, payload, nowSeconds);
      if (refusal !== undefined) return typeof refusal === "string" ? refuseToken(refusal) : refusal;
      // 4. Required claims that name the user are not empty.
      const empty = this.#requiredNames.find((name) => isEmpty(payload[name]));
      if (empty !== undefined) return refuseClaim("a required claim is empty", empty, payload[empty], "a value");
      // 5. The audience, if another claim than aud says it.
      const foreign = refusalOfAudience(payload, audience);
      if (foreign !== undefined) return foreign;
      // 6. Times, last: the clock of this process may be wrong, so another reason counts first.
      const untimely = refusalOf === undefined ? refusalOfFirstTime(payload, rules, nowSeconds) : undefined;
      return untimely ?? createAuth(token, header, payload, this.issuers, rules);
    } catch (error) {
      return refusalOfError(error, {
        token,
        algorithms: this.#options.algorithms,
        issuers: issuer === undefined ? this.named : [issuer],
        audiences: audience === false || "claim" in audience ? undefined : audience,
        toleranceSeconds: rules.toleranceSeconds,
        nowSeconds: this.nowSeconds(),
      });
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
        // Another key may fit. An error that is not from jose comes from a weak or damaged key of a fetched set.
        const goesOn = error instanceof errors.JWSSignatureVerificationFailed || !(error instanceof errors.JOSEError);
        if (!goesOn) throw error;
      }
    }
    throw candidates.length === 0 ? new errors.JWKSNoMatchingKey() : new errors.JWSSignatureVerificationFailed();
  }
}

/** Padded tokens get here only by `auth.paddedTokens`. */
function withoutPadding(token: string): string {
  return token.endsWith("=") ? token.replace(/={1,2}$/, "") : token;
}

/** Does a claim that names the user name nobody? */
function isEmpty(value: unknown): boolean {
  return value === "" || value === null;
}

/** Only `true` is a yes. A promise is not, and its rejection must not end the process. */
export function isYes(answer: unknown): boolean {
  if (answer instanceof Promise) answer.catch(() => undefined);
  return answer === true;
}
