import { hkdfSync } from "node:crypto";
import type { SigningKeyOption, SigningKeys } from "../auth/keys/signing-keys.js";
import { createSigningKeys } from "../auth/keys/signing-keys.js";
import type { CookieOptions, ResolvedCookies } from "./cookie-options.js";
import { resolveCookies } from "./cookie-options.js";
import type { AuthOptions } from "../auth/options.js";
import type { IssuerOptions } from "../auth/issuer-options.js";
import type { Duration } from "../lib/duration.js";
import { durationMs, durationSeconds } from "../lib/duration.js";
import {
  checkInteger,
  checkObject,
  checkOneOf,
  checkString,
  isList,
  optionError,
  rangeError,
  strings,
} from "../lib/validate.js";

/** How `gate.tokens` issues tokens. A gate that issues tokens accepts them: what `auth` leaves out is taken from here. */
export interface TokensOptions {
  /**
   * The key that signs: a private key (PEM, JWK or KeyObject) or an HMAC secret. Of a list the first signs and all verify, so
   * that `[now, next]`, then `[next, now]`, then `[next]` rotates without a refused token.
   */
  readonly signingKey: SigningKeyOption | readonly SigningKeyOption[];
  /** The signature algorithm. @default that of the JWK, else "HS256" for a secret, "RS256" for RSA, that of the curve */
  readonly algorithm?: string | undefined;
  /** The `iss` of the tokens. @default the `issuer` of `auth` */
  readonly issuer?: string | undefined;
  /** The `aud` of the tokens. @default the `audience` of `auth` */
  readonly audience?: string | readonly string[] | undefined;
  /** How long an access token lives. @default "15m" */
  readonly accessLifetime?: Duration | undefined;
  /** How long a session lives without being refreshed; not longer than `auth.maxLifetime`. @default "14d" */
  readonly idleLifetime?: Duration | undefined;
  /** How long a session lives at most, refreshed or not. @default "90d" */
  readonly sessionLifetime?: Duration | undefined;
  /** Most sessions of one user at once. @default any number */
  readonly maxSessions?: number | undefined;
  /** A sign-in beyond `maxSessions` is refused (409 `session_limit`), or ends the session that would end first. @default "evictOldest" */
  readonly onLimit?: "refuse" | "evictOldest" | undefined;
  /** How long a refresh token that was just used gets the same successor again, at most 10 s; `0` for never. @default "10s" */
  readonly overlap?: Duration | undefined;
  /**
   * What refresh tokens are signed with and derived from: at least 32 bytes, the same for all processes. Of a list the first
   * signs and all verify. @default derived from `signingKey`
   */
  readonly refreshSecret?: string | Uint8Array | readonly (string | Uint8Array)[] | undefined;
  /** Names and attributes of the cookies that `tokens.cookies` writes. @default `__Host-access` and `__Secure-refresh` */
  readonly cookies?: CookieOptions | undefined;
}

export interface ResolvedTokens {
  readonly keys: SigningKeys;
  readonly issuer: string;
  readonly audience: readonly string[];
  readonly accessSeconds: number;
  readonly idleMs: number;
  readonly sessionMs: number;
  readonly maxSessions: number | undefined;
  readonly onLimit: "refuse" | "evictOldest";
  readonly overlapMs: number;
  /** HMAC keys of refresh tokens: the first signs. */
  readonly refreshKeys: readonly Buffer[];
  readonly cookies: ResolvedCookies;
}

const known = [
  ...["signingKey", "algorithm", "issuer", "audience", "accessLifetime", "idleLifetime", "sessionLifetime"],
  ...["maxSessions", "onLimit", "overlap", "refreshSecret", "cookies"],
];

/** Successors of a used refresh token must be the same only while a lost answer is asked for again. */
const longestOverlapMs = 10_000;

