import type { Auth } from "../auth/claims.js";
import type { ClaimPath, Identifier } from "../auth/identifying-claim.js";
import {
  checkIdentifying,
  claimAt,
  identifyingText,
  identifyingTexts,
  notIdentifying,
  resolveClaimPath,
  showClaim,
} from "../auth/identifying-claim.js";
import { isYes } from "../auth/verifier.js";
import type { VerifiedToken } from "../auth/verifier.js";
import type { DenialDetail, DescribeDenial } from "../http/denial-detail.js";
import { kindFound, quoted, quotedList, textFound, timeFound } from "../http/denial-detail.js";
import type { Check } from "../request/state.js";
import type { UnguardedWarning } from "../request/unguarded.js";
import { allowed } from "../http/verdict.js";
import type { Duration } from "../lib/duration.js";
import { durationSeconds } from "../lib/duration.js";
import { checkObject, optionError } from "../lib/validate.js";
import type { StoreHealth } from "../store/ports/health.js";
import type { Challenges } from "./challenges.js";
import { denyForClock, schemeOf } from "./challenges.js";

/**
 * The test of a claim: the value that it must equal, or a function that returns true for accepted values. The function gets
 * undefined for a missing claim. A text and an integer are equal if they are the same text: 42 equals "42".
 */
export type ClaimTest = string | number | boolean | ((value: unknown, auth: Auth) => boolean);

/** Requirements on the strength and the age of a sign-in (RFC 9470). */
export interface RecentAuthOptions {
  /** Maximum time since the sign-in (claim `auth_time`), in whole seconds. */
  readonly maxAge?: Duration | undefined;
  /** Accepted authentication context classes (claim `acr`), the preferred class first. */
  readonly acr?: string | readonly string[] | undefined;
}

/** The parts of a gate that checks of the token need. */
export interface AuthorizeServices {
  readonly challenges: Challenges;
  readonly unguarded: Pick<UnguardedWarning, "noteRefusal">;
}

/** The characters of a scope token (RFC 6749 3.3). A challenge may contain them without escaping. */
const scopeToken = /^[\x21\x23-\x5B\x5D-\x7E]+$/;

/** Passes tokens that grant all of these scopes; 403 `insufficient_scope` otherwise (RFC 6750 3.1). */
export function requireScopes<Raw>(scopes: readonly string[], services: AuthorizeServices): Check<Raw> {
  const { challenges } = services;
  checkTokens("requireScopes()", 'scopes such as "orders:read"', scopes);
  return signedIn("requireScopes()", services, (auth, verified) =>
    scopes.every((scope) => auth.scopes.includes(scope))
      ? allowed
      : challenges.scopeInsufficient(scopes, schemeOf(verified), describeScopes(scopes, "and", auth)),
  );
}

/** Passes tokens that grant at least one of these scopes; 403 `insufficient_scope` otherwise. */
export function requireAnyScope<Raw>(scopes: readonly string[], services: AuthorizeServices): Check<Raw> {
  const { challenges } = services;
  checkTokens("requireAnyScope()", 'scopes such as "orders:read"', scopes);
  return signedIn("requireAnyScope()", services, (auth, verified) =>
    scopes.some((scope) => auth.scopes.includes(scope))
      ? allowed
      : challenges.scopeInsufficient(scopes, schemeOf(verified), describeScopes(scopes, "or", auth)),
  );
}

function describeScopes(scopes: readonly string[], conjunction: "and" | "or", auth: Auth): DescribeDenial {
  return () => ({ claim: "scope", expected: quotedList(scopes, conjunction), found: quotedList(auth.scopes, "and") });
}

/** Passes tokens whose claim (or a member of a claim, as `"org.plan"`) passes the test; 403 otherwise. */
export function requireClaim<Raw>(claim: ClaimPath, test: ClaimTest, services: AuthorizeServices): Check<Raw> {
  const { challenges } = services;
  const name = resolveClaimPath("requireClaim()", claim);
  if (!["string", "number", "boolean", "function"].includes(typeof test)) {
    throw optionError("requireClaim()", "needs a value the claim must equal, or a function that tests it");
  }
  const wanted = identifyingText(test);
  return signedIn("requireClaim()", services, (auth) => {
    const value = claimAt(auth.claims, name);
    const equals = typeof wanted === "string" ? identifyingText(value) === wanted : value === test;
    if (isYes(typeof test === "function" ? test(value, auth) : equals)) return allowed;
    return challenges.claimInsufficient(() => ({
      claim: showClaim(name),
      expected: typeof test === "function" ? "a value for which the function returns true" : quoted(String(test)),
      found: kindFound(value),
    }));
  });
}

/** Claims that may hold roles if `rolesClaim` is not set. */
const roleClaims = ["roles", "role"];

