import type { IssuerOptions, AuthOptions } from "./options.js";
import { issuerOptions } from "./options.js";
import type { ConfirmationRules } from "./claims.js";
import type { Audience, IssuerTest, IssuerVerifierOptions } from "./issuer-verifier.js";
import type { Duration } from "../lib/duration.js";
import { durationMs } from "../lib/duration.js";
import type { KeyContext, ResolvedKeys } from "./keys/options.js";
import { resolveKeys } from "./keys/options.js";
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

/** An issuer as resolved, with keys that are opened when every option is known to be right. */
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
  own: Partial<IssuerOptions>,
  shared: Partial<IssuerOptions>,
  common: CommonRules,
  context: KeyContext,
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
    keys: resolveKeys(option, { ...own, remoteKeys }, issuer, context),
  };
}

/** The members of `auth.issuers`. */
export function resolveIssuers<Raw>(
  options: AuthOptions<Raw>,
  common: CommonRules,
  context: KeyContext,
): readonly ResolvedIssuer[] {
  const { issuers } = options;
  const inVain = ["issuer", "secret", "publicKey", "jwks", "jwksUri", "algorithms"] as const;
  const misplaced = inVain.find((name) => options[name] !== undefined);
  if (misplaced !== undefined)
    throw optionError(`auth.${misplaced}`, "belongs to each of auth.issuers, if those are given");
  if (!isList(issuers) || issuers.length === 0)
    throw optionError("auth.issuers", "must be a list of at least one issuer");
  const resolved = issuers.map((one: IssuerOptions, index) => {
    const option = `auth.issuers[${index}]`;
    checkObject(option, one, issuerOptions);
    if ((one.issuer as unknown) === undefined) throw optionError(`${option}.issuer`, "is required");
    return resolveIssuer(option, one, options as Partial<IssuerOptions>, common, context);
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
