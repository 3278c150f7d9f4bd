import { decodeProtectedHeader, errors, jwtVerify } from "jose";
import type { JWTHeaderParameters, JWTPayload, JWTVerifyOptions } from "jose";
import type { Auth, ClaimRules } from "./claims.js";
import { createAuth, refusalOfClaims, refusalOfFirstTime, refusalOfTime, values } from "./claims.js";
import { isCanonical } from "./compact-jws.js";
import type { IssuerScope } from "./issuer-scope.js";
import type { KeySource } from "./keys/key-source.js";
import { KeysUnavailable } from "./keys/key-source.js";
import type { TokenRefusal } from "./token-refusal.js";
import { refuseToken, untimelyToken } from "./token-refusal.js";

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
    const auth = await this.#examine(token, issuer, keys);
    const { validate } = this.#options;
    if ("code" in auth || validate === undefined) return auth;
    const answer: unknown = await validate(auth);
    return answer === true ? auth : refuseToken("auth.validate refuses the token");
  }

  async #examine(token: string, issuer: string | undefined, keys: KeySource): Promise<Auth | TokenRefusal> {
    try {
      if (!isCanonical(token)) return refuseToken("the signature is not in canonical base64url");
      const { header, payload } = await this.#verifySignature(token, issuer, keys);
      const { rules, audience, refusalOf } = this.#options;
      const nowSeconds = this.#now() / 1000;
      const refusal =
        refusalOf === undefined ? refusalOfClaims(header, payload, rules) : refusalOf(header, payload, nowSeconds);
      if (refusal !== undefined) return typeof refusal === "string" ? refuseToken(refusal) : refusal;
      if (this.#requiredNames.some((name) => isEmpty(payload[name]))) return refuseToken("a required claim is empty");
      if (!isMeantFor(payload, audience)) return refuseToken("the token is meant for somebody else");
      // Last: what our clock may be wrong about is no reason where there is another.
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
