import { faultsDuring, redisWasUp } from "../history.js";
import type { End, Fault, History, Operation, Work } from "../history.js";
import { applications, localLimit, slots } from "../settings.js";
import type { Violation } from "./violation.js";
import { count, groupBy, text } from "./violation.js";

/** Milliseconds for which a slot of a process that died is held. */
const heldMs = 60_000;

/** Never do more handlers run at once than there are slots: those that began while Redis answered. */
export function checkWorkIsBounded(history: History): Violation[] {
  const works = history.works.filter(({ policy }) => policy === "slots");
  return [...groupBy(works, ({ key }) => key).values()].flatMap((group) => {
    const sure = group.filter(({ entered }) => redisWasUp(history, entered, entered));
    return [
      ...tooMany(sure, slots.limit),
      ...tooMany(group, slots.limit + applications.length * localLimit(slots.limit) + lossesOf(history) * slots.limit),
    ].slice(0, 1);
  });
}

function lossesOf({ faults }: History): number {
  return faults.filter(({ loses }) => loses).length;
}

function tooMany(works: readonly Work[], most: number): Violation[] {
  return works.flatMap((work) => {
    const evidence = works.filter((one) => one.entered <= work.entered && one.left > work.entered);
    if (evidence.length <= most) return [];
    const message = `${evidence.length} handlers ran at once behind "${work.policy}", and ${most} may`;
    return [{ property: "limits hold", message, at: work.entered, evidence }];
  });
}

/** When all have gone, all slots can be had again, but for those that a process took with it which died, or ended without Redis. */
export function checkSlotsComeBack(history: History): Violation[] {
  return history.calms.flatMap((calm) => {
    const tried = history.operations.filter(
      ({ name, start }) => name === "all-slots" && start >= calm.start && start <= calm.end,
    );
    return [...groupBy(tried, ({ args }) => text(args, "key")).values()].flatMap((group) => {
      const [first] = group;
      if (first === undefined) return [];
      const rounds = [...groupBy(group, ({ args }) => text(args, "round")).values()];
      const most = Math.max(...rounds.map((round) => round.filter(({ status }) => status === 200).length));
      const lost = slotsOfTheDead(history, text(first.args, "key"), calm.end);
      if (most >= slots.limit - lost) return [];
      const message = `at most ${most} of ${slots.limit} slots can be had long after everybody has gone (${lost} may be lost)`;
      const last = rounds.at(-1) ?? [];
      return [{ property: "slots come back", message, at: first.start, evidence: [...last, ...users(history, first)] }];
    });
  });
}

/**
 * Requests that held or asked for a slot when their process died, or ended in an outage. One that ends while Redis answers
 * leaves none behind for longer than `releaseAfter`, whatever its handlers do.
 */
function slotsOfTheDead(history: History, key: string, before: number): number {
  const dead = history.ends.filter(
    (end) => end.at <= before && end.at >= before - heldMs - 15_000 && tookWithIt(history, end),
  );
  const pending = (end: End): Operation[] => {
    const outages = outagesBefore(history, end);
    return history.operations.filter(
      (one) =>
        one.name === "slots" &&
        one.args.key === key &&
        one.process === end.process &&
        one.life === end.life &&
        one.start <= end.at &&
        // The handler of a client who has left may run for a moment longer.
        (one.end >= end.at - 1000 || outages.some((fault) => fault.start <= one.end + 1000 && fault.end >= one.start)),
    );
  };
  // Pipelined requests have no operations of their own.
  return dead.reduce((sum, end) => sum + (key === "dropped" ? slots.limit : pending(end).length), 0);
}

/** How long it may take to reach Redis again and to give back what waits for that. */
const regainMs = 2000;

/** The outage in which a process ended, with those before it that followed each other too soon for anything to be given back. */
function outagesBefore(history: History, { process, at }: End): readonly Fault[] {
  const outages: Fault[] = [];
  for (let since = at; ;) {
    const more = faultsDuring(history, since, since, { what: ["redis", "stop"], process, after: regainMs });
    outages.push(...more);
    const earliest = Math.min(since, ...more.map(({ start }) => start));
    if (earliest === since) return outages;
    since = earliest;
  }
}

/** A process that is killed takes with it what it had to give back; so does one that ends while Redis is away. */
function tookWithIt(history: History, { how, at, ms, process }: End): boolean {
  if (how !== "asked") return true;
  const closed = at + Math.min(ms, 1000);
  return faultsDuring(history, at, closed, { what: ["redis"], process, after: regainMs }).length > 0;
}

function users({ operations, works }: History, { args, start }: Operation): (Operation | Work)[] {
  return [
    ...operations.filter((one) => one.name === "slots" && one.args.key === args.key && one.end <= start).slice(-8),
    ...works.filter(({ policy, key, left }) => policy === "slots" && key === args.key && left <= start).slice(-8),
  ];
}

/** What was reserved and not spent is given back, once: a key has cost what its requests cost. */
export function checkGiveBacks(history: History): Violation[] {
  const peeks = history.operations.filter(({ name, status }) => name === "peek" && status === 200);
  return peeks.flatMap((peek) => {
    const [policy, key, consumed] = [text(peek.args, "policy"), text(peek.args, "key"), count(peek.answer, "consumed")];
    const group = history.operations.filter(
      ({ name, args, end }) => name === policy && args.key === key && end <= peek.start,
    );
    const [price, reserved] = policy === "settled" ? [1, 5] : [0, 1];
    const entered = new Map(history.works.map((work) => [work.operation, work]));
    const most = group.reduce((sum, one) => {
      const work = entered.get(one.id);
      const sure = work !== undefined && wasAnswered(history, one, work.entered) && !died(history, one);
      return sum + (sure ? price : reserved);
    }, 0);
    const least = group.reduce((sum, one) => sum + (isSurelyCharged(history, one) ? price : 0), 0);
    const lost = history.faults.some(({ loses }) => loses);
    if (consumed <= most && (lost || consumed >= least)) return [];
    const message = `"${policy}" has counted ${consumed} for ${group.length} requests, which cost ${least} to ${most}`;
    return [
      { property: "what is not spent is given back", message, at: peek.start, evidence: [peek, ...group.slice(-40)] },
    ];
  });
}

/**
 * Was nothing lost while Redis was asked? Then it has charged the request once, or was not asked at all: what came before
 * does not matter.
 */
function wasAnswered(history: History, { start, process }: Operation, entered: number): boolean {
  if (faultsDuring(history, start, entered, { what: ["redis", "stop"], process, after: 0 }).length > 0) return false;
  return !history.degradations.some(
    (one) => one.process === process && one.at >= start - 200 && one.at <= entered + 200,
  );
}

function died(history: History, { process, life, end }: Operation): boolean {
  return history.ends.some(
    (one) => one.process === process && one.life === life && one.at >= end - 1000 && tookWithIt(history, one),
  );
}

function isSurelyCharged(history: History, one: Operation): boolean {
  return one.status === 200 && redisWasUp(history, one.start, one.end);
}
