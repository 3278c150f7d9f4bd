import type { Consumption, CounterState } from "../ports/decisions.js";
import type { Counted, CountingAlgorithm } from "./counting-algorithm.js";

/** The number of parts of a window. A request counts for the window and at most one part longer. */
const partsOfWindow = 20;

/** The count of each part, by the number of the part since 1970, in ascending order. */
type Parts = Map<number, number>;

/** Sliding window, as in redis/scripts/counting.ts: no window at any position contains more than the limit. */
export const slidingWindow: CountingAlgorithm<Parts> = {
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
    return add(consumption, parts, now, current, consumption.cost);
  },

  adjust(consumption, parts = new Map(), now, by, receipt): Counted<Parts> | undefined {
    const { current } = clockOf(consumption.windowSeconds, now);
    if (receipt < current - partsOfWindow || (by < 0 && !parts.has(receipt))) return undefined;
    return add(consumption, parts, now, receipt, by);
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

function add({ windowSeconds }: Consumption, parts: Parts, now: number, part: number, by: number): Counted<Parts> {
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
