import { mayBeLost } from "../history.js";
import type { Facts, History, Operation } from "../history.js";
import { slackMs, stalenessMs } from "../settings.js";
import type { Violation } from "./violation.js";
import { count, text } from "./violation.js";

const property = "revoked stays revoked";
export const endings: readonly string[] = ["logout", "everywhere", "revoke"];

/** Does the ending concern what was presented here? Tokens that were handed out while it ran may have been made after it. */
export function concerns(ending: Operation, args: Facts): boolean {
  switch (ending.name) {
    case "revoke":
    case "revoked-key":
      return text(args, "token") === text(ending.args, "token");
    case "logout":
      return text(args, "session") === text(ending.args, "session");
    default:
      return text(args, "subject") === text(ending.args, "subject") && count(args, "since") < ending.start;
  }
}

/**
 * After an ending was confirmed, no token that it concerns passes, in any process, for good. A process that keeps the answer
 * "not revoked" may do so for its staleness. What a master confirmed just before it was replaced may be lost, unless the
 * replica had it too: `revoke` waits for one where there is Sentinel.
 */
export function checkRevocation(history: History): Violation[] {
  const { operations } = history;
  const confirmed = operations.filter(({ name, status }) => endings.includes(name) && status === 204);
  const lasting = confirmed.filter((ending) => ending.args.replicated === true || !mayBeLost(history, ending.end));
  const passed = operations.filter(({ name, status }) => (name === "read" || name === "refresh") && status === 200);
  return lasting.flatMap((ending) =>
    passed
      .filter(
        (one) =>
          one.start > ending.end + (one.name === "read" ? toleranceOf(one.process) : 0) && concerns(ending, one.args),
      )
      .map((one) => ({
        property,
        message: `${one.name} passed ${Math.round(one.start - ending.end)} ms after ${ending.name} was confirmed`,
        at: one.start,
        evidence: [ending, one],
      })),
  );
}

/** Every second process keeps an answer for a while. */
export function toleranceOf(process: number): number {
  return process % 2 === 1 ? stalenessMs + slackMs : 0;
}
