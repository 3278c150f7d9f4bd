import { algorithms } from "./counting.js";
import type { Adjustment, Consumption, CounterState } from "../ports/decisions.js";
import type { Counted, CountingAlgorithm } from "./counting.js";
import type { BoundedTableOptions, Entry } from "./bounded.js";
import { BoundedTable } from "./bounded.js";

/** A counter. With a fixed window, the weight is the consumption, and the end is the end of the window. */
interface Counter extends Entry {
  /** The state of an algorithm other than the fixed window. */
  state: unknown;
}

/** A bounded table of counters of all algorithms. While every counter refuses, a new client has no counter. */
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

  /** Returns the counter state with this consumption, without counting it. */
  peek(consumption: Consumption): CounterState {
    const { key, cost, windowSeconds } = consumption;
    const counter = this.#counters.get(key);
    const now = this.#now();
    const algorithm = algorithmOf(consumption);
    if (algorithm !== undefined) return algorithm.peek(consumption, counter?.state, now);
    return counter === undefined || counter.endsAt <= now
      ? { consumed: cost, resetMs: windowSeconds * 1000 }
      : { consumed: counter.weight + cost, resetMs: counter.endsAt - now };
  }

  /** Counts a consumption that fits. Returns its receipt. */
  count(consumption: Consumption): number {
    const { key, cost, limit, windowSeconds, mode, owner } = consumption;
    const now = this.#now();
    const counter = this.#counters.get(key);
    const algorithm = algorithmOf(consumption);
    if (algorithm !== undefined) {
      const counted = algorithm.count(consumption, counter?.state, now);
      if (cost > 0) this.#keep(consumption, counter, counted);
      return counted.receipt;
    }
    // A consumption that will be adjusted begins the window, also with cost 0.
    if (cost === 0 && mode === undefined) return now;
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

  /** Corrects a consumption within the window that it was counted in. */
  adjust({ consumption: consumption, receipt, by }: Adjustment): void {
    const now = this.#now();
    const counter = this.#counters.get(consumption.key);
    const algorithm = algorithmOf(consumption);
    if (algorithm !== undefined) {
      const counted = algorithm.adjust(consumption, counter?.state, now, by, receipt);
      if (counted !== undefined) this.#keep(consumption, counter, counted);
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

function algorithmOf({ mode }: Consumption): CountingAlgorithm<unknown> | undefined {
  return mode === undefined || mode.algorithm === "fixed-window" ? undefined : algorithms[mode.algorithm];
}
