import type { JWTHeaderParameters, JWTPayload } from "jose";
import { claimAt, identifyingText, unfit } from "./identifying-claim.js";
import type { IssuerScope } from "./issuer-scope.js";
import { logoutEvent } from "./logout-token.js";
import { declaresOtherUse } from "./token-use.js";

/**
 * Tells TypeScript which claims your tokens have, for `auth.claims` everywhere; `auth.validate` and `requiredClaims` are what
 * makes it true:
 *
 * ```ts
 * declare module "@portcullis/core" {
 *   interface Register {
 *     claims: { tenant: string };
 *   }
 * }
 * ```
 */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type -- users add its member by augmentation
export interface Register {}

/** The claims of a verified token, deeply frozen: they are shared by all requests that carry it. */
export type Claims = Readonly<JWTPayload & (Register extends { claims: infer Registered } ? Registered : object)>;

/** Who is asking, as a verified token says. Frozen. */
export interface Auth<C = Claims> {
  /** The compact token. */
  readonly token: string;
  /** The protected JOSE header. */
  readonly header: Readonly<JWTHeaderParameters>;
  readonly claims: C;
  /**
   * Claim `sub`, or the first claim of `auth.subjectClaim` that the token has; empty if it has none, which per-user limits and
   * views refuse. Text, also where the claim is a number.
   */
  readonly subject: string;
  /** Claim `jti`. */
  readonly jti: string | undefined;
  /** Claim `sid`. */
  readonly sessionId: string | undefined;
  /** Claims `scope` and `scp`, each a space-separated string or an array. */
  readonly scopes: readonly string[];
  /** Claim `iss`; empty if the token has none. */
  readonly issuer: string;
  /** Identifies the user across issuers and claims; per-user limits, views and cut-offs go by it. Empty without a subject. */
  readonly principal: string;
  /** Claim `iat`, unix seconds. */
  readonly issuedAt: number | undefined;
  /** Claim `exp`, unix seconds. */
  readonly expiresAt: number;
}

/** Which claim names the user of a token. */
export interface SubjectRules {
  /** The first of them that a token has. Never empty. @default ["sub"] */
  readonly subjectClaims?: readonly string[] | undefined;
  /** May it be an integer? @default false */
  readonly numericSubject?: boolean | undefined;
}

/** What a token must satisfy beyond what jose checks. */
export interface ClaimRules extends SubjectRules {
  /** Seconds of clock difference forgiven for `nbf` and `iat`. */
  readonly toleranceSeconds: number;
  /** Longest `exp - iat` in seconds; a cut-off must outlive every token. */
  readonly maxLifetimeSeconds: number;
  readonly requireJti: boolean;
  /** Longest time since `iat` in seconds; undefined for any. */
  readonly maxTokenAgeSeconds?: number | undefined;
  /** Only the profile for access tokens of RFC 9068? */
  readonly strict?: boolean | undefined;
  /** What may confirm that the sender is the one a token was issued to (RFC 7800). */
  readonly confirmation?: ConfirmationRules | undefined;
  /** Is `exp` exact? With revocation on, our records end with it, so the tolerance must not extend it. */
  readonly exactExpiry: boolean;
}

/** How senders may prove that a token is theirs; what nobody here can verify is refused. */
export interface ConfirmationRules {
  /** By a DPoP proof (RFC 9449). */
  readonly dpop: "off" | "optional" | "required";
  /** By a TLS client certificate (RFC 8705), which the proxy in front verifies. */
  readonly certificate: boolean;
}

const onlyBearer: ConfirmationRules = { dpop: "off", certificate: false };

/** JOSE header types of access tokens (RFC 7519, RFC 9068); others are proofs, logout tokens, refresh tokens. */
const accessTokenTypes = new Set(["jwt", "at+jwt"]);

/** Why a token cannot be named, or has no end: nothing that is asked of the time. The reason is a fixed phrase for logs. */
export function refusalOfNames(claims: JWTPayload, rules: SubjectRules): string | undefined {
  const { exp, iss, jti, sid } = claims;
  // It may be anything: a null is no text either.
  const sub: unknown = claims.sub;
  if (!isTime(exp)) return "exp is missing or is not a time";
  if (iss !== undefined && !isIdentifier(iss)) return "iss is not a non-empty string";
  if (jti !== undefined && !isIdentifier(jti)) return "jti is not a non-empty string";
  if (sid !== undefined && !isIdentifier(sid)) return "sid is not a non-empty string";
  if (sub === null || readSubject(sub, rules) === unfit) return causeOfSubject(sub, rules);
  const named = findSubject(claims, rules);
  return named?.text === unfit ? causeOfSubject(named.value, rules) : undefined;
}

