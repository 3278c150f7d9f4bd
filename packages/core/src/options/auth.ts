import type { JSONWebKeySet } from "jose";
import type { TokenReader, TokenSource } from "../auth/bearer.js";
import type { ClaimRules } from "../auth/claims.js";
import { IssuerScope } from "../auth/issuer-scope.js";
import type { KeySource, PublicKeyOption, SecretOption } from "../auth/keys.js";
import {
  asymmetricAlgorithms,
  createKeySet,
  createPublicKeys,
  createSecretKeys,
  hmacAlgorithms,
} from "../auth/keys.js";
import { RemoteKeys } from "../auth/remote-keys.js";
import { challengeText } from "../http/fields.js";
import { isTrustworthyUrl } from "../http/trustworthy-url.js";
import type { TokenValidator } from "../auth/verifier.js";
import type { Logger } from "../telemetry/logger.js";
import type { Duration } from "./duration.js";
import { durationMs } from "./duration.js";
import { checkBoolean, checkFunction, checkObject, checkOneOf, checkString, kindOf, optionError } from "./validate.js";

/** A cookie that carries the token; see {@link AuthOptions.tokenFrom}. */
export interface CookieSource {
  readonly cookie: string;
  /** Origins, besides the API's own, whose pages may use the cookie with unsafe methods, such as `"https://app.example.com"`. */
  readonly origins?: readonly string[] | undefined;
}

export type TokenFrom<Raw> = "header" | CookieSource | TokenReader<Raw>;

/**
 * How access tokens are verified. Exactly one of `secret`, `publicKey`, `jwks`, `jwksUri` says with which keys; `issuer`
 * alone finds them by discovery (OpenID Connect Discovery 1.0, RFC 8414).
 */
export interface AuthOptions<Raw = unknown> {
  /** HMAC secret, UTF-8 bytes; at least 32, 48 or 64 bytes for HS256, HS384, HS512. `[new, old]` rotates. */
  readonly secret?: SecretOption | readonly SecretOption[] | undefined;
  /** PEM (SPKI), JWK or KeyObject; several rotate. */
  readonly publicKey?: PublicKeyOption | readonly PublicKeyOption[] | undefined;
  /** A fixed JSON Web Key Set. */
  readonly jwks?: JSONWebKeySet | undefined;
  /** Where the issuer publishes its JSON Web Key Set. */
  readonly jwksUri?: string | undefined;
  /** The expected `iss`; alone, also where to discover the keys. */
  readonly issuer?: string | readonly string[] | undefined;
  /** Which of several issuers has the identifiers that other services use in the shared keys. @default the only one */
  readonly sharedIssuer?: string | undefined;
  /** The expected `aud`, any of several; `false` accepts tokens meant for anybody. */
  readonly audience: string | readonly string[] | false;
  /** Required with `secret`, `publicKey` and `jwks`. @default with `jwksUri` or `issuer`: the asymmetric ones that fit the key */
  readonly algorithms?: readonly string[] | undefined;
  /** Clock difference forgiven for `nbf` and `iat`; for `exp` only if revocation is off. `0` forgives none. @default "5s" */
  readonly clockTolerance?: Duration | undefined;
  /** Longest `exp - iat`; longer-lived tokens are refused, since a cut-off must outlive every token. @default "30d" */
  readonly maxLifetime?: Duration | undefined;
  /** Longest time since `iat`, which must then be present; checked at every request. @default none */
  readonly maxTokenAge?: Duration | undefined;
  /** Accept only access tokens of RFC 9068: `typ` `at+jwt`, with `iss`, `aud`, `sub`, `client_id`, `iat` and `jti`. @default false */
  readonly strict?: boolean | undefined;
  /** The application's own say about a token, once for each token that is verified; only true lets it pass. @default none */
  readonly validate?: TokenValidator | undefined;
  /** Claims that must be present, besides `exp`. @default [] */
  readonly requiredClaims?: readonly string[] | undefined;
  /** Refuse tokens without `jti` instead of knowing them by their signing input. @default false */
  readonly requireJti?: boolean | undefined;
  /** The claim that holds the roles `requireRole()` looks for, or its path, as `"realm_access.roles"`. @default the claims `roles` and `role` */
  readonly rolesClaim?: string | undefined;
  /** Where the token is: the Authorization header, a cookie, a function, or several of them. @default "header" */
  readonly tokenFrom?: TokenFrom<Raw> | readonly TokenFrom<Raw>[] | undefined;
  /** Let requests without a token pass as anonymous; a bad token is refused all the same. @default false */
  readonly optional?: boolean | undefined;
  /** The realm of challenges (RFC 9110 11.5). @default none */
  readonly realm?: string | undefined;
}

