import type { JWTHeaderParameters, JWTPayload } from "jose";
import { claimAt, identifyingText, unfit } from "./identifying-claim.js";
import type { IssuerScope } from "./issuer-scope.js";

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

/** The thumbprint (RFC 7638) of the key that a token is bound to, if it is. */
export function boundKey({ cnf }: Claims): string | undefined {
  return (cnf as { jkt?: string | null } | undefined)?.jkt ?? undefined;
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

export function isTime(value: unknown): value is number {
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