function causeOfSubject(value: unknown, { numericSubject = false }: SubjectRules): string {
  if (numericSubject) return "the claim that names the user is neither text nor a safe integer";
  return typeof value === "number"
    ? "the claim that names the user is a number, and auth.numericSubject is not set"
    : "the claim that names the user is not text";
}

const onlySub: readonly string[] = ["sub"];

interface FoundSubject {
  readonly text: string | typeof unfit;
  readonly value: unknown;
  /** The claim, if it is not the first that may name users. */
  readonly laterClaim: string | undefined;
}

/** The first of the claims that a token has; undefined if it has none of them. */
function findSubject(claims: JWTPayload, rules: SubjectRules): FoundSubject | undefined {
  const { subjectClaims = onlySub } = rules;
  for (const [index, name] of subjectClaims.entries()) {
    const value = claimAt(claims, name);
    const text = readSubject(value, rules);
    if (text !== undefined) return { text, value, laterClaim: index === 0 ? undefined : name };
  }
  return undefined;
}

function readSubject(value: unknown, { numericSubject = false }: SubjectRules): ReturnType<typeof identifyingText> {
  return typeof value === "number" && !numericSubject ? unfit : identifyingText(value);
}

/**
 * Why a token whose signature, `iss`, `aud`, `exp` and `nbf` jose accepted must still be refused, at whatever time; undefined
 * if it may pass. The reason is a fixed phrase for logs.
 */
export function refusalOfClaims(
  header: Readonly<JWTHeaderParameters>,
  claims: JWTPayload,
  rules: ClaimRules,
): string | undefined {
  const { exp = 0, iat, jti, cnf } = claims;
  const unnamed = refusalOfNames(claims, rules);
  if (unnamed !== undefined) return unnamed;
  if (iat !== undefined && !isTime(iat)) return "iat is not a time";
  if (iat !== undefined && exp - iat > rules.maxLifetimeSeconds) return livesTooLong;
  if (jti === undefined && rules.requireJti) return "jti is missing and auth.requireJti is set";
  if (rules.strict === true && !isStrict(header, claims))
    return "the token is none of RFC 9068, and auth.strict is set";
  if (!isAccessTokenType(header.typ)) return "typ says that this is no access token";
  if (header.b64 !== undefined) return "the payload of a token is always base64url";
  if (declaresOtherUse(claims) || declaresOtherUse(header)) return "the claims say that this is no access token";
  // Logout tokens need have no typ.
  if (isObject(claims.events) && Object.hasOwn(claims.events, logoutEvent)) return "a logout token is no access token";
  return refusalOfConfirmation(cnf, rules.confirmation ?? onlyBearer);
}

/** Why a token must be refused for the time it is when it is verified; {@link refusalOfTime} is asked again later. */
export function refusalOfFirstTime(claims: JWTPayload, rules: ClaimRules, nowSeconds: number): string | undefined {
  const { exp = 0, iat } = claims;
  if (iat !== undefined && iat > nowSeconds + rules.toleranceSeconds) return "iat is in the future";
  const untimely = refusalOfTime(claims, rules, nowSeconds);
  if (untimely !== undefined) return untimely;
  return iat === undefined && exp - nowSeconds > rules.maxLifetimeSeconds ? livesTooLong : undefined;
}

const livesTooLong = "the token lives longer than auth.maxLifetime";

/**
 * A token that is bound to something nobody here verifies would be a Bearer token to whoever stole it. So each method that
 * is known must be proven, and one at least must be there; members that are not understood are ignored beside it
 * (RFC 7800 3.1), as are other names of a key that is proven.
 */
function refusalOfConfirmation(cnf: unknown, rules: ConfirmationRules): string | undefined {
  if (cnf === undefined)
    return rules.dpop === "required" ? "the token is bound to no key, and auth.dpop.required is set" : undefined;
  if (!isObject(cnf)) return "cnf is not an object";
  const { jkt, "x5t#S256": certificate } = cnf as { readonly jkt?: unknown; readonly "x5t#S256"?: unknown };
  const asked = [
    ...(isAbsent(jkt) ? [] : [rules.dpop !== "off" && isThumbprint(jkt)]),
    ...(isAbsent(certificate) ? [] : [rules.certificate && isThumbprint(certificate)]),
  ];
  if (asked.length === 0 || asked.includes(false))
    return "cnf asks for a proof that auth.dpop or auth.certificateBound would allow";
  return rules.dpop === "required" && isAbsent(jkt)
    ? "the token is bound to no key, and auth.dpop.required is set"
    : undefined;
}

