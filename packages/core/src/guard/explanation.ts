import type { DenialCode } from "../http/verdict.js";
import type { FaultKind } from "../store/ports/fault.js";

/** The user that a verified token names. It names a person: keep it out of public places. */
export interface ExplainedUser {
  /** Claim `iss`. */
  readonly issuer: string;
  /** `auth.principal`, as calls of the gate take it; empty if the token has no subject. */
  readonly principal: string;
  /** Claim `sid`. */
  readonly sessionId: string | undefined;
  /** Claim `jti`. */
  readonly jti: string | undefined;
  /** Claim `iat`, in Unix seconds. */
  readonly issuedAt: number | undefined;
  /** Claim `exp`, in Unix seconds. */
  readonly expiresAt: number;
}

/** The state of a limit before this request. */
export interface ExplainedLimit {
  /** Requests (or units of cost) per window, after overrides; for `concurrency`, requests at once. */
  readonly limit: number;
  /** Length of the window in seconds. */
  readonly windowSeconds: number;
  /** Requests (or units of cost) counted; undefined for a blocked client. */
  readonly consumed: number | undefined;
  /** Requests (or units of cost) that are left. */
  readonly remaining: number;
  /** Seconds until more is available; for a request that is refused, until it would pass. */
  readonly resetSeconds: number;
  /** Is the client blocked, or would this request begin a block? */
  readonly blocked: boolean;
  /** A limit in shadow never refuses. */
  readonly shadow: boolean;
  /** Does this process also answer from a lease, which the counter in Redis includes? */
  readonly leased: boolean;
}

/** One check of the guard. `console.table(explanation.checks)` shows them well. */
export interface ExplainedCheck {
  /**
   * `token`: the credential as a whole; `claim`: a claim, or a parameter of the header; `proof`: a proof of possession; `record`:
   * the revocation record; `cutoff`: a cut-off of the user, the session or the organisation; `own`: `revocation.isRevoked`;
   * `session`: the record of the session, which refuses nothing; `limit`: a limit of `guard()`; `other limit`: a limit of
   * `gate.limit()` or `gate.consume()`, which `guard()` does not apply.
   */
  readonly part: "token" | "claim" | "proof" | "record" | "cutoff" | "own" | "session" | "limit" | "other limit";
  /** Name of the claim, of the owner of the cut-off, or of the limit. */
  readonly name: string;
  /** `unknown`: the store does not say it, or an earlier check has refused; `skipped`: the check does not apply, see `found`. */
  readonly outcome: "passed" | "failed" | "unknown" | "skipped";
  /** The accepted values or their kind. */
  readonly expected?: string | undefined;
  /** The value that was found, its kind, or the fault of the store. Never a secret. */
  readonly found?: string | undefined;
  /** The key in Redis: its family and a digest. */
  readonly key?: string | undefined;
  /** State of the limit; only for the parts `limit` and `other limit`. */
  readonly limit?: ExplainedLimit | undefined;
}

/** The verdict of `guard()` about a token now, and why: the result of `gate.explain()`. */
export interface Explanation {
  /** 200 if the guard passes the request on. Undefined if this process cannot know it without fetching keys. */
  readonly status: number | undefined;
  /**
   * "allowed"; the code of the refusal; "undetermined": a request would fetch the keys of the issuer first; "error": a function
   * of the application throws, so that the framework answers.
   */
  readonly code: DenialCode | "allowed" | "undetermined" | "error";
  /** The reason in a fixed phrase, as in logs. */
  readonly cause: string;
  /** Why the store does not answer. The verdict is then that of the policies for outages. */
  readonly fault: FaultKind | undefined;
  /** Undefined if the token was not verified. */
  readonly user: ExplainedUser | undefined;
  /** In the order of the guard. */
  readonly checks: readonly ExplainedCheck[];
  /** All of it in one line of printable ASCII, without names of users. */
  readonly text: string;
}

/** The failed checks that the text contains. */
const maxShown = 3;

/** Puts an explanation into one line. */
export function textOf(
  { status, code, cause, fault, user, checks }: Omit<Explanation, "text">,
  nowSeconds: number,
): string {
  // The cause says already what is wrong with the token as a whole.
  const failed = checks.filter(({ part, outcome }) => outcome === "failed" && part !== "token").slice(0, maxShown);
  const limits = checks.flatMap(({ part, name, limit }) =>
    limit === undefined || part !== "limit" ? [] : [`${name} ${limit.remaining} of ${limit.limit} left`],
  );
  const parts = [
    `${status ?? "?"} ${code}: ${cause}`,
    ...failed.map(textOfCheck),
    ...(fault === undefined ? [] : [`the store does not answer (${fault}), and the policies for outages decide`]),
    ...(code !== "allowed" || user === undefined
      ? []
      : [`the token expires in ${Math.round(user.expiresAt - nowSeconds)} s`]),
    ...(code === "allowed" ? limits : []),
  ];
  return parts.join("; ").replace(/[^\x20-\x7e]/g, "?");
}

function textOfCheck({ part, name, expected, found, key, limit }: ExplainedCheck): string {
  const facts = [
    ...(expected === undefined ? [] : [`expected ${expected}`]),
    ...(found === undefined ? [] : [`found ${found}`]),
    ...(limit === undefined ? [] : [`${limit.limit} in ${limit.windowSeconds} s, free in ${limit.resetSeconds} s`]),
    ...(key === undefined ? [] : [`key ${key}`]),
  ];
  return `${part} ${name}: ${facts.join(", ")}`;
}
