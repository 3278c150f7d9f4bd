import type { Consumption, CounterState, Algorithm } from "../ports/decisions.js";

/** The result of a count. */
export interface Counted<State> {
  readonly state: State;
  /** Units held now. At or above the limit, the counter refuses. */
  readonly consumed: number;
  /** The end of the state, in milliseconds of the store's clock. */
  readonly endsAt: number;
  readonly receipt: number;
}

/**
 * An algorithm in process. It works on whole numbers below 2^53, so that it decides as the scripts do. The algorithm
 * owns its states, and may change them.
 */
export interface CountingAlgorithm<State> {
  /** Returns the counter state with this consumption. */
  peek(consumption: Consumption, state: State | undefined, now: number): CounterState;
  /** Counts a consumption that fits. */
  count(consumption: Consumption, state: State | undefined, now: number): Counted<State>;
  /** Corrects a consumption that was counted. Undefined if there is nothing left to correct. */
  adjust(
    consumption: Consumption,
    state: State | undefined,
    now: number,
    by: number,
    receipt: number,
  ): Counted<State> | undefined;
}

/** The number of parts of a window. A request counts for the window and at most one part longer. */
const partsOfWindow = 20;

/** The count of each part, by the number of the part since 1970, in ascending order. */
type Parts = Map<number, number>;

/** Sliding window, as in redis/scripts/counting.ts: no window at any position contains more than the limit. */
const slidingWindow: CountingAlgorithm<Parts> = {
  peek({ limit, cost, windowSeconds }, parts, now): CounterState {
    const { size, windowMs, current } = clockOf(windowSeconds, now);
    const live = livingParts(parts, current);
    const consumed = sum(live);
    let left = consumed;
    let last = live[0]?.[0] ?? current;
    for (const [part, count] of live) {
      if (left + cost <= limit) break;
      left -= count;
      last = part;
    }
    return { consumed: consumed + cost, resetMs: (last + 1) * size + windowMs - now };
  },

  count(consumption, parts = new Map(), now): Counted<Parts> {
    const { current } = clockOf(consumption.windowSeconds, now);
    return addToPart(consumption, parts, now, current, consumption.cost);
  },

  adjust(consumption, parts = new Map(), now, by, receipt): Counted<Parts> | undefined {
    const { current } = clockOf(consumption.windowSeconds, now);
    if (receipt < current - partsOfWindow || (by < 0 && !parts.has(receipt))) return undefined;
    return addToPart(consumption, parts, now, receipt, by);
  },
};

function clockOf(windowSeconds: number, now: number): { size: number; windowMs: number; current: number } {
  const windowMs = windowSeconds * 1000;
  const size = windowMs / partsOfWindow;
  return { size, windowMs, current: Math.floor(now / size) };
}

function livingParts(parts: Parts | undefined, current: number): [number, number][] {
  if (parts === undefined) return [];
  return [...parts].filter(([part]) => part >= current - partsOfWindow);
}

function sum(parts: readonly [number, number][]): number {
  return parts.reduce((total, [, count]) => total + count, 0);
}

function addToPart(
  { windowSeconds }: Consumption,
  parts: Parts,
  now: number,
  part: number,
  by: number,
): Counted<Parts> {
  const { size, windowMs, current } = clockOf(windowSeconds, now);
  const counts = new Map(livingParts(parts, current));
  const count = Math.max(0, (counts.get(part) ?? 0) + by);
  if (count === 0) counts.delete(part);
  else counts.set(part, count);
  const state: Parts = new Map([...counts].sort(([a], [b]) => a - b));
  const newest = [...state.keys()].at(-1);
  const endsAt = newest === undefined ? now : (newest + 1) * size + windowMs;
  return { state, consumed: sum([...state]), endsAt, receipt: part };
}

/** Tokens that were taken and have not flowed back, in units of one request divided by the window's milliseconds. */
interface Debt {
  readonly debt: number;
  /** Milliseconds of the store's clock. */
  readonly at: number;
}

