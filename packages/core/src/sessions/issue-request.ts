import type { Identifier } from "../auth/identifying-claim.js";
import { identifyingClaim, notIdentifying, showClaim } from "../auth/identifying-claim.js";
import { findOtherUse } from "../auth/access-token.js";
import type { LoginAttempt } from "../login/attempt.js";
import type { Duration } from "../lib/duration.js";
import { durationSeconds } from "../lib/duration.js";
import type { NotJson } from "../lib/json.js";
import { reasonOf, stringifyJson } from "../lib/json.js";
import { checkBoolean, rangeError } from "../lib/validate.js";
import type { SessionRecord } from "../store/ports/sessions.js";

/** The device of a session, by which its user recognises it in a list. */
export interface Device {
  /** The client's address, such as `req.ip`. */
  readonly ip?: string | undefined;
  /** The User-Agent of the request. */
  readonly userAgent?: string | undefined;
  /** A name, such as "Alice's phone". */
  readonly label?: string | undefined;
}

/** The user and the session of `issue()`. */
export interface IssueRequest {
  /** The user: the `sub` of the tokens. */
  readonly subject: string;
  /** Further claims of the access tokens, except those that the gate sets. @default {} */
  readonly claims?: Readonly<Record<string, unknown>> | undefined;
  /** Scopes of the tokens. @default [] */
  readonly scopes?: readonly string[] | undefined;
  /** The organisation of the session: `sessions.revokeGroup(org)` ends it. 42 is the same as "42". @default none */
  readonly org?: Identifier | undefined;
  /** The device of the sign-in, for `sessions.list()`. @default {} */
  readonly device?: Device | undefined;
  /** Lifetime of this session without a refresh, at most `auth.maxLifetime`. @default `tokens.idleLifetime` */
  readonly idleLifetime?: Duration | undefined;
  /** Longest lifetime of this session, refreshes included. @default `tokens.sessionLifetime` */
  readonly sessionLifetime?: Duration | undefined;
  /** `false`: the cookies of this session end with the browser, where the user does not want to be remembered. @default true */
  readonly persistent?: boolean | undefined;
  /**
   * The login attempt (`req.loginAttempt`, `ctx.loginAttempt`) of a route behind `throttleLogin()`. It is reported as a
   * success. If a fault keeps the session from starting, the attempt is taken back instead. @default no attempt is reported
   */
  readonly attempt?: Pick<LoginAttempt, "succeed" | "interrupt"> | undefined;
}

/** Changes to a session at `refresh()`. */
export interface RefreshRequest {
  /** New claims of the session, for roles that have changed. Only together with `scopes`. @default unchanged */
  readonly claims?: Readonly<Record<string, unknown>> | undefined;
  /** New scopes of the session. Only together with `claims`. @default unchanged */
  readonly scopes?: readonly string[] | undefined;
  /** The device at the time of the refresh. @default unchanged */
  readonly device?: Device | undefined;
}

/** An access token and a refresh token of one session. */
export interface IssuedTokens {
  /** The access token, for the Authorization header. */
  readonly accessToken: string;
  /** The refresh token, for the next `refresh()`. */
  readonly refreshToken: string;
  /** Identifier of the session: claim `sid`. */
  readonly sessionId: string;
  /** Expiry of the access token, in unix seconds. */
  readonly expiresAt: number;
  /** Seconds until the access token expires. */
  readonly expiresIn: number;
  /** Expiry of the refresh token, in unix seconds. */
  readonly refreshExpiresAt: number;
  /** Seconds until the refresh token expires. */
  readonly refreshExpiresIn: number;
  /** Scopes of the access token. */
  readonly scopes: readonly string[];
  /** `false` if cookies of this session end with the browser. */
  readonly persistent: boolean;
  /** The response of a token endpoint, as JSON (RFC 6749 5.1). Send it with `Cache-Control: no-store`. */
  readonly response: Readonly<Record<string, unknown>>;
}

/** The part of a record that says how long a session lasts. */
export type Lasting = Pick<SessionRecord, "endsAt" | "idleEndsAt" | "idleMs" | "persistent">;

/** How long the session of a sign-in lasts. `limits` has the default lifetimes, and that of access tokens. */
export function readLasting(
  { idleLifetime, sessionLifetime, persistent = true }: IssueRequest,
  limits: { readonly idleMs: number; readonly sessionMs: number; readonly accessSeconds: number },
  maxLifetimeSeconds: number,
  nowMs: number,
): Lasting {
  checkBoolean("issue().persistent", persistent);
  const [idle, session] = [
    idleLifetime === undefined
      ? undefined
      : durationSeconds("issue().idleLifetime", idleLifetime, 3_162_240_000) * 1000,
    sessionLifetime === undefined
      ? undefined
      : durationSeconds("issue().sessionLifetime", sessionLifetime, 3_162_240_000) * 1000,
  ];
  const sessionMs = session ?? limits.sessionMs;
  const idleMs = idle ?? Math.min(limits.idleMs, sessionMs);
  if (idleMs < limits.accessSeconds * 1000)
    throw rangeError(
      `issue().${idle === undefined ? "sessionLifetime" : "idleLifetime"}`,
      "must be at least tokens.accessLifetime",
    );
  if (idleMs > maxLifetimeSeconds * 1000)
    throw rangeError("issue().idleLifetime", "must be at most auth.maxLifetime: a cut-off must outlive every token");
  if (sessionMs < idleMs)
    throw rangeError(
      session === undefined ? "issue().idleLifetime" : "issue().sessionLifetime",
      session === undefined
        ? "must be at most tokens.sessionLifetime, or pass a sessionLifetime"
        : "must be at least the idle lifetime",
    );
  return {
    endsAt: nowMs + sessionMs,
    idleEndsAt: nowMs + idleMs,
    ...(idle === undefined && session === undefined ? {} : { idleMs }),
    ...(persistent ? {} : { persistent }),
  };
}

