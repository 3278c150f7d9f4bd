import { redisWasUp } from "../history.js";
import type { History, Operation } from "../history.js";
import { applications, limits, localLimit, windowSeconds } from "../settings.js";
import type { LimitName } from "../settings.js";
import type { Violation } from "./violation.js";
import { groupBy, text } from "./violation.js";

function nameOf(one: Operation): LimitName {
  return text(one.args, "policy") as LimitName;
}

function byKey({ operations }: History): Operation[][] {
  const limited = operations.filter(({ name }) => name === "limited");
  return [...groupBy(limited, (one) => `${nameOf(one)} ${text(one.args, "key")}`).values()];
}

function lifeOf(group: readonly Operation[]): readonly [from: number, until: number] {
  return [Math.min(...group.map(({ start }) => start)), Math.max(...group.map(({ end }) => end))];
}

/**
 * What all processes together admit of a key whose window has not ended. While Redis is away each process has a part of its
 * own, anew in each of its lives; and where a master may have forgotten its last writes, the limit begins again.
 */
export function mostAdmitted(history: History, name: LimitName, from: number, until: number): number {
  const { limit, algorithm } = limits[name];
  const flow = algorithm === "token-bucket" ? Math.floor((limit * (until - from)) / (windowSeconds * 1000)) + 1 : 0;
  if (redisWasUp(history, from, until)) return limit + flow;
  const lives = applications.length + history.ends.filter(({ at }) => at >= from && at <= until).length;
  const losses = history.faults.filter(({ loses, start, end }) => loses && start <= until && end >= from).length;
  return limit * (1 + losses) + flow + lives * (localLimit(limit) + (flow > 0 ? 1 : 0));
}

/** Never are more admitted than the limit. */
export function checkLimitsHold(history: History): Violation[] {
  return byKey(history).flatMap((group) => {
    const [from, until] = lifeOf(group);
    const [first] = group;
    const admitted = group.filter(({ status }) => status === 200);
    if (first === undefined) return [];
    const most = mostAdmitted(history, nameOf(first), from, until);
    if (admitted.length <= most) return [];
    const message = `${admitted.length} requests of a key were admitted under "${nameOf(first)}", and ${most} may be`;
    return [{ property: "limits hold", message, at: from, evidence: group }];
  });
}

/** While Redis answers, nobody is refused who has asked for less than the limit. A lease may lie with another process. */
export function checkNobodyIsRefused(history: History): Violation[] {
  return byKey(history).flatMap((group) => {
    const [from, until] = lifeOf(group);
    const [first] = group;
    if (first === undefined || nameOf(first) === "leased" || !redisWasUp(history, from, until)) return [];
    const { limit } = limits[nameOf(first)];
    return group
      .filter(({ status }) => status === 429)
      .filter((refused) => group.filter((one) => one !== refused && one.start < refused.end).length < limit)
      .slice(0, 1)
      .map((refused) => ({
        property: "nobody is limited for nothing",
        message: `"${nameOf(refused)}" refused a request before its limit was used`,
        at: refused.start,
        evidence: [...group.filter((one) => one.start < refused.end), refused],
      }));
  });
}
