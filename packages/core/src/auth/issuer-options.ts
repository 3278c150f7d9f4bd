import type { JSONWebKeySet } from "jose";
import type { ClaimPath } from "./identifying-claim.js";
import { resolveClaimPath } from "./identifying-claim.js";
import type { ConfirmationRules } from "./access-token.js";
import type { Audience } from "./audience.js";
import type { IssuerTest, IssuerVerifierOptions, TokenValidator } from "./verifier.js";
import type { KeyFunction } from "./keys/key-function.js";
import type { JwksFunction, RemoteKeysSettings, ResolvedKeys } from "./keys/options.js";
import { resolveKeys } from "./keys/options.js";
import type { PublicKeyOption } from "./keys/public-keys.js";
import type { SecretOption } from "./keys/secret-keys.js";
import type { Duration } from "../lib/duration.js";
import { durationSeconds } from "../lib/duration.js";
import type { JwsAlgorithm } from "./keys/algorithms.js";
import {
  checkBoolean,
  checkFunction,
  checkObject,
  isList,
  optionError,
  strings,
  stringsOrNone,
} from "../lib/validate.js";

/** The options that may differ between issuers. */
export interface IssuerSettings {
  /**
   * HMAC secret: the UTF-8 bytes of a string; at least 32, 48 or 64 bytes for HS256, HS384, HS512. `[new, old]` rotates. A
   * function finds it by header and issuer, for tenants that are looked up; it needs `issuer`.
   */
  readonly secret?: SecretOption | readonly SecretOption[] | KeyFunction<SecretOption> | undefined;
  /** Public key: PEM (SPKI or a certificate), JWK or KeyObject. `[new, old]` rotates. A function finds it by header and issuer. */
  readonly publicKey?: PublicKeyOption | readonly PublicKeyOption[] | KeyFunction<PublicKeyOption> | undefined;
  /**
   * A fixed JSON Web Key Set; or a function that returns one, also asynchronously, and is called as `remoteKeys` says: for
   * keys that no URL gives as a key set.
   */
  readonly jwks?: JSONWebKeySet | JwksFunction | undefined;
  /** URL at which the issuer publishes its JSON Web Key Set. */
  readonly jwksUri?: string | undefined;
  /**
   * Expected `iss`: one, a list, or a function that accepts an `iss` (tenants of one provider). Without a key option, a single
   * issuer or a function also says where the keys are discovered.
   */
  readonly issuer?: string | readonly string[] | IssuerTest | undefined;
  /**
   * Expected `aud`: one, or a list of which one is enough. `{ claim, values }` if another claim holds the audience; `false`
   * accepts tokens for any audience.
   */
  readonly audience?: string | readonly string[] | AudienceClaim | false | undefined;
  /**
   * Accepted signature algorithms. Required with `secret`, `publicKey` and a fixed `jwks`.
   * @default with `jwksUri`, discovery or a function `jwks`: the asymmetric algorithms that fit the key
   */
  readonly algorithms?: readonly JwsAlgorithm[] | undefined;
  /**
   * How keys are fetched and kept, with `jwksUri`, discovery or a function `jwks`.
   * @default { refresh: "10m", maxStale: "24h", cooldown: "30s", timeout: "5s" }
   */
  readonly remoteKeys?: RemoteKeysSettings | undefined;
  /** Maximum `exp - iat`. In whole seconds. Tokens with a longer life are refused, since a cut-off must outlive every token. @default "30d" */
  readonly maxLifetime?: Duration | undefined;
  /** Maximum time since `iat`, in whole seconds, checked at every request. Tokens without `iat` are then refused. @default none */
  readonly maxTokenAge?: Duration | undefined;
  /** Accept only access tokens that follow RFC 9068: `typ` `at+jwt`, with `iss`, `aud`, `sub`, `client_id`, `iat` and `jti`. @default false */
  readonly strict?: boolean | undefined;
  /** Check by the application, called once for each token, not at every request. Only `true` accepts the token. @default none */
  readonly validate?: TokenValidator | undefined;
  /** Claims that a token must have besides `exp`. @default [] */
  readonly requiredClaims?: readonly string[] | undefined;
  /** Refuse tokens without `jti`, instead of identifying them by their signing input. @default false */
  readonly requireJti?: boolean | undefined;
  /**
   * Claim with the roles for `requireRole()`, or its path, such as `"realm_access.roles"` or, for names with dots,
   * `["resource_access", "orders.api", "roles"]`. @default the claims `roles` and `role`
   */
  readonly rolesClaim?: ClaimPath | undefined;
  /**
   * Claim that names the user, or its path, or a list such as `["sub", "client_id"]`: the first of them that a token has
   * becomes `auth.subject`. A path as a list is a list in the list: `[["kubernetes.io", "serviceaccount", "uid"]]`. A client named by a later claim is never the same user as one of that name by the first claim.
   * Other services know the users of the first claim only. Tokens of `tokens` name users by `sub`.
   * @default "sub"
   */
  readonly subjectClaim?: string | readonly ClaimPath[] | undefined;
  /** Allow an integer as the claim that names the user: 42 is the user "42". @default false */
  readonly numericSubject?: boolean | undefined;
}

/**
 * One of several issuers: its keys, audience and algorithms. For a member that it leaves out, the value of `auth` holds,
 * except for keys and algorithms. A key of one issuer never verifies a token of another.
 */
export interface IssuerOptions extends IssuerSettings {
  /** Expected `iss`: one, a list, or a function that accepts an `iss`. */
  readonly issuer: string | readonly string[] | IssuerTest;
}

