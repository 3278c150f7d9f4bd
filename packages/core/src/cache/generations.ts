import type { Generation } from "./generation.js";
import { LRUCache } from "lru-cache";
import type { CacheStore, CacheSignals } from "../store/ports/cache.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { Invalidations, allOf } from "./invalidations.js";
import type { Region } from "./regions.js";

/** Outlives what is stamped with it, or that is a miss too early. */
const leastTtlMs = 30 * 86_400_000;

export interface RenewalsOptions {
  readonly store: CacheStore;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
}

/**
 * Renewals of generations on their way into the store: one for all who go by them. The last ones are made again when the
 * store was away, since it may be another one by then, which has what they ended.
 */
export function openRenewals({ store, ...rest }: RenewalsOptions): Invalidations {
  const renewals = new Invalidations({ ...rest, apply: (key) => store.renewGenerations([key]) });
  store.onReturn(() => renewals.repeatRecent());
  return renewals;
}

/** How often those of a place are looked up, which shows that they are in use. */
const lookUpMs = 100;

export interface GenerationsOptions {
  readonly store: CacheStore;
  readonly signals: CacheSignals;
  readonly renewals: Invalidations;
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
  readonly #renewals: Invalidations;
  /** Entries that remember one that is dropped would not hear of its changes any more. */
  readonly #known = new LRUCache<string, Generation>({ max: 10_000, dispose: drop });

  constructor({ store, signals, renewals, boundMs }: GenerationsOptions) {
    this.#store = store;
    this.#signals = signals;
    this.#boundMs = boundMs;
    this.#renewals = renewals;
    renewals.listen({ changed: (key) => this.#invalidate(key) });
  }

  /** Hears of changes of all keys that begin so. Without, every read asks. */
  listen(prefix: string): void {
    this.#tracked = true;
    this.#signals.track({ prefix, invalidate: (key) => this.#invalidate(key), flush: () => this.#flush() });
  }

  /** Of a place, as it looked them up a moment ago. */
  of(place: Region): readonly Generation[] {
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
    const made: Generation = { key, value: undefined, lastsUntil: 0, epoch: 0, dropped: false };
    this.#known.set(key, made);
    return made;
  }

  /** Need the store not be asked for its value? */
  isKnown({ value }: Generation): boolean {
    return value !== undefined && this.#tracked && this.#signals.isAlive(this.#boundMs);
  }

  /** Is what is stored under it gone for this process? */
  isMissed({ key }: Generation): boolean {
    return this.#renewals.isPending(key);
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
    // It may be a renewal, which is not remembered for long.
    generation.lastsUntil = 0;
    return generation.epoch;
  }

  /** The values to stamp a new entry with. What was missed is made good first. Rejects with a StoreFault. */
  async ensure(generations: readonly Generation[], ttlMs: number): Promise<string[]> {
    const lives = Math.max(leastTtlMs, ttlMs);
    if (generations.some((one) => this.isMissed(one))) await this.#renewals.settle(generations.map(({ key }) => key));
    const now = performance.now();
    const asked = generations.filter((one) => !this.isKnown(one) || one.lastsUntil < now);
    if (asked.length === 0) return generations.map(({ value }) => value ?? "");
    const epochs = asked.map(({ epoch }) => epoch);
    const keys = asked.map(({ key }) => key);
    const values = await this.#store.ensureGenerations(keys, lives);
    asked.forEach((one, index) => {
      this.learn(one, values[index], epochs[index] ?? -1);
      // What lasts for less than half of that is made to last by the store.
      if (one.value === values[index]) one.lastsUntil = now + lives / 2;
    });
    return generations.map((one) => {
      const index = asked.indexOf(one);
      return (index === -1 ? one.value : values[index]) ?? "";
    });
  }

  /** Makes everything under these generations a miss, everywhere. Rejects with a StoreFault; here it is then a miss still. */
  async renew(generations: readonly Generation[]): Promise<void> {
    await allOf(generations.map(({ key }) => this.#renewals.run(key)));
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
