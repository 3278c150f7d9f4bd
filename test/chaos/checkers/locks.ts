import type { Fenced, History, Hold } from "../history.js";
import type { Violation } from "./violation.js";
import { groupBy, text } from "./violation.js";

const property = "locks exclude each other";
/** How long before a failover a server may have confirmed a lock that its replica never got. */
const unreplicatedMs = 1000;

/**
 * A data source that checks fences accepts no write of an earlier holder after one of a later holder, and no increment is
 * lost. A fence belongs to one process, also the fence of a leader.
 */
export function checkFences({ fenced }: History): Violation[] {
  const accepted = groupBy(
    fenced.filter((one) => one.accepted),
    ({ key }) => key,
  );
  return [...accepted.values()].flatMap((all) => all.flatMap((one, index) => judge(one, all[index - 1], all)));
}

function judge(one: Fenced, before: Fenced | undefined, all: readonly Fenced[]): Violation[] {
  if (before === undefined) return [];
  const violation = (message: string, ...evidence: Fenced[]): Violation => ({
    property,
    message,
    at: one.at,
    evidence,
  });
  if (one.fence < before.fence) return [violation(`the fence of "${one.key}" went back`, before, one)];
  if (one.fence === before.fence && (one.process !== before.process || one.life !== before.life))
    return [violation(`"${one.key}" has one fence at two processes`, before, one)];
  if (!one.key.startsWith("lock ") || one.action === "read") return [];
  const writes = all.slice(0, all.indexOf(one)).filter(({ action }) => action === "write");
  const last = writes.at(-1);
  if (one.value === (last?.value ?? 0) + 1) return [];
  return [violation(`an increment of "${one.key}" is lost`, ...(last === undefined ? [] : [last]), one)];
}

/** No two functions run at the same time whose locks were held until they ended, but for a failover that loses one. */
export function checkHolds({ holds, faults }: History): Violation[] {
  const mayLose = (one: Hold, other: Hold): boolean =>
    faults.some(
      ({ loses, start, end }) =>
        loses &&
        start - unreplicatedMs <= Math.max(one.left, other.left) &&
        end + unreplicatedMs >= Math.min(one.entered, other.entered),
    );
  return [...groupBy(holds, ({ name }) => name).values()].flatMap((all) => {
    const sorted = [...all].sort((a, b) => a.entered - b.entered);
    return sorted.flatMap((one, index) => {
      const before = sorted[index - 1];
      if (before === undefined || one.entered >= before.left || mayLose(before, one)) return [];
      return [{ property, message: `two hold "${one.name}"`, at: one.entered, evidence: [before, one] }];
    });
  });
}

/** When everything is well again, no lock is held by nobody. */
export function checkLocksComeBack({ operations }: History): Violation[] {
  return operations
    .filter(({ name, status }) => name === "free-lock" && ![200, 204].includes(status))
    .map((one) => ({
      property: "locks come back",
      message: `the lock "${text(one.args, "key")}" was answered ${one.status}`,
      at: one.start,
      evidence: [one],
    }));
}
