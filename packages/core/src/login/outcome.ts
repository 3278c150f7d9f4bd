import type { GateExchange } from "../request/state.js";
import type { LoginOutcome } from "./options.js";
import type { AttemptResult } from "../store/ports/logins.js";

/** Statuses of a handler that found the password wrong, or no account of that name. */
const failureStatuses = new Set([400, 401, 403, 422]);

/**
 * The result of an attempt that the handler did not report, by the status of the response. Undefined if the status does not
 * tell: then the attempt stays counted, and no counter is reset. Rejects if the function of the application throws.
 */
export async function resultOfStatus<Raw>(
  outcome: LoginOutcome<Raw>,
  { raw, state }: GateExchange<Raw>,
  status: number,
): Promise<AttemptResult | undefined> {
  // The client went away, and may have seen the result.
  if (status === 0) return undefined;
  if (typeof outcome === "function") {
    const answer: unknown = await outcome(raw, state.facts, status);
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
