import { mayBeLost } from "../history.js";
import type { History, Operation } from "../history.js";
import type { Violation } from "./violation.js";
import { groupBy, text } from "./violation.js";

function consumersOf({ operations }: History): Map<string, Operation[]> {
  return groupBy(
    operations.filter(({ name }) => name === "consume"),
    ({ args }) => text(args, "value"),
  );
}

function found({ status, answer }: Operation): boolean {
  return status === 200 && typeof answer.found === "string";
}

/** One consumer gets a value. Only a consumption that was confirmed just before a failover may be lost, and be made again. */
export function checkConsumedOnce(history: History): Violation[] {
  return [...consumersOf(history)].flatMap(([value, consumers]) => {
    const lucky = consumers.filter(found).sort((one, other) => one.end - other.end);
    const [, second] = lucky;
    if (second === undefined || lucky.slice(0, -1).every(({ end }) => mayBeLost(history, end))) return [];
    const message = `${value} was consumed ${lucky.length} times`;
    return [{ property: "a one-time value is consumed once", message, at: second.start, evidence: lucky }];
  });
}

/** Nobody gets a value that was not issued, or another than that of the token. */
export function checkOnlyIssued(history: History): Violation[] {
  const issued = new Set(
    history.operations.filter(({ name }) => name === "issue").map(({ args }) => text(args, "value")),
  );
  return history.operations
    .filter((one) => one.name === "consume" && found(one))
    .filter(({ args, answer }) => answer.found !== args.value || !issued.has(text(args, "value")))
    .map((one) => ({
      property: "only what was issued is consumed",
      message: `${text(one.answer, "found")} was consumed by the token of ${text(one.args, "value")}`,
      at: one.start,
      evidence: [one],
    }));
}

/** A value that was issued is got by somebody, or by a consumer without an answer, or one that was answered 503. */
export function checkNoneIsLost(history: History): Violation[] {
  const consumers = consumersOf(history);
  const issues = history.operations.filter(({ name, status }) => name === "issue" && status === 200);
  return issues.flatMap((issue) => {
    const own = consumers.get(text(issue.args, "value")) ?? [];
    const nobody = own.length > 0 && own.every((one) => one.status === 200 && !found(one));
    if (!nobody || mayBeLost(history, issue.end)) return [];
    const message = `nobody got ${text(issue.args, "value")}`;
    return [{ property: "no one-time value is lost", message, at: issue.start, evidence: [issue, ...own] }];
  });
}
