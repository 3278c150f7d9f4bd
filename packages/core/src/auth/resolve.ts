import type { AuthOptions, IssuerOptions } from "./options.js";
import type { TokenSource } from "./credentials.js";
import { IssuerScope } from "./issuer-scope.js";
import type { IssuerVerifierOptions } from "./issuer-verifier.js";
import { challengeText } from "../http/fields.js";
import type { DpopContext, ResolvedDpop } from "./dpop/options.js";
import { resolveDpop } from "./dpop/options.js";
import { durationMs } from "../lib/duration.js";
import type { IssuerKeys, KeyContext } from "./keys/options.js";
import type { ResolvedIssuer } from "./resolve-issuer.js";
import { namesOf, resolveIssuer, resolveIssuers } from "./resolve-issuer.js";
import { issuerOptions } from "./options.js";
import { resolveSources } from "./credentials.js";
import { checkBoolean, checkObject, checkString, optionError, rangeError } from "../lib/validate.js";

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
