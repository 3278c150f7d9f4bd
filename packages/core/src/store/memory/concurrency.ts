import type { Consumption, CounterState } from "../ports/decisions.js";
import type { Counted, CountingAlgorithm } from "./counting-algorithm.js";

/** By slot, in the order of their ends: milliseconds of the store's clock until which it is held. */
type Held = Map<string, number>;

/** Requests in flight. Nobody knows when the next one ends, so whoever is refused may try again after this. */
const retryMs = 1000;

export const slots: CountingAlgorithm<Held> = {
  peek({ limit, cost }, held, now): CounterState {
    const consumed = (held === undefined ? 0 : release(held, now).size) + cost;
    return { consumed, resetMs: consumed > limit ? retryMs : 0 };
  },

  count(charge, held = new Map(), now): Counted<Held> {
    return charge.cost === 0 ? stand(held, now) : hold(charge, held, now);
  },

  /** Below 0 gives the slot back, above 0 holds it for another window, unless it was given back or has expired. */
  adjust(charge, held = new Map(), now, by): Counted<Held> | undefined {
    if (by > 0) return (held.get(charge.slot ?? "") ?? now) > now ? hold(charge, held, now) : undefined;
    return held.delete(charge.slot ?? "") ? stand(held, now) : undefined;
  },
};

function hold({ slot = "", windowSeconds }: Consumption, held: Held, now: number): Counted<Held> {
  // Deleted first, so that the order stays that of the ends.
  held.delete(slot);
  release(held, now).set(slot, now + windowSeconds * 1000);
  return stand(held, now);
}

function stand(held: Held, now: number): Counted<Held> {
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
