import type { Consumption, CounterState } from "../ports/decisions.js";
import type { Counted, CountingAlgorithm } from "./counting-algorithm.js";

/** Tokens that were taken and have not flowed back, in units of one request divided by the window's milliseconds. */
interface Debt {
  readonly debt: number;
  /** Milliseconds of the store's clock. */
  readonly at: number;
}

/** GCRA (ITU-T I.371) as a debt that flows back: `limit` units each millisecond. See redis/scripts/counting.ts. */
export const tokenBucket: CountingAlgorithm<Debt> = {
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
  if (next > room) return cost > capacity ? windowMs : Math.ceil((next - room) / limit);
  if (next === 0) return 0;
  const more = Math.floor((room - next) / windowMs) + 1;
  return Math.ceil((next - Math.max(0, (capacity - more) * windowMs)) / limit);
}

function owe({ limit, windowSeconds }: Consumption, debt: number, now: number): Counted<Debt> {
  const endsAt = limit === 0 ? now : now + Math.ceil(debt / limit);
  const consumed = Math.ceil(debt / (windowSeconds * 1000));
  return { state: { debt, at: now }, consumed, endsAt, receipt: endsAt };
}
