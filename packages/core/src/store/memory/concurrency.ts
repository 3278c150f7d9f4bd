import type { Consumption, CounterState } from "../ports/decisions.js";
import type { Counted, CountingAlgorithm } from "./counting-algorithm.js";

/** The ends of held slots in milliseconds of the store's clock, in ascending order. */
type Held = Map<string, number>;

/** Retry time after a refusal: it is unknown when the next request ends. */
const retryMs = 1000;

/** Concurrency: requests in progress at the same time. */
export const slots: CountingAlgorithm<Held> = {
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
