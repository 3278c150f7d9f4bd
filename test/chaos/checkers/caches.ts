import { faultsDuring, mayBeLost, redisWasUp } from "../history.js";
import type { History, Operation } from "../history.js";
import { localTtlMs, makingMs, settleMs, slackMs } from "../settings.js";
import type { Violation } from "./violation.js";
import { count, groupBy, text } from "./violation.js";

/** A change that was confirmed, and from when on nobody may read what was before it. */
interface Confirmed {
  readonly change: Operation;
  readonly version: number;
  readonly from: number;
}

/**
 * After a change was confirmed, no read that begins later finds an older version, from any process: but for what a process
 * may keep for `local.ttl`. A POST through the response cache succeeds without Redis too; its process then makes up for the
 * purge before it answers anything of that again, unless it dies first.
 */
export function checkNothingOld(history: History): Violation[] {
  const { operations } = history;
  const changes = operations.flatMap((change): Confirmed[] => {
    const from = confirmedFrom(history, change);
    const version = count(change.name === "write" ? change.args : change.answer, "version");
    return from === undefined ? [] : [{ change, version, from }];
  });
  const byThing = groupBy(changes, ({ change }) => text(change.args, "thing"));
  const reads = operations.filter(({ name, status }) => (name === "cached" || name === "written") && status === 200);
  return reads.flatMap((read) => {
    const version = count(read.answer, "version");
    const known = (byThing.get(text(read.args, "thing")) ?? []).filter(({ from }) => read.start > from);
    const newest = known.reduce<Confirmed | undefined>(
      (best, one) => (best === undefined || one.version > best.version ? one : best),
      undefined,
    );
    // A value that is not there is not old.
    if (newest === undefined || Number.isNaN(version) || version >= newest.version) return [];
    const late = Math.round(read.start - newest.change.end);
    const message = `process ${read.process} answered version ${version}, ${late} ms after version ${newest.version} was confirmed`;
    return [
      { property: "nothing old after a confirmed change", message, at: read.start, evidence: [newest.change, read] },
    ];
  });
}

function confirmedFrom(history: History, change: Operation): number | undefined {
  const { name, status, end, start, args, process, life } = change;
  if (mayBeLost(history, end)) return undefined;
  if (name === "write") {
    // Nothing says that a write was done; it is, if Redis was there all the time.
    return status === 204 && redisWasUp(history, start, end) ? end + localTtlMs + slackMs : undefined;
  }
  if (name !== "change" || status !== 200) return undefined;
  if (args.by !== "/page") return end + localTtlMs + slackMs;
  const outages = faultsDuring(history, start, end, { what: ["redis", "stop"] });
  if (outages.length === 0 && redisWasUp(history, start, end)) return end + slackMs;
  const until = Math.max(end, ...outages.map((fault) => fault.end)) + settleMs;
  // It is made up for before that process answers anything of this again.
  const again = history.operations.find(
    (one) =>
      one.process === process &&
      one.life === life &&
      one.start > until &&
      one.status === 200 &&
      one.args.thing === args.thing,
  );
  return again === undefined ? undefined : again.end + slackMs;
}

/**
 * Who reads through the cache does not wait for a process that makes nothing: only for one that is dead, stands still, or
 * cannot be told apart from one that is about to answer, until its lease ends.
 */
export function checkNobodyWaitsInVain(history: History): Violation[] {
  return history.operations
    .filter(({ name, args }) => name === "cached" && !text(args, "thing").startsWith("page"))
    .filter(({ start, end }) => end - start > makingMs)
    .filter((one) => !mayWait(history, one))
    .map((one) => ({
      property: "nobody waits for a value that nobody makes",
      message: `a read took ${Math.round(one.end - one.start)} ms`,
      at: one.start,
      evidence: [...faultsDuring(history, one.start - 3000, one.end, { what: ["redis"], after: 0 }), one],
    }));
}

/** Longer than a lease. */
const leaseMs = 3500;

function mayWait(history: History, { start, end }: Operation): boolean {
  const from = start - leaseMs;
  if (faultsDuring(history, from, end, { what: ["stop", "end", "busy"], after: 0 }).length > 0) return true;
  // One process alone cannot reach Redis, where others see its lease; or Redis cannot be reached again and again.
  return faultsDuring(history, from, end, { what: ["redis"], after: 0 }).some(
    (fault) => fault.end - fault.start > 1000,
  );
}
