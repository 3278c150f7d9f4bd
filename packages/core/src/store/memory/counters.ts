import type { Adjustment, Consumption, CounterState, Algorithm } from "../ports/decisions.js";
import type { Counted, CountingAlgorithm } from "./counting-algorithm.js";
import type { BoundedTableOptions, Entry } from "./bounded.js";
import { BoundedTable } from "./bounded.js";
import { slidingWindow } from "./sliding-window.js";
import { slots } from "./concurrency.js";
import { tokenBucket } from "./token-bucket.js";

/** Of a fixed window, its weight is what it has consumed and its end the end of the window. */
interface Counter extends Entry {
  /** Of another algorithm. */
  state: unknown;
}

/** Counters of all algorithms, bounded. If all are refusing, a newcomer is counted by its own request only. */
export class CounterTable {
  readonly #now: () => number;
  readonly #counters: BoundedTable<Counter>;

  constructor(options: BoundedTableOptions) {
    this.#now = options.now;
    this.#counters = new BoundedTable(options);
  }

  get size(): number {
    return this.#counters.size;
  }

  /** The counter as it would stand with this charge, without counting it. */
  peek(charge: Consumption): CounterState {
    const { key, cost, windowSeconds } = charge;
    const counter = this.#counters.get(key);
    const now = this.#now();
    const algorithm = algorithmOf(charge);
    if (algorithm !== undefined) return algorithm.peek(charge, counter?.state, now);
    return counter === undefined || counter.endsAt <= now
      ? { consumed: cost, resetMs: windowSeconds * 1000 }
      : { consumed: counter.weight + cost, resetMs: counter.endsAt - now };
  }

  /** Counts a charge that fits. Returns its receipt. */
  count(charge: Consumption): number {
    const { key, cost, limit, windowSeconds, rule, owner } = charge;
    const now = this.#now();
    const counter = this.#counters.get(key);
    const algorithm = algorithmOf(charge);
    if (algorithm !== undefined) {
      const counted = algorithm.count(charge, counter?.state, now);
      if (cost > 0) this.#keep(charge, counter, counted);
      return counted.receipt;
    }
    // Of a charge that will be settled, the window begins with it, whatever it costs.
    if (cost === 0 && rule === undefined) return now;
    if (counter === undefined) {
      const endsAt = now + windowSeconds * 1000;
      this.#counters.add(createCounter(key, owner, endsAt, cost, limit));
      return endsAt;
    }
    if (counter.endsAt <= now) {
      counter.weight = 0;
      counter.endsAt = now + windowSeconds * 1000;
      counter.pinnedFrom = 0;
    }
    counter.weight += cost;
    counter.pinnedFrom = Math.max(counter.pinnedFrom, limit);
    return counter.endsAt;
  }

  forget(key: string): void {
    const counter = this.#counters.get(key);
    if (counter !== undefined) this.#counters.remove(counter);
  }

  /** Corrects a charge within the window that it was counted in. */
  adjust({ charge, receipt, by }: Adjustment): void {
    const now = this.#now();
    const counter = this.#counters.get(charge.key);
    const algorithm = algorithmOf(charge);
    if (algorithm !== undefined) {
      const counted = algorithm.adjust(charge, counter?.state, now, by, receipt);
      if (counted !== undefined) this.#keep(charge, counter, counted);
    } else if (counter !== undefined && counter.endsAt === receipt && receipt > now) {
      counter.weight = Math.max(0, counter.weight + by);
    }
  }

  #keep(
    { key, limit, burst = limit, owner }: Consumption,
    counter: Counter | undefined,
    counted: Counted<unknown>,
  ): void {
    const { state, consumed, endsAt } = counted;
    if (endsAt <= this.#now()) {
      if (counter !== undefined) this.#counters.remove(counter);
    } else if (counter === undefined) {
      this.#counters.add(createCounter(key, owner, endsAt, consumed, burst, state));
    } else {
      Object.assign(counter, { endsAt, weight: consumed, pinnedFrom: burst, state });
    }
  }
}

function createCounter(
  key: string,
  owner: string | undefined,
  endsAt: number,
  weight: number,
  pinnedFrom: number,
  state?: unknown,
): Counter {
  return { key, owner, endsAt, weight, pinnedFrom, state, position: 0, ownerPosition: 0 };
}

function algorithmOf({ rule }: Consumption): CountingAlgorithm<unknown> | undefined {
  return rule === undefined || rule.algorithm === "fixed-window" ? undefined : algorithms[rule.algorithm];
}

/** Every algorithm but the fixed window, which the table of counters knows itself. */
export const algorithms: Readonly<Record<Exclude<Algorithm, "fixed-window">, CountingAlgorithm<unknown>>> = {
  "sliding-window": slidingWindow,
  "token-bucket": tokenBucket,
  concurrency: slots,
};