export function resolveTokens<Raw>(options: TokensOptions, auth: Partial<AuthOptions<Raw>> = {}): ResolvedTokens {
  checkObject("tokens", options, known);
  const { issuer = auth.issuer, audience = auth.audience } = options;
  const { accessLifetime = "15m", idleLifetime = "14d", sessionLifetime = "90d" } = options;
  const { maxSessions, onLimit = "evictOldest", overlap = "10s", cookies = {} } = options;
  if (issuer === undefined || typeof issuer === "function" || isList(issuer))
    throw optionError("tokens.issuer", 'is required: the iss of your tokens, such as "https://id.example.com"');
  checkString("tokens.issuer", issuer);
  if (audience === undefined || audience === false || (typeof audience === "object" && "claim" in audience))
    throw optionError("tokens.audience", 'is required: the aud of your tokens, such as "orders-api"');
  if (maxSessions !== undefined) checkInteger("tokens.maxSessions", maxSessions, 1, 10_000);
  checkOneOf("tokens.onLimit", onLimit, ["refuse", "evictOldest"]);
  const accessSeconds = durationSeconds("tokens.accessLifetime", accessLifetime, 86_400);
  const idleMs = durationSeconds("tokens.idleLifetime", idleLifetime, 3_162_240_000) * 1000;
  const sessionMs = durationSeconds("tokens.sessionLifetime", sessionLifetime, 3_162_240_000) * 1000;
  if (idleMs < accessSeconds * 1000) throw rangeError("tokens.idleLifetime", "must be at least tokens.accessLifetime");
  if (sessionMs < idleMs) throw rangeError("tokens.sessionLifetime", "must be at least tokens.idleLifetime");
  const keys = createSigningKeys("tokens.signingKey", options.signingKey, options.algorithm);
  return {
    keys,
    issuer,
    audience: strings("tokens.audience", audience),
    accessSeconds,
    idleMs,
    sessionMs,
    maxSessions,
    onLimit,
    overlapMs: overlap === 0 ? 0 : durationMs("tokens.overlap", overlap, longestOverlapMs),
    refreshKeys: resolveRefreshKeys(options.refreshSecret, keys),
    cookies: resolveCookies("tokens.cookies", cookies),
  };
}

/** What `auth` must be for the gate to accept what it issues: keys that it does not name itself are those of `tokens`. */
export function acceptOwnTokens<Raw>(
  auth: AuthOptions<Raw> | undefined,
  { issuer, audience, keys }: ResolvedTokens,
): AuthOptions<Raw> {
  const { algorithms } = keys;
  const own =
    keys.secrets === undefined
      ? { issuer, algorithms, jwks: keys.published }
      : { issuer, algorithms, secret: keys.secrets };
  if (auth === undefined) return { ...own, audience };
  const given = auth as Partial<AuthOptions<Raw>>;
  const { sharedIssuer } = given;
  // The users who sign in here have bare names, and so the keys that other services know, if this gate has those.
  if (sharedIssuer !== undefined && sharedIssuer !== false && sharedIssuer !== issuer)
    throw optionError("auth.sharedIssuer", "must be tokens.issuer or false, where the gate issues tokens");
  if (given.issuers !== undefined) {
    const issuers = isList(given.issuers) ? given.issuers : [];
    const listed = issuers.some((one: Partial<IssuerOptions> | undefined) =>
      isList(one?.issuer) ? one.issuer.includes(issuer) : one?.issuer === issuer,
    );
    return listed || issuers.length === 0
      ? auth
      : { ...auth, issuers: [...issuers, { ...own, audience, subjectClaim: "sub" }] };
  }
  const keyed = (["secret", "publicKey", "jwks", "jwksUri"] as const).some((name) => given[name] !== undefined);
  // What is neither a text, a list nor a function is told of where auth is resolved.
  const accepted = isTextual(given.issuer) ? [given.issuer].flat() : undefined;
  const isTest = typeof given.issuer === "function";
  if (isTest ? !keyed : accepted?.includes(issuer) === false)
    throw optionError("auth.issuer", "is not tokens.issuer; to accept tokens of both, list the other in auth.issuers");
  if (isTextual(given.audience) && !strings("auth.audience", given.audience).some((one) => audience.includes(one)))
    throw optionError("auth.audience", "has none of tokens.audience, so the gate would refuse what it issues");
  if (keyed) return auth;
  return { ...auth, ...own, algorithms: auth.algorithms ?? algorithms, audience: given.audience ?? audience };
}

function isTextual(value: unknown): value is string | readonly string[] {
  return typeof value === "string" || Array.isArray(value);
}

const refreshInfo = "portcullis refresh tokens v1";

/** Always derived, so that no key is used for two purposes. */
function resolveRefreshKeys(given: TokensOptions["refreshSecret"], { material }: SigningKeys): readonly Buffer[] {
  const secrets = given === undefined ? material : refreshSecrets(given);
  return secrets.map((secret) => Buffer.from(hkdfSync("sha256", secret, "", refreshInfo, 32)));
}

function refreshSecrets(given: unknown): readonly Buffer[] {
  const list: readonly unknown[] = isList(given) && !(given instanceof Uint8Array) ? given : [given];
  if (list.length === 0) throw optionError("tokens.refreshSecret", "must not be an empty list");
  return list.map((one) => {
    if (typeof one !== "string" && !(one instanceof Uint8Array))
      throw optionError("tokens.refreshSecret", "must be a string, bytes, or a list of them");
    const bytes = Buffer.from(one as string);
    if (bytes.length < 32) throw rangeError("tokens.refreshSecret", `must be at least 32 bytes, not ${bytes.length}`);
    return bytes;
  });
}
