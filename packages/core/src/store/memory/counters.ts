import type { Charge, Tally } from "../ports.js";

interface Counter {
  readonly key: string;
  consumed: number;
  /** Milliseconds of the store's clock. */
  resetAt: number;
  /** The highest limit it was charged against: at or above it, it refuses and must not be forgotten. */
  limit: number;
  slot: number;
}

export interface CounterTableOptions {
  readonly now: () => number;
  readonly capacity: number;
  readonly random?: () => number;
}

/** Counters looked at to find one that may be forgotten; and the rounds of that. */
const sample = 16;
const rounds = 4;

/**
 * Fixed-window counters, bounded, without timers, O(1) for each call. When full, the counter with the lowest count of a
 * random sample makes room, never one that refuses: so a flood of new keys pushes out the flood, neither frees a client
 * who is over the limit nor shuts out one who is not. If all are refusing, a newcomer is counted by its own request only.
 */
export class CounterTable {
  readonly #now: () => number;
  readonly #capacity: number;
  readonly #random: () => number;
  readonly #counters = new Map<string, Counter>();
  /** The same counters by position, to draw a random one. */
  readonly #slots: Counter[] = [];
  #hand = 0;

  constructor({ now, capacity, random = Math.random }: CounterTableOptions) {
    this.#now = now;
    this.#capacity = capacity;
    this.#random = random;
  }

  get size(): number {
    return this.#slots.length;
  }

  /** The counter as it would stand with this charge, without counting it. */
  peek({ key, cost, windowSeconds }: Charge): Tally {
    const counter = this.#counters.get(key);
    const now = this.#now();
    return counter === undefined || counter.resetAt <= now
      ? { consumed: cost, resetMs: windowSeconds * 1000 }
      : { consumed: counter.consumed + cost, resetMs: counter.resetAt - now };
  }

  count({ key, cost, limit, windowSeconds }: Charge): void {
    if (cost === 0) return;
    const now = this.#now();
    const counter = this.#counters.get(key);
    if (counter === undefined) {
      this.#add({ key, consumed: cost, resetAt: now + windowSeconds * 1000, limit, slot: 0 });
      return;
    }
    if (counter.resetAt <= now) {
      counter.consumed = 0;
      counter.resetAt = now + windowSeconds * 1000;
      counter.limit = 0;
    }
    counter.consumed += cost;
    counter.limit = Math.max(counter.limit, limit);
  }

  #add(counter: Counter): void {
    this.#sweep();
    if (this.#slots.length >= this.#capacity && !this.#makeRoom()) return;
    counter.slot = this.#slots.length;
    this.#slots.push(counter);
    this.#counters.set(counter.key, counter);
  }

  /** Two steps of a clock hand for each addition: ended windows go away without a timer. */
  #sweep(): void {
    const now = this.#now();
    for (let step = 0; step < 2 && this.#slots.length > 0; step += 1) {
      this.#hand = (this.#hand + 1) % this.#slots.length;
      const counter = this.#slots[this.#hand];
      if (counter !== undefined && counter.resetAt <= now) this.#remove(counter);
    }
  }

  #makeRoom(): boolean {
    const now = this.#now();
    let least: Counter | undefined;
    for (let drawn = 0; drawn < sample * rounds; drawn += 1) {
      if (drawn >= sample && least !== undefined) break;
      const counter = this.#slots[Math.floor(this.#random() * this.#slots.length)];
      if (counter === undefined) continue;
      const ended = counter.resetAt <= now;
      if (!ended && counter.consumed >= counter.limit) continue;
      if (least === undefined || ended || counter.consumed < least.consumed) least = counter;
      if (ended) break;
    }
    if (least === undefined) return false;
    this.#remove(least);
    return true;
  }

  #remove(counter: Counter): void {
    this.#counters.delete(counter.key);
    const last = this.#slots.pop();
    if (last === undefined || last === counter) return;
    last.slot = counter.slot;
    this.#slots[counter.slot] = last;
  }
}