/** Some issuers write null for what they leave out. */
function isAbsent(member: unknown): boolean {
  return member === undefined || member === null;
}

/** SHA-256 in base64url. */
function isThumbprint(value: unknown): boolean {
  return typeof value === "string" && /^[A-Za-z0-9_-]{43}$/.test(value);
}

/** The thumbprint (RFC 7638) of the key that a token is bound to, if it is. */
export function boundKey({ cnf }: Claims): string | undefined {
  return (cnf as { jkt?: string | null } | undefined)?.jkt ?? undefined;
}

/**
 * Why a token must be refused for the time it is: what was true when it was verified is asked again at every request. One
 * that does not say when it was issued is too old, as far as anybody knows.
 */
export function refusalOfTime(
  { exp, nbf, iat }: JWTPayload,
  rules: ClaimRules,
  nowSeconds: number,
): string | undefined {
  const { toleranceSeconds, exactExpiry, maxTokenAgeSeconds } = rules;
  if (exp === undefined || exp <= nowSeconds - (exactExpiry ? 0 : toleranceSeconds)) return "the token is expired";
  if (nbf !== undefined && nbf > nowSeconds + toleranceSeconds) return "the token is not valid yet";
  if (maxTokenAgeSeconds !== undefined && (iat === undefined || nowSeconds - iat > maxTokenAgeSeconds))
    return "the token is older than auth.maxTokenAge";
  return undefined;
}

/** What an access token of RFC 9068 must have (2.1, 2.2); the values are checked like everybody's. */
function isStrict({ typ }: Readonly<JWTHeaderParameters>, claims: JWTPayload): boolean {
  const names = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"];
  return (
    /^(?:application\/)?at\+jwt$/i.test(typeof typ === "string" ? typ : "") &&
    names.every((name) => claims[name] !== undefined) &&
    claims.sub !== ""
  );
}

function isAccessTokenType(typ: unknown): boolean {
  if (typ === undefined) return true;
  return typeof typ === "string" && accessTokenTypes.has(typ.toLowerCase().replace(/^application\//, ""));
}

/** The facts of a verified token, frozen with everything in it. */
export function createAuth(
  token: string,
  header: JWTHeaderParameters,
  claims: JWTPayload,
  issuers: IssuerScope,
  rules: SubjectRules,
): Auth {
  const { text, laterClaim } = findSubject(claims, rules) ?? {};
  const subject = typeof text === "string" ? text : "";
  const auth: Auth = Object.freeze({
    token,
    header: freezeDeeply(header),
    claims: freezeDeeply(claims),
    subject,
    jti: claims.jti,
    sessionId: claims.sid as string | undefined,
    scopes: Object.freeze([...new Set([...words(claims.scope), ...words(claims.scp)])]),
    issuer: claims.iss ?? "",
    principal: subject === "" ? "" : issuers.principal(claims.iss, subject, laterClaim),
    issuedAt: claims.iat,
    expiresAt: claims.exp ?? 0,
  });
  issuers.note(auth);
  return auth;
}

/** A claim of scopes, which some issuers write as a space-separated string and others as an array. */
function words(claim: unknown): string[] {
  if (typeof claim === "string") return claim.split(" ").filter((word) => word !== "");
  return Array.isArray(claim) ? claim.filter((word): word is string => typeof word === "string" && word !== "") : [];
}

/** A claim that is one value or an array of them. A value with blanks is one all the same: nobody may spell two in it. */
export function values(claim: unknown): string[] {
  const all: readonly unknown[] = Array.isArray(claim) ? claim : [claim];
  return all.filter((value): value is string => typeof value === "string" && value !== "");
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function isIdentifier(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

/**
 * Without recursion: a payload may nest as deep as its size allows. A member named `__proto__` goes: harmless here, it
 * would become the prototype of a copy made by assignment.
 */
function freezeDeeply<T extends object>(root: T): T {
  const waiting: unknown[] = [root];
  while (waiting.length > 0) {
    const value = waiting.pop();
    if (typeof value !== "object" || value === null || Object.isFrozen(value)) continue;
    if (Object.hasOwn(value, "__proto__")) Reflect.deleteProperty(value, "__proto__");
    Object.freeze(value);
    for (const member of Object.values(value)) waiting.push(member);
  }
  return root;
}