/** Passes tokens with at least one of these roles; 403 otherwise. A role that is neither text nor an integer is 401. */
export function requireRole<Raw>(roles: readonly Identifier[], services: AuthorizeServices): Check<Raw> {
  const { challenges } = services;
  if (roles.length === 0) throw optionError("requireRole()", 'needs at least one role, such as "admin"');
  const wanted = roles.map((role) => checkIdentifying("requireRole()", role));
  return signedIn("requireRole()", services, (auth, verified) => {
    const claims = verified?.rolesClaim === undefined ? roleClaims : [verified.rolesClaim];
    let holds = false;
    for (const claim of claims) {
      const held = identifyingTexts(claimAt(auth.claims, claim));
      if (held === notIdentifying)
        return challenges.tokenInvalid("a role is neither text nor a safe integer", schemeOf(verified), () => ({
          claim: showClaim(claim),
          expected: "text or integers",
          found: kindFound(claimAt(auth.claims, claim)),
        }));
      holds ||= wanted.some((role) => held.includes(role));
    }
    if (holds) return allowed;
    return challenges.claimInsufficient(() => ({
      claim: claims.map(showClaim).join(" or "),
      expected: quotedList(wanted),
      found: quotedList(
        claims.flatMap((claim) => {
          const held = identifyingTexts(claimAt(auth.claims, claim));
          return held === notIdentifying ? [] : held;
        }),
        "and",
      ),
    }));
  });
}

/** Passes tokens of a sign-in that is recent and strong enough; otherwise 401 with the requirements (RFC 9470 3). */
export function requireRecentAuth<Raw>(
  options: RecentAuthOptions,
  services: AuthorizeServices,
  now: () => number,
  health: StoreHealth,
): Check<Raw> {
  const { challenges } = services;
  checkObject("requireRecentAuth()", options, ["maxAge", "acr"]);
  const { maxAge, acr } = options;
  if (maxAge === undefined && acr === undefined) throw optionError("requireRecentAuth()", "needs maxAge, acr or both");
  const maxAgeSeconds =
    maxAge === undefined ? undefined : durationSeconds("requireRecentAuth().maxAge", maxAge, 100 * 366 * 86_400);
  const classes = acr === undefined ? undefined : typeof acr === "string" ? [acr] : acr;
  if (classes !== undefined) checkTokens("requireRecentAuth().acr", 'classes such as "phr"', classes);

  return signedIn(
    "requireRecentAuth()",
    services,
    ({ claims: { auth_time: signedInAt, acr: presented } }, verified) => {
      const recent =
        maxAgeSeconds === undefined ||
        (typeof signedInAt === "number" && isWithin(now() / 1000 - signedInAt, maxAgeSeconds));
      const strong = classes === undefined || (typeof presented === "string" && classes.includes(presented));
      if (recent && strong) return allowed;
      const forClock = strong && typeof signedInAt === "number" ? denyForClock(health) : undefined;
      const describe = (): DenialDetail =>
        recent
          ? { claim: "acr", expected: quotedList(classes ?? []), found: textFound(presented) }
          : {
              claim: "auth_time",
              expected: `at most ${maxAgeSeconds} s ago`,
              found: timeFound(signedInAt, now() / 1000),
            };
      return forClock ?? challenges.authenticationStale(maxAgeSeconds, classes, schemeOf(verified), describe);
    },
  );
}

/** Tolerance for an issuer whose clock is ahead. An `auth_time` in milliseconds would be far more ahead than that. */
const clockToleranceSeconds = 60;

function isWithin(ageSeconds: number, maxSeconds: number): boolean {
  return ageSeconds <= maxSeconds && ageSeconds >= -clockToleranceSeconds;
}

/** A check of the token; an anonymous request is 401. */
function signedIn<Raw>(
  middleware: string,
  { challenges, unguarded }: AuthorizeServices,
  decide: (auth: Auth, verified: VerifiedToken | undefined) => ReturnType<Check<Raw>>,
): Check<Raw> {
  return ({ state }) => {
    const { facts, verified } = state;
    if (facts.auth !== undefined) return decide(facts.auth, verified);
    unguarded.noteRefusal(middleware, state);
    return challenges.credentialsRequired(withoutUser);
  };
}

const withoutUser = (): DenialDetail => ({
  expected: "a user from guard() or authenticate() in front of this middleware",
  found: "none",
});

function checkTokens(option: string, what: string, values: readonly unknown[]): void {
  if (!Array.isArray(values) || values.length === 0) throw optionError(option, `needs at least one; it takes ${what}`);
  for (const value of values) {
    if (typeof value !== "string" || !scopeToken.test(value)) {
      throw optionError(
        option,
        `takes ${what}, each as an argument of its own, without blanks, quotes and backslashes`,
      );
    }
  }
}
