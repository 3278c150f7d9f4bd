import type { SecretOption } from "./keys/secret-keys.js";
import type { PublicKeyOption } from "./keys/public-keys.js";
import type { JSONWebKeySet } from "jose";
import type { IssuerTest, TokenValidator } from "./issuer-verifier.js";

import type { RemoteKeysSettings } from "./keys/options.js";
import type { Duration } from "../lib/duration.js";
import type { TokenFrom } from "./credentials.js";
import type { DpopOptions } from "./dpop/options.js";

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

/** What may differ between issuers. */
export type IssuerOption =
  | "issuer"
  | "secret"
  | "publicKey"
  | "jwks"
  | "jwksUri"
  | "audience"
  | "algorithms"
  | "remoteKeys"
  | "requiredClaims"
  | "strict"
  | "maxTokenAge"
  | "maxLifetime"
  | "requireJti"
  | "rolesClaim"
  | "subjectClaim"
  | "numericSubject"
  | "validate";

export const issuerOptions: readonly IssuerOption[] = [
  ...(["issuer", "secret", "publicKey", "jwks", "jwksUri", "audience", "algorithms", "requiredClaims"] as const),
  ...(["strict", "maxTokenAge", "maxLifetime", "requireJti", "rolesClaim", "validate", "remoteKeys"] as const),
  ...(["subjectClaim", "numericSubject"] as const),
];

/**
 * One of several issuers: its keys, audience and algorithms. What it leaves out of the other members is as `auth` itself
 * says. A key of one issuer never verifies a token of another.
 */
export type IssuerOptions = Partial<Pick<AuthOptions, IssuerOption>> & {
  readonly issuer: string | readonly string[] | IssuerTest;
};
