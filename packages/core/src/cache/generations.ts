import { LRUCache } from "lru-cache";
import type { CacheStore } from "../store/cache-store.js";
import type { CacheSignals } from "../store/cache-signals.js";
import type { Place } from "./places.js";

/** The random text that entries of a namespace, a view or a tag carry; another one there, and they do not count any more. */
export interface Generation {
  readonly key: string;
  value: string | undefined;
  /** Grows whenever the value may have changed; entries kept in process remember which they were read under. */
  epoch: number;
  /** It is no longer told of changes: ask for another. */
  dropped: boolean;
}

/** Outlives what is stamped with it, or that is a miss too early. */
const leastTtlMs = 30 * 86_400_000;

/** How often those of a place are looked up, which shows that they are in use. */
const lookUpMs = 100;

export interface GenerationsOptions {
  readonly store: CacheStore;
  readonly signals: CacheSignals;
  /** For how long unheard changes are put up with. */
  readonly boundMs: number;
}

/**
 * Generations as they are known here (decisions 30). They are few and change seldom, so they are kept in process, and Redis
 * tells of their changes; while it does not prove that it would, they are read along with the values.
 */
export class Generations {
  readonly #store: CacheStore;
  readonly #signals: CacheSignals;
  #tracked = false;
  readonly #boundMs: number;
  /** Whose renewal the store missed, each with a mark: entries under them are gone for this process. */
  readonly #missed = new LRUCache<string, symbol>({ max: 10_000 });
  /** Entries that remember one that is dropped would not hear of its changes any more. */
  readonly #known = new LRUCache<string, Generation>({ max: 10_000, dispose: drop });

  constructor({ store, signals, boundMs }: GenerationsOptions) {
    this.#store = store;
    this.#signals = signals;
    this.#boundMs = boundMs;
  }

  /** Hears of changes of all keys that begin so. Without, every read asks. */
  listen(prefix: string): void {
    this.#tracked = true;
    this.#signals.track({ prefix, invalidate: (key) => this.#invalidate(key), flush: () => this.#flush() });
  }

  /** Of a place, as it looked them up a moment ago. */
  of(place: Place): readonly Generation[] {
    const now = performance.now();
    const known = place.stand;
    if (now - place.lookedUpAt < lookUpMs && !known.some(({ dropped }) => dropped)) return known;
    place.lookedUpAt = now;
    place.stand = place.generations.map((key) => this.named(key));
    return place.stand;
  }

  named(key: string): Generation {
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const made: Generation = { key, value: undefined, epoch: 0, dropped: false };
    this.#known.set(key, made);
    return made;
  }

  /** Need the store not be asked for its value? */
  isKnown({ value }: Generation): boolean {
    return value !== undefined && this.#tracked && this.#signals.isAlive(this.#boundMs);
  }

  /** Is what is stored under it gone for this process? */
  isMissed({ key }: Generation): boolean {
    return this.#missed.size > 0 && this.#missed.has(key);
  }

  /**
   * Takes in what the store said, unless something has changed since `epoch`. Returns the epoch of what was said: one that
   * is over, if something has.
   */
  learn(generation: Generation, value: string | undefined, epoch: number): number {
    if (generation.epoch !== epoch) return epoch;
    if (generation.value === value) return epoch;
    if (generation.value !== undefined) generation.epoch += 1;
    generation.value = value;
    return generation.epoch;
  }

  /** The values to stamp a new entry with. What was missed is made good first. Rejects with a StoreFault. */
  async ensure(generations: readonly Generation[], ttlMs: number): Promise<string[]> {
    const lives = Math.max(leastTtlMs, ttlMs);
    const missed = generations.filter((one) => this.isMissed(one));
    if (missed.length > 0) await this.renew(missed, lives);
    const asked = generations.filter((one) => !this.isKnown(one));
    if (asked.length === 0) return generations.map(({ value }) => value ?? "");
    const epochs = asked.map(({ epoch }) => epoch);
    const keys = asked.map(({ key }) => key);
    const values = await this.#store.ensureGenerations(keys, lives);
    asked.forEach((one, index) => this.learn(one, values[index], epochs[index] ?? -1));
    return generations.map((one) => {
      const index = asked.indexOf(one);
      return (index === -1 ? one.value : values[index]) ?? "";
    });
  }

  /** Makes everything under these generations a miss, everywhere. Rejects with a StoreFault; here it is then a miss still. */
  async renew(generations: readonly Generation[], ttlMs: number = leastTtlMs): Promise<void> {
    const mark = Symbol("renewed");
    for (const one of generations) {
      this.#missed.set(one.key, mark);
      forget(one);
    }
    const keys = generations.map(({ key }) => key);
    await this.#store.renewGenerations(keys, ttlMs);
    for (const one of generations) {
      if (this.#missed.get(one.key) === mark) this.#missed.delete(one.key);
      // What was read before the store had the new one must not be kept.
      forget(one);
    }
  }

  #invalidate(key: string): void {
    const known = this.#known.peek(key);
    if (known !== undefined) forget(known);
  }

  #flush(): void {
    for (const known of this.#known.values()) forget(known);
  }
}

function forget(generation: Generation): void {
  generation.value = undefined;
  generation.epoch += 1;
}

function drop(generation: Generation): void {
  forget(generation);
  generation.dropped = true;
}
