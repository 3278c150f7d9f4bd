import { hkdfSync } from "node:crypto";
import type { SigningKeyOption, SigningKeys } from "../auth/keys/signing-keys.js";
import { createSigningKeys } from "../auth/keys/signing-keys.js";
import type { IssuerOptions } from "../auth/issuer-options.js";
import type { AuthOptions } from "../auth/options.js";
import { resolveCookies } from "./cookies.js";
import type { CookieOptions, ResolvedCookies } from "./cookies.js";
import type { Duration } from "../lib/duration.js";
import { durationMs, durationSeconds } from "../lib/duration.js";
import type { JwsAlgorithm } from "../auth/keys/algorithms.js";
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

/** Options of `gate.tokens`. A gate accepts the tokens that it issues: options that `auth` leaves out are taken from here. */
export interface TokensOptions {
  /**
   * The signing key: a private key (PEM, JWK or KeyObject) or an HMAC secret. In a list, the first key signs and all keys
   * verify: `[current, next]`, then `[next, current]`, then `[next]` rotates without refusing a token.
   */
  readonly signingKey: SigningKeyOption | readonly SigningKeyOption[];
  /** The signature algorithm. @default the `alg` of the JWK, else "HS256" for a secret, "RS256" for RSA, or that of the curve */
  readonly algorithm?: JwsAlgorithm | undefined;
  /** The `iss` of the tokens. @default the `issuer` of `auth` */
  readonly issuer?: string | undefined;
  /** The `aud` of the tokens. @default the `audience` of `auth` */
  readonly audience?: string | readonly string[] | undefined;
  /** Lifetime of an access token. @default "15m" */
  readonly accessLifetime?: Duration | undefined;
  /** Lifetime of a session without a refresh, at most `auth.maxLifetime`. @default "14d" */
  readonly idleLifetime?: Duration | undefined;
  /** Longest lifetime of a session, refreshes included. @default "90d" */
  readonly sessionLifetime?: Duration | undefined;
  /** Maximum number of sessions of one user at a time. @default unlimited */
  readonly maxSessions?: number | undefined;
  /** A sign-in beyond `maxSessions` is refused (409 `session_limit`), or ends the session that would expire first. @default "evictOldest" */
  readonly onLimit?: "refuse" | "evictOldest" | undefined;
  /** Time in which a refresh token that was just used gets the same successor again, at most 10 s. `0`: never. @default "10s" */
  readonly overlap?: Duration | undefined;
  /**
   * Time in which a refresh token gets the same successor again while the successor was never presented: the client has lost
   * the answer. At most 1 h; `0`: only within `overlap`. Longer than `overlap` ago, it is counted, and an event says so.
   * @default `accessLifetime`, at most 1 h; `0` with `overlap: 0`
   */
  readonly lostAnswer?: Duration | undefined;
  /**
   * The secret that signs refresh tokens: at least 32 bytes, the same for all processes. In a list, the first secret signs
   * and all verify. @default derived from `signingKey`
   */
  readonly refreshSecret?: string | Uint8Array | readonly (string | Uint8Array)[] | undefined;
  /** Names and attributes of the cookies of `tokens.cookies`. @default `__Host-access` and `__Secure-refresh` */
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
  readonly lostAnswerMs: number;
  /** HMAC keys of refresh tokens. The first signs, all verify. */
  readonly refreshKeys: readonly Buffer[];
  readonly cookies: ResolvedCookies;
}

const knownOptions = [
  ...["signingKey", "algorithm", "issuer", "audience", "accessLifetime", "idleLifetime", "sessionLifetime"],
  ...["maxSessions", "onLimit", "overlap", "lostAnswer", "refreshSecret", "cookies"],
];

/** Tabs that refresh at the same time, and a client that tries again, do so within seconds. */
const maxOverlapMs = 10_000;

/** A client that has lost an answer asks again when it is used next. The longer that may take, the later a theft is noticed. */
const maxLostAnswerMs = 3_600_000;

export function resolveTokens<Raw>(options: TokensOptions, auth: Partial<AuthOptions<Raw>> = {}): ResolvedTokens {
  checkObject("tokens", options, knownOptions);
  const { issuer = auth.issuer, audience = auth.audience } = options;
  const { accessLifetime = "15m", idleLifetime = "14d", sessionLifetime = "90d" } = options;
  const { maxSessions, onLimit = "evictOldest", overlap = "10s", lostAnswer, cookies = {} } = options;
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
  const overlapMs = overlap === 0 ? 0 : durationMs("tokens.overlap", overlap, maxOverlapMs);
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
    overlapMs,
    lostAnswerMs: resolveLostAnswer(lostAnswer, overlapMs, accessSeconds * 1000),
    refreshKeys: resolveRefreshKeys(options.refreshSecret, keys),
    cookies: resolveCookies("tokens.cookies", cookies),
  };
}

function resolveLostAnswer(given: Duration | undefined, overlapMs: number, accessMs: number): number {
  if (given === undefined) return overlapMs === 0 ? 0 : Math.min(accessMs, maxLostAnswerMs);
  return given === 0 ? 0 : durationMs("tokens.lostAnswer", given, maxLostAnswerMs);
}

/** Completes `auth` so that the gate accepts its own tokens: if `auth` names no keys, those of `tokens` are used. */
export function acceptOwnTokens<Raw>(
  auth: AuthOptions<Raw> | undefined,
  { issuer, audience, keys }: ResolvedTokens,
): AuthOptions<Raw> {
  // Checked when the keys were made.
  const algorithms = keys.algorithms as readonly JwsAlgorithm[];
  const own =
    keys.secrets === undefined
      ? { issuer, algorithms, jwks: keys.published }
      : { issuer, algorithms, secret: keys.secrets };
  if (auth === undefined) return { ...own, audience };
  const given = auth as Partial<AuthOptions<Raw>>;
  const { sharedIssuer } = given;
  // Users who sign in here have bare names. So the shared `auth:` keys, if this gate has them, must be those of its issuer.
  if (sharedIssuer !== undefined && sharedIssuer !== false && sharedIssuer !== issuer)
    throw optionError("auth.sharedIssuer", "must be tokens.issuer or false, since the gate issues tokens");
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
  // Resolving auth reports a value that is neither text, nor a list, nor a function.
  const accepted = isTextual(given.issuer) ? [given.issuer].flat() : undefined;
  const isTest = typeof given.issuer === "function";
  if (isTest ? !keyed : accepted?.includes(issuer) === false)
    throw optionError("auth.issuer", "is not tokens.issuer; to accept tokens of both, list the other in auth.issuers");
  if (isTextual(given.audience) && !strings("auth.audience", given.audience).some((one) => audience.includes(one)))
    throw optionError(
      "auth.audience",
      "must have a value in common with tokens.audience, or the gate would refuse its own tokens",
    );
  if (keyed) return auth;
  return { ...auth, ...own, algorithms: auth.algorithms ?? algorithms, audience: given.audience ?? audience };
}

function isTextual(value: unknown): value is string | readonly string[] {
  return typeof value === "string" || Array.isArray(value);
}

const refreshInfo = "portcullis refresh tokens v1";

/** The keys are always derived, so that no key has two purposes. */
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
