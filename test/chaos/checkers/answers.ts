import { faultsDuring } from "../history.js";
import type { History, Operation } from "../history.js";
import { exitMs, longestAnswerMs, mostHeapBytes } from "../settings.js";
import type { Violation } from "./violation.js";
import { text } from "./violation.js";

/** Statuses that a kind of operation may have, besides 200, 204 and 503. */
const others: Readonly<Record<string, readonly number[]>> = {
  login: [401, 429],
  read: [401],
  refresh: [400],
  logout: [401],
  everywhere: [401],
  revoke: [401],
  limited: [429],
  slots: [429],
  "all-slots": [429],
  ruled: [429],
  settled: [429],
  failures: [429],
  order: [409],
};

/** Trouble is 503: no other failure, and no refusal that tells a client that it did something wrong. */
export function checkStatuses({ operations }: History): Violation[] {
  return operations
    .filter(({ name, status }) => ![0, 200, 204, 503, ...(others[name] ?? [])].includes(status))
    .map((one) => violation("trouble is answered 503", `${one.name} was answered ${one.status}`, one));
}

function violation(property: string, message: string, one: Operation): Violation {
  return { property, message, at: one.start, evidence: [one] };
}

/** Every request is answered, in time: but for those to a process that stands still or ends. */
export function checkEverybodyIsAnswered(history: History): Violation[] {
  return history.operations.flatMap((one) => {
    const { start, end, process, status, left } = one;
    // What was asked of Redis itself.
    if (process < 0) return [];
    const stopped = faultsDuring(history, start, end, { what: ["stop", "end"], process, after: 1000 });
    const busy = faultsDuring(history, start, end, { what: ["busy"], process, after: 0 });
    const stoppedMs = [...stopped, ...busy].reduce((sum, fault) => sum + (fault.end - fault.start), 0);
    const ms = end - start;
    if (ms > longestAnswerMs + stoppedMs) {
      return [violation("nobody hangs", `${one.name} took ${Math.round(ms)} ms`, one)];
    }
    if (status === 0 && !left && stopped.length === 0) {
      return [violation("nobody hangs", `${one.name} got no answer`, one)];
    }
    return [];
  });
}

/** What is answered to one user is never another's. */
export function checkOwnValues({ operations }: History): Violation[] {
  return operations
    .filter(({ name, status }) => name === "read" && status === 200)
    .filter(({ args, answer }) => text(args, "subject") !== text(answer, "subject"))
    .map((one) => violation("no value of another user", `${text(one.args, "subject")} got what is another's`, one));
}

/** Processes say nothing that they must not, never end by themselves, and end when they are asked to. */
export function checkProcesses({ complaints, ends }: History): Violation[] {
  return [
    ...complaints.map((one) => ({
      property: "processes are well",
      message: `process ${one.process}: ${one.text}`,
      at: one.at,
      evidence: [one],
    })),
    ...ends
      .filter(({ how, code, ms }) => how === "crashed" || (how === "asked" && (code !== 0 || ms > exitMs)))
      .map((one) => ({
        property: "processes are well",
        message: `process ${one.process} ended (${one.how}) with ${one.code} after ${Math.round(one.ms)} ms`,
        at: one.at,
        evidence: [one],
      })),
  ];
}

/** Everything in Redis has an end, and memory is bounded. */
export function checkAudits({ audits }: History): Violation[] {
  return audits.flatMap((audit) => [
    ...(audit.endlessKeys.length === 0
      ? []
      : [finding("everything in Redis has an end", `no end: ${audit.endlessKeys.slice(0, 5).join(" ")}`, audit)]),
    ...audit.heapBytes
      .filter((bytes) => bytes > mostHeapBytes)
      .map((bytes) => finding("memory is bounded", `a process has ${Math.round(bytes / 1e6)} MB on its heap`, audit)),
    ...audit.openConnections
      .filter((open) => open > 0)
      .map((open) => finding("no connection is left open", `a process holds ${open} streams of nobody`, audit)),
  ]);
}

function finding(property: string, message: string, audit: History["audits"][number]): Violation {
  return { property, message, at: audit.at, evidence: [audit] };
}