/** Claims and scopes of the access tokens of a session. */
export interface Grant {
  readonly claims: Readonly<Record<string, unknown>>;
  readonly scopes: readonly string[];
}

/** Longest texts about a device. The rest is cut off. */
const maxCharacters = { ip: 64, userAgent: 512, label: 128 } as const;

/** Most bytes of claims and scopes together, since every request carries them. */
const maxGrantBytes = 4096;

/** Claims that only the gate sets. */
const reservedClaims = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "scope", "scp", "token_use", "typ"];

/** Requires the name of a subject or an organisation: non-empty well-formed text of at most 512 bytes. */
export function checkName(what: string, name: unknown): asserts name is string {
  if (typeof name !== "string" || name === "") throw new TypeError(`${what} must be a non-empty string`);
  if (!isName(name)) throw new TypeError(`${what} must be well-formed text of at most 512 bytes`);
}

/** Is this text that can name a subject, an organisation or a session? */
export function isName(name: unknown): name is string {
  return typeof name === "string" && name !== "" && name.isWellFormed() && Buffer.byteLength(name) <= 512;
}

/** Requires a login attempt, or an object with the same two methods. */
export function checkAttempt(attempt: unknown): void {
  const { succeed, interrupt } = (attempt ?? {}) as { succeed?: unknown; interrupt?: unknown };
  if (typeof succeed !== "function" || typeof interrupt !== "function")
    throw new TypeError("attempt must be the loginAttempt of the request, which throttleLogin() has put there");
}

export function readDevice(device: unknown): Device {
  if (device === undefined) return {};
  if (typeof device !== "object" || device === null) throw new TypeError("device must be an object");
  const { ip, userAgent, label } = device as Record<keyof Device, unknown>;
  return {
    ...readText("ip", ip),
    ...readText("userAgent", userAgent),
    ...readText("label", label),
  };
}

function readText(name: keyof Device, text: unknown): Device {
  if (text === undefined || text === "") return {};
  if (typeof text !== "string") throw new TypeError(`device.${name} must be a string`);
  return { [name]: text.slice(0, maxCharacters[name]).toWellFormed() };
}

/** Names of the claims that identify the owner of a token. */
export interface IdentifyingClaims {
  /** The claim that names the organisation. */
  readonly orgClaim: string;
  /** The claim that names the tenant of caches; undefined for none. */
  readonly tenantClaim: string | undefined;
}

/** The rules for the claims of a grant. */
export interface GrantRules extends IdentifyingClaims {
  /** Called for claims with undefined members, which JSON leaves out. */
  readonly onDropped?: (() => void) | undefined;
}

/** Claims and scopes as the session record keeps them, as JSON. A TypeError for claims that the gate would refuse or sets itself. */
export function readGrant(claims: unknown, scopes: unknown, { orgClaim, tenantClaim, onDropped }: GrantRules): string {
  if (typeof claims !== "object" || claims === null || Array.isArray(claims))
    throw new TypeError("claims must be an object");
  const given = claims as Readonly<Record<string, unknown>>;
  const taken = Object.keys(claims).find((name) => [...reservedClaims, orgClaim].includes(name));
  // The organisation may be a member of another claim, as "org.id".
  const isTaken = taken !== undefined || identifyingClaim(given, orgClaim) !== undefined;
  if (isTaken) throw new TypeError(`claims must not have "${taken ?? showClaim(orgClaim)}": the gate sets it`);
  if (findOtherUse(given) !== undefined)
    throw new TypeError("claims must not declare another kind of token than an access token: the gate would refuse it");
  if (tenantClaim !== undefined && identifyingClaim(given, tenantClaim) === notIdentifying)
    throw new TypeError(
      `claims must have a non-empty string or a safe integer as "${showClaim(tenantClaim)}" (cache.tenantClaim), or leave it out: the gate would refuse the token`,
    );
  if (!Array.isArray(scopes) || !scopes.every(isScope))
    throw new TypeError("scopes must be a list of scopes without blanks (RFC 6749 3.3)");
  const grant = grantText({ claims: given, scopes }, onDropped);
  if (Buffer.byteLength(grant) > maxGrantBytes)
    throw new TypeError(`claims and scopes must not have more than ${maxGrantBytes} bytes together`);
  return grant;
}

function grantText(grant: Grant, onDropped: (() => void) | undefined): string {
  try {
    return stringifyJson(grant, onDropped);
  } catch (error) {
    throw new TypeError(`claims must be values that JSON can express${reasonOf(error as NotJson)}`);
  }
}

function isScope(scope: unknown): boolean {
  return typeof scope === "string" && /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(scope);
}

/** Claims of an access token, from the grant of its session. */
export function claimsOfGrant(grant: string): { claims: Record<string, unknown>; scopes: readonly string[] } {
  const { claims, scopes } = JSON.parse(grant) as Grant;
  return { claims: { ...claims, ...(scopes.length === 0 ? {} : { scope: scopes.join(" ") }) }, scopes };
}
