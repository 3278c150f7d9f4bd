import type { JWTHeaderParameters, JWTPayload } from "jose";
import { claimAt, identifyingText, notIdentifying, showClaim } from "./identifying-claim.js";
import type { IssuerScope } from "./issuer-scope.js";
import type { TokenRefusal } from "./token-refusal.js";
import { refuseClaim } from "./token-refusal.js";

/**
 * Declares the claims of your tokens to TypeScript, for `auth.claims` everywhere; in the module that you import, which may
 * also be `"@portcullis/koa"` or `"@portcullis/core"`. The options `auth.validate` and `requiredClaims` ensure that tokens
 * have them:
 *
 * ```ts
 * declare module "@portcullis/express" {
 *   interface Register {
 *     claims: { tenant: string };
 *   }
 * }
 * ```
 */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type -- users add its member by augmentation
export interface Register {}

/** The claims of a verified token. Deeply frozen, since all requests with the token share them. */
export type Claims = Readonly<JWTPayload & (Register extends { claims: infer Registered } ? Registered : object)>;

/** The verified token of a request. Frozen. */
export interface Auth<C = Claims> {
  /** The compact token. */
  readonly token: string;
  /** The protected JOSE header. */
  readonly header: Readonly<JWTHeaderParameters>;
  /** The payload. */
  readonly claims: C;
  /**
   * Claim `sub`, or the first claim of `auth.subjectClaim` that the token has, as text also if the claim is a number. Empty if
   * the token has none; limits and cache views per user then refuse it.
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
  /** The user, unique across issuers and claims: key of limits, cache views and cut-offs per user. Empty without a subject. */
  readonly principal: string;
  /** Claim `iat`, unix seconds. */
  readonly issuedAt: number | undefined;
  /** Claim `exp`, unix seconds. */
  readonly expiresAt: number;
}

/** Rules for the claim that names the user. */
export interface SubjectRules {
  /** Claims of which the first that a token has names the user. Never empty. @default ["sub"] */
  readonly subjectClaims?: readonly string[] | undefined;
  /** May the claim be an integer? @default false */
  readonly numericSubject?: boolean | undefined;
}

/** Checks that `exp` is there and that identifying claims identify. Returns a refusal; its cause is a fixed phrase for logs. */
export function refusalOfNames(claims: JWTPayload, rules: SubjectRules): TokenRefusal | undefined {
  const { exp, iss, jti, sid } = claims;
  // The type of jose does not hold: sub may be any JSON value, also null.
  const sub: unknown = claims.sub;
  if (!isTime(exp)) return refuseClaim("exp is missing or is not a time", "exp", exp, "a number of seconds");
  if (iss !== undefined && !isIdentifier(iss)) return refuseClaim("iss is not a non-empty string", "iss", iss, "text");
  if (jti !== undefined && !isIdentifier(jti)) return refuseClaim("jti is not a non-empty string", "jti", jti, "text");
  if (sid !== undefined && !isIdentifier(sid)) return refuseClaim("sid is not a non-empty string", "sid", sid, "text");
  if (sub === null || readSubject(sub, rules) === notIdentifying) return refuseSubject("sub", sub, rules);
  const named = findSubject(claims, rules);
  return named?.text === notIdentifying ? refuseSubject(showClaim(named.name), named.value, rules) : undefined;
}

function refuseSubject(name: string, value: unknown, { numericSubject = false }: SubjectRules): TokenRefusal {
  if (numericSubject)
    return refuseClaim(
      "the claim that names the user is neither text nor a safe integer",
      name,
      value,
      "text or an integer",
    );
  const cause =
    typeof value === "number"
      ? "the claim that names the user is a number, and auth.numericSubject is not set"
      : "the claim that names the user is not text";
  return refuseClaim(cause, name, value, "text");
}

const onlySub: readonly string[] = ["sub"];

interface FoundSubject {
  readonly text: string | typeof notIdentifying;
  readonly value: unknown;
  readonly name: string;
  /** The name of the claim, unless it is the first of the list. */
  readonly laterClaim: string | undefined;
}

/** Finds the claim that names the user; undefined for none. */
function findSubject(claims: JWTPayload, rules: SubjectRules): FoundSubject | undefined {
  const { subjectClaims = onlySub } = rules;
  for (const [index, name] of subjectClaims.entries()) {
    const value = claimAt(claims, name);
    const text = readSubject(value, rules);
    if (text !== undefined) return { text, value, name, laterClaim: index === 0 ? undefined : name };
  }
  return undefined;
}

function readSubject(value: unknown, { numericSubject = false }: SubjectRules): ReturnType<typeof identifyingText> {
  return typeof value === "number" && !numericSubject ? notIdentifying : identifyingText(value);
}

/** The thumbprint (RFC 7638) of the key that a token is bound to; undefined for a Bearer token. */
export function boundKey({ cnf }: Claims): string | undefined {
  return (cnf as { jkt?: string | null } | undefined)?.jkt ?? undefined;
}

/** The thumbprint of the client certificate that a token is bound to (RFC 8705 3.1); undefined for none. */
export function boundCertificate({ cnf }: Claims): string | undefined {
  return (cnf as { "x5t#S256"?: string | null } | undefined)?.["x5t#S256"] ?? undefined;
}

/** Creates the deeply frozen `auth` of a verified token. */
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

/** Reads a claim of scopes: a space-separated string or an array. */
function words(claim: unknown): string[] {
  if (typeof claim === "string") return claim.split(" ").filter((word) => word !== "");
  return Array.isArray(claim) ? claim.filter((word): word is string => typeof word === "string" && word !== "") : [];
}

/** Reads a claim that is one value or an array of values. A value with blanks is still one value. */
export function values(claim: unknown): string[] {
  const all: readonly unknown[] = Array.isArray(claim) ? claim : [claim];
  return all.filter((value): value is string => typeof value === "string" && value !== "");
}

export function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function isIdentifier(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

/**
 * Freezes without recursion, since a payload may nest as deep as its size allows. Removes members named `__proto__`, which
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
