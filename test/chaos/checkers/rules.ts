import { faultsDuring, mayBeLost, redisWasUp } from "../history.js";
import type { History, Operation } from "../history.js";
import { ruled, slackMs } from "../settings.js";
import type { Violation } from "./violation.js";
import { groupBy, text } from "./violation.js";

/** How long other processes may take to hear of a block or an override. */
const heardMs = 1000 + slackMs;

/** A block and an override hold until their end, at every process, whatever its clock says. */
export function checkRulesHold(history: History): Violation[] {
  const { operations } = history;
  const rules = groupBy(
    operations.filter(({ name, status }) => (name === "block" || name === "override") && status === 204),
    ({ args }) => text(args, "key"),
  );
  return operations.flatMap((one) => {
    if (one.name !== "ruled" || one.status === 0 || one.status === 503) return [];
    const [rule] = rules.get(text(one.args, "key")) ?? [];
    if (rule === undefined || one.start < rule.end + heardMs || !isKnown(history, rule, one)) return [];
    const holds = rule.name === "block" ? one.status === 429 : isOverridden(history, one);
    if (holds) return [];
    const message = `a ${rule.name} does not hold at process ${one.process}`;
    return [{ property: "blocks and overrides hold", message, at: one.start, evidence: [rule, one] }];
  });
}

/**
 * A process that decides without Redis says nothing of the limit. What it refuses then it knows to be overridden: nobody asks
 * for its part of the limit without.
 */
function isOverridden(history: History, { answer, status, process, start, end }: Operation): boolean {
  const policy = text(answer, "policy");
  if (policy === "") return status === 429 || !redisWasUp(history, start, end, process);
  return policy.includes(`q=${ruled.override};`);
}

/** Must this process know the rule? One that cannot ask Redis goes by what it has heard, and by none after a start. */
function isKnown(history: History, rule: Operation, one: Operation): boolean {
  const { process, start, end } = one;
  if (faultsDuring(history, start, end, { what: ["redis", "stop", "end"], process }).length > 0) return false;
  const lost = history.faults.some((fault) => fault.loses && fault.end >= rule.start && fault.start <= end);
  return !lost && !mayBeLost(history, rule.end);
}