export interface ResolvedAuth<Raw> {
  readonly keys: KeySource;
  readonly algorithms: readonly string[];
  readonly issuer: readonly string[] | undefined;
  readonly issuers: IssuerScope;
  readonly audience: readonly string[] | false;
  readonly requiredClaims: readonly string[];
  readonly rules: ClaimRules;
  readonly validate: TokenValidator | undefined;
  readonly rolesClaim: string | undefined;
  readonly sources: readonly TokenSource<Raw>[];
  readonly optional: boolean;
  readonly realm: string | undefined;
}

export interface AuthContext {
  readonly logger: Logger;
  readonly now: () => number;
  /** Is revocation on? Then `exp` has no tolerance. */
  readonly revocation: boolean;
}

const known = [
  ...["secret", "publicKey", "jwks", "jwksUri", "issuer", "audience", "algorithms", "clockTolerance", "maxLifetime"],
  ...[
    "maxTokenAge",
    "strict",
    "validate",
    "sharedIssuer",
    "requiredClaims",
    "requireJti",
    "rolesClaim",
    "tokenFrom",
    "optional",
    "realm",
  ],
];

export function resolveAuth<Raw>(options: AuthOptions<Raw>, context: AuthContext): ResolvedAuth<Raw> {
  checkObject("auth", options, known);
  const { clockTolerance = "5s", maxLifetime = "30d", requiredClaims = [], requireJti = false } = options;
  const { tokenFrom = "header", optional = false, realm, issuer, rolesClaim } = options;
  const { maxTokenAge, strict = false, validate } = options;
  checkBoolean("auth.strict", strict);
  if (validate !== undefined) checkFunction("auth.validate", validate);
  checkBoolean("auth.requireJti", requireJti);
  checkBoolean("auth.optional", optional);
  if (rolesClaim !== undefined) checkString("auth.rolesClaim", rolesClaim);
  if (realm !== undefined) checkChallengeText("auth.realm", realm);
  const issuers = issuer === undefined ? undefined : strings("auth.issuer", issuer);
  const resolved = {
    issuer: issuers,
    issuers: resolveScope(issuers ?? [], options.sharedIssuer),
    audience: resolveAudience(options.audience),
    requiredClaims: stringsOrNone("auth.requiredClaims", requiredClaims),
    rules: {
      toleranceSeconds: clockTolerance === 0 ? 0 : durationMs("auth.clockTolerance", clockTolerance, 600_000) / 1000,
      maxLifetimeSeconds: durationMs("auth.maxLifetime", maxLifetime) / 1000,
      requireJti,
      strict,
      maxTokenAgeSeconds: maxTokenAge === undefined ? undefined : durationMs("auth.maxTokenAge", maxTokenAge) / 1000,
      exactExpiry: context.revocation,
    },
    validate,
    rolesClaim,
    sources: resolveSources<Raw>(tokenFrom),
    optional,
    realm,
  };
  // Last, because keys are fetched as soon as they are wanted: not for a gate that does not start.
  return { ...resolved, ...resolveKeys(options, issuers, context) };
}

function resolveScope(issuers: readonly string[], sharedIssuer: unknown): IssuerScope {
  if (sharedIssuer === undefined) return new IssuerScope(issuers, undefined);
  checkOneOf("auth.sharedIssuer", sharedIssuer, issuers);
  return new IssuerScope(issuers, sharedIssuer);
}

interface ResolvedKeys {
  readonly keys: KeySource;
  readonly algorithms: readonly string[];
}

const keyOptions = ["secret", "publicKey", "jwks", "jwksUri"] as const;

function resolveKeys<Raw>(
  options: AuthOptions<Raw>,
  issuers: readonly string[] | undefined,
  { logger, now }: AuthContext,
): ResolvedKeys {
  const given = keyOptions.filter((name) => options[name] !== undefined);
  const { secret, publicKey, jwks, jwksUri } = options;
  if (given.length > 1) throw optionError("auth", `has ${given.join(" and ")}; give one of them`);
  if (jwksUri !== undefined || (given.length === 0 && issuers !== undefined)) {
    const algorithms = resolveAlgorithms(options.algorithms, asymmetricAlgorithms);
    refuseHmac(algorithms);
    const location = jwksUri === undefined ? { issuer: onlyIssuer(issuers) } : { jwksUri };
    checkUrl(jwksUri === undefined ? "auth.issuer" : "auth.jwksUri", jwksUri ?? onlyIssuer(issuers));
    return { algorithms, keys: new RemoteKeys({ location, algorithms, logger, now }) };
  }
  if (given.length === 0) throw optionError("auth", "needs one of secret, publicKey, jwks, jwksUri or issuer");
  if (options.algorithms === undefined) {
    throw optionError(
      "auth.algorithms",
      `is required with ${given.join("")}, such as ["${secret === undefined ? "RS256" : "HS256"}"]`,
    );
  }
  const algorithms = resolveAlgorithms(options.algorithms, []);
  if (secret !== undefined) {
    const secrets = isList(secret) && !(secret instanceof Uint8Array) ? secret : [secret];
    if (secrets.length === 0) throw optionError("auth.secret", "must not be an empty list");
    return { algorithms, keys: createSecretKeys("auth.secret", secrets, algorithms) };
  }
  refuseHmac(algorithms);
  if (jwks !== undefined) return { algorithms, keys: createKeySet("auth.jwks", jwks, algorithms) };
  const keys = isList(publicKey) ? publicKey : [publicKey as PublicKeyOption];
  if (keys.length === 0) throw optionError("auth.publicKey", "must not be an empty list");
  return { algorithms, keys: createPublicKeys("auth.publicKey", keys, algorithms) };
}