/** An audience in another claim than `aud`, such as `{ claim: "client_id", values: "my-app" }` with Amazon Cognito. */
export interface AudienceClaim {
  /** The claim, or its path. */
  readonly claim: ClaimPath;
  /** Accepted values of the claim. */
  readonly values: string | readonly string[];
}

export const issuerOptions: readonly (keyof IssuerSettings)[] = [
  ...(["issuer", "secret", "publicKey", "jwks", "jwksUri", "audience", "algorithms", "requiredClaims"] as const),
  ...(["strict", "maxTokenAge", "maxLifetime", "requireJti", "rolesClaim", "validate", "remoteKeys"] as const),
  ...(["subjectClaim", "numericSubject"] as const),
];

/** An issuer after its options were checked. Its keys are not open yet. */
export interface ResolvedIssuer extends Omit<IssuerVerifierOptions, "keysOf" | "algorithms"> {
  readonly keys: ResolvedKeys;
}

/** Rules that all issuers share. */
export interface CommonRules {
  readonly toleranceSeconds: number;
  readonly exactExpiry: boolean;
  readonly confirmation: ConfirmationRules;
}

/** Resolves the options of one issuer; `shared` holds the values for members that it leaves out. */
export function resolveIssuer(
  option: string,
  own: IssuerSettings,
  shared: IssuerSettings,
  common: CommonRules,
): ResolvedIssuer {
  const { audience = shared.audience, requiredClaims = shared.requiredClaims ?? [] } = own;
  const { strict = shared.strict ?? false, maxTokenAge = shared.maxTokenAge, validate = shared.validate } = own;
  const { maxLifetime = shared.maxLifetime ?? "30d", requireJti = shared.requireJti ?? false } = own;
  const { rolesClaim = shared.rolesClaim, remoteKeys = shared.remoteKeys } = own;
  const { subjectClaim = shared.subjectClaim ?? "sub", numericSubject = shared.numericSubject ?? false } = own;
  checkBoolean(`${option}.strict`, strict);
  checkBoolean(`${option}.requireJti`, requireJti);
  checkBoolean(`${option}.numericSubject`, numericSubject);
  if (validate !== undefined) checkFunction(`${option}.validate`, validate);
  const issuer = resolveNames(`${option}.issuer`, own.issuer);
  return {
    issuer,
    audience: resolveAudience(`${option}.audience`, audience),
    requiredClaims: stringsOrNone(`${option}.requiredClaims`, requiredClaims),
    rules: {
      ...common,
      maxLifetimeSeconds: seconds(`${option}.maxLifetime`, maxLifetime),
      maxTokenAgeSeconds: maxTokenAge === undefined ? undefined : seconds(`${option}.maxTokenAge`, maxTokenAge),
      requireJti,
      strict,
      subjectClaims: resolveSubjectClaims(`${option}.subjectClaim`, subjectClaim),
      numericSubject,
    },
    validate,
    rolesClaim: rolesClaim === undefined ? undefined : resolveClaimPath(`${option}.rolesClaim`, rolesClaim),
    keys: resolveKeys(option, { ...own, remoteKeys }, issuer),
  };
}

/** Resolves `auth.issuers`. */
export function resolveIssuers(
  issuers: readonly IssuerOptions[] | undefined,
  options: IssuerSettings,
  common: CommonRules,
): readonly ResolvedIssuer[] {
  const inVain = ["issuer", "secret", "publicKey", "jwks", "jwksUri", "algorithms"] as const;
  const misplaced = inVain.find((name) => options[name] !== undefined);
  if (misplaced !== undefined)
    throw optionError(`auth.${misplaced}`, "must be given in each member of auth.issuers instead");
  if (!isList(issuers) || issuers.length === 0)
    throw optionError("auth.issuers", "must be a list of at least one issuer");
  const resolved = issuers.map((one, index) => {
    const option = `auth.issuers[${index}]`;
    checkObject(option, one, issuerOptions);
    if ((one.issuer as unknown) === undefined) throw optionError(`${option}.issuer`, "is required");
    return resolveIssuer(option, one, options, common);
  });
  const names = resolved.flatMap(({ issuer }) => namesOf(issuer));
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw optionError("auth.issuers", "must not name one issuer twice");
  return resolved;
}

/** The issuers that are known by name. */
export function namesOf(issuer: readonly string[] | IssuerTest | undefined): readonly string[] {
  return typeof issuer === "object" ? issuer : [];
}

function resolveNames(option: string, issuer: unknown): readonly string[] | IssuerTest | undefined {
  if (issuer === undefined) return undefined;
  return typeof issuer === "function" ? (issuer as IssuerTest) : strings(option, issuer);
}

function resolveSubjectClaims(option: string, claims: unknown): readonly string[] {
  const list: readonly unknown[] = Array.isArray(claims) ? claims : [claims];
  if (list.length === 0) throw optionError(option, "must not be an empty list");
  const names = list.map((claim) => resolveClaimPath(option, claim));
  if (new Set(names).size < names.length) throw optionError(option, "must not name one claim twice");
  return names;
}

function resolveAudience(option: string, audience: unknown): Audience {
  if (audience === undefined)
    throw optionError(option, "is required: the aud your tokens carry, or false to accept any");
  if (audience === false) return false;
  if (typeof audience !== "object" || isList(audience)) return strings(option, audience);
  checkObject(option, audience, ["claim", "values"]);
  const { claim, values } = audience as { claim?: unknown; values?: unknown };
  return { claim: resolveClaimPath(`${option}.claim`, claim), values: strings(`${option}.values`, values) };
}

function seconds(option: string, duration: Duration): number {
  return durationSeconds(option, duration, maxSeconds);
}

/** A century: no bound of a token is longer. */
const maxSeconds = 100 * 366 * 86_400;
