import type { JSONWebKeySet } from "jose";
import type { TokenSource } from "./credentials.js";
import { IssuerScope } from "./issuer-scope.js";
import type { IssuerTest, IssuerVerifierOptions, TokenValidator } from "./issuer-verifier.js";
import type { PublicKeyOption } from "./keys/key-source.js";
import type { SecretOption } from "./keys/secret-keys.js";
import { challengeText } from "../http/fields.js";
import type { DpopContext, DpopOptions, ResolvedDpop } from "./dpop/options.js";
import { resolveDpop } from "./dpop/options.js";
import type { Duration } from "../lib/duration.js";
import { durationMs } from "../lib/duration.js";
import type { IssuerKeys, KeyContext } from "./keys/options.js";
import type { IssuerOptions, ResolvedIssuer } from "./issuer-options.js";
import { issuerOptions, namesOf, resolveIssuer, resolveIssuers } from "./issuer-options.js";
import type { RemoteKeysSettings } from "./keys/remote-options.js";
import type { TokenFrom } from "./token-sources.js";
import { resolveSources } from "./token-sources.js";
import { checkBoolean, checkObject, checkString, optionError, rangeError } from "../lib/validate.js";

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
  /**
   * The expected `iss`, one of several, or a function that says of an `iss` whether it is accepted (tenants of one
   * provider). One issuer alone, or a function alone, is also where to discover the keys.
   */
  readonly issuer?: string | readonly string[] | IssuerTest | undefined;
  /** Several issuers, each with its own keys, audience and algorithms. @default none */
  readonly issuers?: readonly IssuerOptions[] | undefined;
  /**
   * Whose the `auth:` keys in Redis are, which other services read and write and which know no issuer: one of this gate's
   * issuers, or `false` for none of them. Said, it holds at once; two gates that say different issuers are a finding.
   * @default the only issuer, unless another gate has told Redis before that they are its issuer's
   */
  readonly sharedIssuer?: string | false | undefined;
  /**
   * The expected `aud`, or any of several; `{ claim, values }` if another claim says whom tokens are for; `false` accepts
   * tokens meant for anybody.
   */
  readonly audience: string | readonly string[] | AudienceClaim | false;
  /** Required with `secret`, `publicKey` and `jwks`. @default with `jwksUri` or `issuer`: the asymmetric ones that fit the key */
  readonly algorithms?: readonly string[] | undefined;
  /** How keys are fetched and kept, with `jwksUri` or `issuer` alone. @default { refresh: "10m", maxStale: "24h", cooldown: "30s", timeout: "5s" } */
  readonly remoteKeys?: RemoteKeysSettings | undefined;
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
  /**
   * The claim that names the user, or its path, or a list of claims of which the first that a token has does, such as
   * `["sub", "client_id"]`: `auth.subject` is its text. A client of a later claim is never the user of that name by the first
   * one. Other services know the users of the first claim only. Tokens of `tokens` name users by `sub`.
   * @default "sub"
   */
  readonly subjectClaim?: string | readonly string[] | undefined;
  /** May the claim that names the user be an integer? Then 42 is the user "42". @default false */
  readonly numericSubject?: boolean | undefined;
  /** Where the token is: the Authorization header, a cookie, a function, or several of them. @default "header" */
  readonly tokenFrom?: TokenFrom<Raw> | readonly TokenFrom<Raw>[] | undefined;
  /** Tokens bound to a key of the client (DPoP, RFC 9449); needs `publicUrl`. @default false */
  readonly dpop?: boolean | DpopOptions | undefined;
  /** Accept tokens bound to a TLS client certificate (RFC 8705), which the proxy in front must verify. @default false */
  readonly certificateBound?: boolean | undefined;
  /** Let requests without a token pass as anonymous; a bad token is refused all the same. @default false */
  readonly optional?: boolean | undefined;
  /** The realm of challenges (RFC 9110 11.5). @default none */
  readonly realm?: string | undefined;
}

/** Another claim than `aud` that says whom a token is for, as `{ claim: "client_id", values: "my-app" }` with Amazon Cognito. */
export interface AudienceClaim {
  readonly claim: string;
  readonly values: string | readonly string[];
}

export interface ResolvedAuth<Raw> {
  readonly issuers: readonly IssuerVerifierOptions[];
  /** Must the issuer of a token be known to find its keys and rules? */
  readonly byIssuer: boolean;
  readonly scope: IssuerScope;
  readonly keys: AuthKeys;
  /** Clock difference forgiven, in seconds. */
  readonly toleranceSeconds: number;
  /** Of the issuer that allows the most. */
  readonly maxLifetimeSeconds: number;
  readonly sources: readonly TokenSource<Raw>[];
  readonly dpop: ResolvedDpop | undefined;
  readonly optional: boolean;
  readonly realm: string | undefined;
}

/** The keys of all issuers. */
export interface AuthKeys {
  /** `down` while no issuer has keys, `degraded` while one has none. */
  status(): "up" | "degraded" | "down";
  close(): void;
}