/** GCRA (ITU-T I.371) as a debt that flows back: `limit` units each millisecond. See redis/scripts/counting.ts. */
const tokenBucket: CountingAlgorithm<Debt> = {
  peek({ limit, burst = limit, cost, windowSeconds }, state, now): CounterState {
    const windowMs = windowSeconds * 1000;
    const capacity = limit === 0 ? 0 : burst;
    const next = debtAt(state, limit, now) + cost * windowMs;
    return { consumed: Math.ceil(next / windowMs), resetMs: wait(next, capacity, cost, limit, windowMs) };
  },

  count(consumption, state, now): Counted<Debt> {
    return owe(
      consumption,
      debtAt(state, consumption.limit, now) + consumption.cost * consumption.windowSeconds * 1000,
      now,
    );
  },

  adjust(consumption, state, now, by, receipt): Counted<Debt> | undefined {
    const { limit, windowSeconds } = consumption;
    if (limit === 0) return undefined;
    const debt = debtAt(state, limit, now);
    const change = by * windowSeconds * 1000;
    if (by > 0) return owe(consumption, Math.min(debt + change, Number.MAX_SAFE_INTEGER), now);
    // The part that has flowed back since the count was available to others: it is not given back a second time.
    const back = Math.max(0, receipt - now) * limit;
    return owe(consumption, debt - Math.min(-change, back, debt), now);
  },
};

function debtAt(state: Debt | undefined, limit: number, now: number): number {
  return state === undefined ? 0 : Math.max(0, state.debt - Math.max(0, now - state.at) * limit);
}

/** Milliseconds until the next unit is available, or until a consumption fits that does not fit now. */
function wait(next: number, capacity: number, cost: number, limit: number, windowMs: number): number {
  const room = capacity * windowMs;
  // With a limit of 0 nothing flows back.
  if (next > room) return cost > capacity || limit === 0 ? windowMs : Math.ceil((next - room) / limit);
  if (next === 0) return 0;
  const more = Math.floor((room - next) / windowMs) + 1;
  return Math.ceil((next - Math.max(0, (capacity - more) * windowMs)) / limit);
}

function owe({ limit, windowSeconds }: Consumption, debt: number, now: number): Counted<Debt> {
  const endsAt = limit === 0 ? now : now + Math.ceil(debt / limit);
  const consumed = Math.ceil(debt / (windowSeconds * 1000));
  return { state: { debt, at: now }, consumed, endsAt, receipt: endsAt };
}

/** The ends of held slots in milliseconds of the store's clock, in ascending order. */
type Held = Map<string, number>;

/** Retry time after a refusal: it is unknown when the next request ends. */
const retryMs = 1000;

/** Concurrency: requests in progress at the same time. */
const concurrency: CountingAlgorithm<Held> = {
  peek({ limit, cost }, held, now): CounterState {
    const consumed = (held === undefined ? 0 : release(held, now).size) + cost;
    return { consumed, resetMs: consumed > limit ? retryMs : 0 };
  },

  count(consumption, held = new Map(), now): Counted<Held> {
    return consumption.cost === 0 ? countedOf(held, now) : hold(consumption, held, now);
  },

  /** Below 0 gives the slot back. Above 0 holds it for another window, unless it was given back or has expired. */
  adjust(consumption, held = new Map(), now, by): Counted<Held> | undefined {
    if (by > 0) return (held.get(consumption.slot ?? "") ?? now) > now ? hold(consumption, held, now) : undefined;
    return held.delete(consumption.slot ?? "") ? countedOf(held, now) : undefined;
  },
};

function hold({ slot = "", windowSeconds }: Consumption, held: Held, now: number): Counted<Held> {
  // Deleted first, so that the slots stay in the order of their ends.
  held.delete(slot);
  release(held, now).set(slot, now + windowSeconds * 1000);
  return countedOf(held, now);
}

function countedOf(held: Held, now: number): Counted<Held> {
  const endsAt = [...held.values()].at(-1) ?? now;
  return { state: held, consumed: held.size, endsAt, receipt: 0 };
}

function release(held: Held, now: number): Held {
  for (const [slot, until] of held) {
    if (until > now) break;
    held.delete(slot);
  }
  return held;
}

/** All algorithms but the fixed window, which is part of `CounterTable`. */
export const algorithms: Readonly<Record<Exclude<Algorithm, "fixed-window">, CountingAlgorithm<unknown>>> = {
  "sliding-window": slidingWindow,
  "token-bucket": tokenBucket,
  concurrency,
};
