import type { Generation } from "./generation.js";
import { LRUCache } from "lru-cache";
import type { CacheStore } from "../store/ports/cache.js";
import type { CacheSignals } from "../store/ports/cache-signals.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { Invalidations, allOf } from "./invalidations.js";
import type { Region } from "./regions.js";

/** Outlives what is stamped with it, or that is a miss too early. */
const minTtlMs = 30 * 86_400_000;

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
  store.onReturn(() => renewals.reapplyRecent());
  return renewals;
}

/** How often those of a place are looked up, which shows that they are in use. */
const lookUpIntervalMs = 100;

export interface GenerationsOptions {
  readonly store: CacheStore;
  readonly signals: CacheSignals;
  readonly renewals: Invalidations;
  /** For how long unheard changes are put up with. */
  readonly maxStalenessMs: number;
}

/**
 * Generations as they are known here (decisions 30). They are few and change seldom, so they are kept in process, and Redis
 * tells of their changes; while it does not prove that it would, they are read along with the values.
 */
export class Generations {
  readonly #store: CacheStore;
  readonly #signals: CacheSignals;
  #isTracked = false;
  readonly #maxStalenessMs: number;
  readonly #renewals: Invalidations;
  /** Entries that remember one that is dropped would not hear of its changes any more. */
  readonly #known = new LRUCache<string, Generation>({ max: 10_000, dispose: evict });

  constructor({ store, signals, renewals, maxStalenessMs }: GenerationsOptions) {
    this.#store = store;
    this.#signals = signals;
    this.#maxStalenessMs = maxStalenessMs;
    this.#renewals = renewals;
    renewals.listen({ changed: (key) => this.#invalidate(key) });
  }

  /** Hears of changes of all keys that begin so. Without, every read asks. */
  track(prefix: string): void {
    this.#isTracked = true;
    this.#signals.track({ prefix, invalidate: (key) => this.#invalidate(key), flush: () => this.#flush() });
  }

  /** Of a place, as it looked them up a moment ago. */
  ofRegion(region: Region): readonly Generation[] {
    const now = performance.now();
    const known = region.knownGenerations;
    if (now - region.lookedUpAt < lookUpIntervalMs && !known.some(({ isEvicted: dropped }) => dropped)) return known;
    region.lookedUpAt = now;
    region.knownGenerations = region.generationKeys.map((key) => this.get(key));
    return region.knownGenerations;
  }

  get(key: string): Generation {
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const made: Generation = { key, value: undefined, livesUntil: 0, version: 0, isEvicted: false };
    this.#known.set(key, made);
    return made;
  }

  /** Need the store not be asked for its value? */
  isKnown({ value }: Generation): boolean {
    return value !== undefined && this.#isTracked && this.#signals.isAlive(this.#maxStalenessMs);
  }

  /** Is what is stored under it gone for this process? */
  isRenewalPending({ key }: Generation): boolean {
    return this.#renewals.isPending(key);
  }

  /**
   * Takes in what the store said, unless something has changed since `epoch`. Returns the epoch of what was said: one that
   * is over, if something has.
   */
  update(generation: Generation, value: string | undefined, version: number): number {
    if (generation.version !== version) return version;
    if (generation.value === value) return version;
    if (generation.value !== undefined) generation.version += 1;
    generation.value = value;
    // It may be a renewal, which is not remembered for long.
    generation.livesUntil = 0;
    return generation.version;
  }

  /** The values to stamp a new entry with. What was missed is made good first. Rejects with a StoreFault. */
  async ensure(generations: readonly Generation[], ttlMs: number): Promise<string[]> {
    const livesMs = Math.max(minTtlMs, ttlMs);
    if (generations.some((one) => this.isRenewalPending(one)))
      await this.#renewals.ensureApplied(generations.map(({ key }) => key));
    const now = performance.now();
    const asked = generations.filter((one) => !this.isKnown(one) || one.livesUntil < now);
    if (asked.length === 0) return generations.map(({ value }) => value ?? "");
    const versions = asked.map(({ version }) => version);
    const keys = asked.map(({ key }) => key);
    const values = await this.#store.ensureGenerations(keys, livesMs);
    asked.forEach((one, index) => {
      this.update(one, values[index], versions[index] ?? -1);
      // What lasts for less than half of that is made to last by the store.
      if (one.value === values[index]) one.livesUntil = now + livesMs / 2;
    });
    return generations.map((one) => {
      const index = asked.indexOf(one);
      return (index === -1 ? one.value : values[index]) ?? "";
    });
  }

  /** Makes everything under these generations a miss, everywhere. Rejects with a StoreFault; here it is then a miss still. */
  async renew(generations: readonly Generation[]): Promise<void> {
    await allOf(generations.map(({ key }) => this.#renewals.invalidate(key)));
  }

  #invalidate(key: string): void {
    const known = this.#known.peek(key);
    if (known !== undefined) reset(known);
  }

  #flush(): void {
    for (const known of this.#known.values()) reset(known);
  }
}

function reset(generation: Generation): void {
  generation.value = undefined;
  generation.version += 1;
}

function evict(generation: Generation): void {
  reset(generation);
  generation.isEvicted = true;
}
