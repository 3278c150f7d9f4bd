import type { JSONWebKeySet } from "jose";
import type { ConfirmationRules } from "./access-token.js";
import type { Audience, IssuerTest, IssuerVerifierOptions, TokenValidator } from "./verifier.js";
import type { RemoteKeysSettings, ResolvedKeys } from "./keys/options.js";
import { resolveKeys } from "./keys/options.js";
import type { PublicKeyOption } from "./keys/public-keys.js";
import type { SecretOption } from "./keys/secret-keys.js";
import type { Duration } from "../lib/duration.js";
import { durationMs } from "../lib/duration.js";
import {
  checkBoolean,
  checkFunction,
  checkObject,
  checkString,
  isList,
  optionError,
  strings,
  stringsOrNone,
} from "../lib/validate.js";

/** The options that may differ between issuers. */
export interface IssuerSettings {
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
  /**
   * The expected `aud`, or any of several; `{ claim, values }` if another claim says whom tokens are for; `false` accepts
   * tokens meant for anybody.
   */
  readonly audience?: string | readonly string[] | AudienceClaim | false | undefined;
  /** Required with `secret`, `publicKey` and `jwks`. @default with `jwksUri` or `issuer`: the asymmetric ones that fit the key */
  readonly algorithms?: readonly string[] | undefined;
  /** How keys are fetched and kept, with `jwksUri` or `issuer` alone. @default { refresh: "10m", maxStale: "24h", cooldown: "30s", timeout: "5s" } */
  readonly remoteKeys?: RemoteKeysSettings | undefined;
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
}

/**
 * One of several issuers: its keys, audience and algorithms. What it leaves out of the other members is as `auth` itself
 * says. A key of one issuer never verifies a token of another.
 */
export interface IssuerOptions extends IssuerSettings {
  readonly issuer: string | readonly string[] | IssuerTest;
}

/** Another claim than `aud` that says whom a token is for, as `{ claim: "client_id", values: "my-app" }` with Amazon Cognito. */
export interface AudienceClaim {
  readonly claim: string;
  readonly values: string | readonly string[];
}

export const issuerOptions: readonly (keyof IssuerSettings)[] = [
  ...(["issuer", "secret", "publicKey", "jwks", "jwksUri", "audience", "algorithms", "requiredClaims"] as const),
  ...(["strict", "maxTokenAge", "maxLifetime", "requireJti", "rolesClaim", "validate", "remoteKeys"] as const),
  ...(["subjectClaim", "numericSubject"] as const),
];

/** An issuer as resolved. Its keys are not open yet. */
export interface ResolvedIssuer extends Omit<IssuerVerifierOptions, "keysOf" | "algorithms"> {
  readonly keys: ResolvedKeys;
}

/** What all issuers have in common. */
export interface CommonRules {
  readonly toleranceSeconds: number;
  readonly exactExpiry: boolean;
  readonly confirmation: ConfirmationRules;
}

/** One issuer; `shared` says what its own options leave open. */
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
  if (rolesClaim !== undefined) checkString(`${option}.rolesClaim`, rolesClaim);
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
    rolesClaim,
    keys: resolveKeys(option, { ...own, remoteKeys }, issuer),
  };
}

/** The members of `auth.issuers`. */
export function resolveIssuers(
  issuers: readonly IssuerOptions[] | undefined,
  options: IssuerSettings,
  common: CommonRules,
): readonly ResolvedIssuer[] {
  const inVain = ["issuer", "secret", "publicKey", "jwks", "jwksUri", "algorithms"] as const;
  const misplaced = inVain.find((name) => options[name] !== undefined);
  if (misplaced !== undefined)
    throw optionError(`auth.${misplaced}`, "belongs to each of auth.issuers, if those are given");
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
  const names = strings(option, claims);
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
  checkString(`${option}.claim`, claim);
  return { claim, values: strings(`${option}.values`, values) };
}

function seconds(option: string, duration: Duration): number {
  return durationMs(option, duration) / 1000;
}
