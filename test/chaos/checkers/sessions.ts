import { faultsDuring } from "../history.js";
import { mayBeLost } from "../history.js";
import type { Facts, History, Operation } from "../history.js";
import { overlapMs } from "../settings.js";
import type { Violation } from "./violation.js";
import { count, groupBy, text } from "./violation.js";

/** All that ever got an answer for one refresh token got the same successor. */
export function checkSuccessors({ operations }: History): Violation[] {
  const refreshes = operations.filter(({ name, status }) => name === "refresh" && status === 200);
  return [...groupBy(refreshes, ({ args }) => text(args, "refreshed"))]
    .filter(([, group]) => new Set(group.map(({ answer }) => text(answer, "successor"))).size > 1)
    .map(([label, evidence]) => ({
      property: "one successor for a refresh token",
      message: `refresh token ${label} has several successors`,
      at: evidence[0]?.start ?? 0,
      evidence,
    }));
}

const endings = ["logout", "everywhere", "revoke"];

/**
 * A session whose client kept to the protocol, and that nobody ended, lives: its access token is never refused as bad, and
 * its refresh token is exchanged. Asked in vain (503) is not signed out.
 */
export function checkNobodyIsSignedOut(history: History): Violation[] {
  const { operations } = history;
  const ended = operations.filter(({ name }) => endings.includes(name));
  const bySession = groupBy(operations, ({ args }) => text(args, "session"));
  return operations
    .filter(({ name, status }) => (name === "read" && status === 401) || (name === "refresh" && status === 400))
    .filter((one) => !ended.some((ending) => ending.start <= one.end && mayEnd(ending, one.args)))
    .filter((one) => !mayBeLost(history, count(one.args, "since")) && !wasLate(history, one, bySession))
    .map((one) => ({
      property: "nobody is signed out for nothing",
      message: `${one.name} was answered ${one.status} with a good token${clockOf(history, one)}`,
      at: one.start,
      evidence: [...(bySession.get(text(one.args, "session")) ?? []).filter(({ id }) => id < one.id).slice(-4), one],
    }));
}

/** An ending that was asked for may have happened, whatever was answered. */
export function mayEnd(ending: Operation, args: Facts): boolean {
  return ending.name === "everywhere"
    ? text(ending.args, "subject") === text(args, "subject") && !(count(args, "since") > ending.end)
    : text(ending.args, "session") === text(args, "session");
}

/**
 * A refresh token that comes again after the overlap ends the session, as it should: also if the first request stood in a
 * process that did not run, and came to be answered when its successor was in use.
 */
function wasLate(history: History, one: Operation, bySession: ReadonlyMap<string, readonly Operation[]>): boolean {
  if (one.name === "refresh" && one.end - count(one.args, "firstSent") > overlapMs) return true;
  return (bySession.get(text(one.args, "session")) ?? []).some(
    (earlier) =>
      earlier.name === "refresh" &&
      earlier.status === 0 &&
      earlier.start < one.start &&
      faultsDuring(history, earlier.start, earlier.end, { what: ["stop"], process: earlier.process, after: 0 }).length >
        0,
  );
}

function clockOf(history: History, { start, end, process }: Operation): string {
  const wrong = faultsDuring(history, start, end, { what: ["clock"], process, after: 0 });
  return wrong.length > 0 ? " by a process whose clock is wrong" : "";
}
