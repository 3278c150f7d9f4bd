import type { Exchange } from "../http/exchange.js";
import type { LoginOutcome } from "./options.js";
import type { AttemptResult } from "../store/ports/logins.js";

/** Those by which handlers say that a password was wrong, or that nobody has the name. */
const failureStatuses = new Set([400, 401, 403, 422]);

/**
 * What became of an attempt of which the handler said nothing, by the status of its response; undefined if that does not
 * tell: then the attempt stays counted, and nothing is forgotten. Rejects if the application's function throws.
 */
export async function resultOfStatus<Raw>(
  outcome: LoginOutcome<Raw>,
  { raw, facts }: Exchange<Raw>,
  status: number,
): Promise<AttemptResult | undefined> {
  // The client went away, and may have seen what it wanted to know.
  if (status === 0) return undefined;
  if (typeof outcome === "function") {
    const answer: unknown = await outcome(raw, facts, status);
    if (answer === "succeeded" || answer === "failed" || answer === "unchecked") return answer;
    if (answer !== undefined) throw new TypeError("no outcome");
  }
  if (status >= 500) return "interrupted";
  if (failureStatuses.has(status)) return "failed";
  return outcome === "status" && isSuccess(status) ? "succeeded" : undefined;
}

export function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}
