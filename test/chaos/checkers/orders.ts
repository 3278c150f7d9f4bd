import { redisWasUp } from "../history.js";
import type { History, Operation, Work } from "../history.js";
import type { Violation } from "./violation.js";
import { groupBy, text } from "./violation.js";

const property = "no order is made twice";

/** How long a process may take to store a response after its handler has ended. */
const storingMs = 1000;

/**
 * An order is made once for each key, and all answers to it are the same. It may be made again only if the response to the
 * first one may not have been stored: its process or Redis was away then, or a failover has lost the record.
 */
export function checkNoOrderTwice(history: History): Violation[] {
  const works = history.works.filter(({ policy }) => policy === "orders");
  const answered = history.operations.filter(({ name, status }) => name === "order" && status === 200);
  const answers = groupBy(answered, ({ args }) => text(args, "key"));
  return [...groupBy(works, ({ key }) => key)].flatMap(([key, group]) => {
    const made = [...group].sort((a, b) => a.entered - b.entered);
    const again = made.find((one, index) => index > 0 && !mayBeMadeAgain(history, made[index - 1] ?? one, one));
    const answersToKey = answers.get(key) ?? [];
    if (again !== undefined)
      return [violation(`an order was made ${made.length} times`, again.entered, [...made, ...answersToKey])];
    const different = new Set(answersToKey.map(({ answer }) => answer.order));
    // A client that got an answer before Redis lost it may get another one from the second execution.
    if (different.size <= Math.max(1, made.length)) return [];
    return [
      violation(`an order has ${different.size} answers`, answersToKey[0]?.start ?? 0, [...made, ...answersToKey]),
    ];
  });
}

function violation(message: string, at: number, evidence: readonly (Work | Operation)[]): Violation {
  return { property, message, at, evidence };
}

function mayBeMadeAgain(history: History, first: Work, next: Work): boolean {
  if (history.faults.some(({ loses, start, end }) => loses && start <= next.entered && end >= first.entered - 1000))
    return true;
  const until = first.left + storingMs;
  if (!redisWasUp(history, first.entered, until, first.process)) return true;
  return history.ends.some(
    ({ process, life, at }) => process === first.process && life === first.life && at >= first.entered && at <= until,
  );
}