export interface AuthContext extends KeyContext, DpopContext {
  /** Is revocation on? Then `exp` has no tolerance. */
  readonly revocation: boolean;
  /** Of the tokens of the gate's own. */
  readonly ownIssuer?: string | undefined;
  /** How long the tokens of the gate's own live at most, in seconds. */
  readonly longestIssuedSeconds?: number | undefined;
}

const known = [
  ...issuerOptions,
  ...["issuers", "clockTolerance", "sharedIssuer", "tokenFrom", "dpop", "certificateBound", "optional", "realm"],
];

export function resolveAuth<Raw>(options: AuthOptions<Raw>, context: AuthContext): ResolvedAuth<Raw> {
  checkObject("auth", options, known);
  const { clockTolerance = "5s", tokenFrom = "header", optional = false, realm } = options;
  const { dpop = false, certificateBound = false } = options;
  checkBoolean("auth.optional", optional);
  checkBoolean("auth.certificateBound", certificateBound);
  if (realm !== undefined) checkChallengeText("auth.realm", realm);
  const toleranceSeconds = clockTolerance === 0 ? 0 : durationMs("auth.clockTolerance", clockTolerance, 600_000) / 1000;
  const proofs = resolveDpop(dpop, context);
  const common = {
    toleranceSeconds,
    exactExpiry: context.revocation,
    confirmation: {
      dpop: proofs === undefined ? "off" : proofs.required ? "required" : "optional",
      certificate: certificateBound,
    },
  } as const;
  const resolved =
    options.issuers === undefined
      ? [resolveIssuer("auth", options as Partial<IssuerOptions>, {}, common, context)]
      : resolveIssuers(options, common, context);
  checkOwnSubject(resolved, context.ownIssuer);
  const rest = {
    scope: resolveScope(resolved, options.sharedIssuer, context.ownIssuer),
    toleranceSeconds,
    maxLifetimeSeconds: Math.max(...resolved.map(({ rules }) => rules.maxLifetimeSeconds)),
    sources: resolveSources<Raw>(tokenFrom, context.publicUrl),
    dpop: proofs,
    optional,
    realm,
  };
  if ((context.longestIssuedSeconds ?? 0) > rest.maxLifetimeSeconds)
    throw rangeError("auth.maxLifetime", "must be at least tokens.idleLifetime: a cut-off must outlive every token");
  // Last, because keys are fetched as soon as they are wanted: not for a gate that does not start.
  const opened = resolved.map((issuer) => ({ issuer, keys: issuer.keys.open() }));
  return {
    ...rest,
    issuers: opened.map(({ issuer, keys }) => ({
      ...issuer,
      algorithms: issuer.keys.algorithms,
      keysOf: (name) => keys.of(name),
    })),
    byIssuer: resolved.length > 1 || resolved.some(({ issuer, keys }) => typeof issuer === "function" || keys.byIssuer),
    keys: together(opened.map(({ keys }) => keys)),
  };
}

function together(all: readonly IssuerKeys[]): AuthKeys {
  return {
    status() {
      const down = all.filter((keys) => keys.status() === "down").length;
      return down === 0 ? "up" : down === all.length ? "down" : "degraded";
    },
    close() {
      for (const keys of all) keys.close();
    },
  };
}

function resolveScope(
  resolved: readonly ResolvedIssuer[],
  sharedIssuer: unknown,
  own: string | undefined,
): IssuerScope {
  const names = resolved.flatMap(({ issuer }) => namesOf(issuer));
  const open = resolved.some(({ issuer }) => typeof issuer === "function");
  return new IssuerScope({ known: names, shared: checkShared(names, sharedIssuer, open), open, own });
}

/** Tokens that are issued here name their user by `sub`, and so do the records of their sessions. */
function checkOwnSubject(resolved: readonly ResolvedIssuer[], own: string | undefined): void {
  if (own === undefined) return;
  const issuer =
    resolved.find((one) => namesOf(one.issuer).includes(own)) ?? resolved.find((one) => typeof one.issuer !== "object");
  if (issuer?.rules.subjectClaims?.[0] === "sub" || issuer === undefined) return;
  throw optionError("auth.subjectClaim", 'must begin with "sub" for tokens.issuer, whose tokens name users by sub');
}

/** Whose the shared keys are must be said rightly: with a wrong name nobody's revocations would be seen. */
function checkShared(names: readonly string[], shared: unknown, open: boolean): string | false | undefined {
  if (shared === undefined || shared === false) return shared;
  if (open || names.length === 0) checkString("auth.sharedIssuer", shared);
  if (names.length === 0 && !open)
    throw optionError("auth.sharedIssuer", "needs auth.issuer: without it a gate cannot tell whose a token is");
  if (open || names.some((name) => name === shared)) return shared as string;
  throw optionError(
    "auth.sharedIssuer",
    "must be one of the issuers, or false if the auth: keys of this Redis belong to another one",
  );
}

export function checkChallengeText(option: string, text: unknown): void {
  checkString(option, text);
  if (!challengeText.test(text)) throw optionError(option, 'must be printable ASCII without " and \\');
}