function resolveAlgorithms(given: readonly string[] | undefined, byDefault: readonly string[]): readonly string[] {
  const algorithms = given === undefined ? byDefault : strings("auth.algorithms", given);
  for (const algorithm of algorithms) {
    if (Object.hasOwn(hmacAlgorithms, algorithm) || asymmetricAlgorithms.includes(algorithm)) continue;
    const all = [...Object.keys(hmacAlgorithms), ...asymmetricAlgorithms];
    throw optionError("auth.algorithms", `has an unknown one; there are ${all.join(", ")}`);
  }
  return algorithms;
}

/** Whoever knows a public key could sign with it as an HMAC secret (RFC 8725 2.1), so the two kinds never mix. */
function refuseHmac(algorithms: readonly string[]): void {
  const hmac = algorithms.find((algorithm) => Object.hasOwn(hmacAlgorithms, algorithm));
  if (hmac !== undefined)
    throw optionError(
      "auth.algorithms",
      `has "${hmac}", which needs auth.secret (not given); public keys never verify HMAC`,
    );
}

function onlyIssuer(issuers: readonly string[] | undefined): string {
  const [issuer, ...others] = issuers ?? [];
  if (issuer === undefined || others.length > 0)
    throw optionError("auth.issuer", "must be one issuer where its keys are discovered");
  return issuer;
}

function checkUrl(option: string, url: unknown): void {
  checkString(option, url);
  if (!isTrustworthyUrl(url))
    throw optionError(option, "must be an https URL without a password (http only on localhost)");
}

function resolveAudience(audience: unknown): readonly string[] | false {
  if (audience === undefined)
    throw optionError("auth.audience", "is required: the aud your tokens carry, or false to accept any");
  return audience === false ? false : strings("auth.audience", audience);
}

function resolveSources<Raw>(from: unknown): readonly TokenSource<Raw>[] {
  const list: readonly unknown[] = isList(from) ? from : [from];
  if (list.length === 0) throw optionError("auth.tokenFrom", "must not be an empty list");
  return list.map((one) => resolveSource<Raw>(one));
}

function resolveSource<Raw>(from: unknown): TokenSource<Raw> {
  if (from === "header") return { kind: "header" };
  if (typeof from === "function") return { kind: "function", read: from as TokenReader<Raw> };
  checkObject("auth.tokenFrom", from, ["cookie", "origins"]);
  const { cookie, origins = [] } = from as CookieSource;
  checkString("auth.tokenFrom.cookie", cookie);
  const allowed = stringsOrNone("auth.tokenFrom.origins", origins);
  const wrong = allowed.find((origin) => !URL.canParse(origin) || new URL(origin).origin !== origin);
  if (wrong !== undefined)
    throw optionError("auth.tokenFrom.origins", 'must be origins such as "https://app.example.com"');
  return { kind: "cookie", name: cookie, origins: new Set(allowed) };
}

export function checkChallengeText(option: string, text: unknown): void {
  checkString(option, text);
  if (!challengeText.test(text)) throw optionError(option, 'must be printable ASCII without " and \\');
}

/** One or more non-empty strings, as a list. */
function strings(option: string, value: unknown): readonly string[] {
  const list: readonly unknown[] = isList(value) ? value : [value];
  if (list.length === 0) throw optionError(option, "must not be an empty list");
  for (const one of list) {
    if (typeof one !== "string" || one === "") {
      throw optionError(option, `must be a non-empty string or a list of them, not ${kindOf(one)}`);
    }
  }
  return list as readonly string[];
}

function stringsOrNone(option: string, value: unknown): readonly string[] {
  return isList(value) && value.length === 0 ? [] : strings(option, value);
}

function isList<T>(value: T | readonly T[] | undefined): value is readonly T[] {
  return Array.isArray(value);
}
