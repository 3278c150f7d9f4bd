import { GrowingLru } from "../lib/growing-lru.js";
import { sharedKeyMs } from "../store/keyspace.js";
import type { CacheStore, CacheSignals } from "../store/ports/cache.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { allOf, Invalidations } from "./invalidations.js";
import { steadyNow } from "../lib/steady-clock.js";

/** Random text that the entries of a namespace, a view or a tag carry. A new value makes these entries misses. */
export interface Generation {
  readonly key: string;
  value: string | undefined;
  /** The value lives in the store until this time at least; by the monotonic clock of this process. */
  livesUntil: number;
  /** Grows whenever the value may have changed. An entry in process remembers the version it was read with. */
  version: number;
  /** This object does not learn of changes any more: look the generation up again. */
  isEvicted: boolean;
}

/** Generations, with the version that each had when the snapshot was taken. */
export interface GenerationSnapshot {
  readonly generations: readonly Generation[];
  readonly versions: readonly number[];
}

/** Generations that were read from the store, with the versions they had before the read. */
export interface GenerationsRead extends GenerationSnapshot {
  readonly values: readonly (string | undefined)[];
}

/** Generations that reads ask the store for. All reads of one moment share the object, and what they learn by it. */
export interface AskedGenerations extends GenerationSnapshot {
  readonly keys: readonly string[];
  /** The values that were last learned. */
  learned: GenerationsRead;
}

/** Generations for a new entry: each has a value. */
export interface EntryGenerations extends GenerationSnapshot {
  readonly values: readonly string[];
}

/** The generations of a cache region. */
export interface RegionGenerations {
  /** Keys in the store, outermost namespace first. A new value of the last one empties this region only. */
  readonly generationKeys: readonly string[];
  /** The generations as they were last looked up, with the versions that they had at the last read. */
  lastGenerations: AskedGenerations;
  lookedUpAt: number;
}

/** True while no generation has changed since the versions were taken. */
export function unchanged(generations: readonly Generation[], versions: readonly number[]): boolean {
  for (let index = 0; index < versions.length; index += 1) {
    if (generations[index]?.version !== versions[index]) return false;
  }
  return true;
}

export function keyOf({ key }: Generation): string {
  return key;
}

export function versionOf({ version }: Generation): number {
  return version;
}

export function snapshotOf(generations: readonly Generation[]): GenerationSnapshot {
  return { generations, versions: generations.map(versionOf) };
}

const noGenerations: readonly Generation[] = [];
const noGenerationsRead: GenerationsRead = { generations: noGenerations, versions: [], values: [] };
export const noGenerationsAsked: AskedGenerations = {
  ...{ generations: noGenerations, versions: [], keys: [] },
  learned: noGenerationsRead,
};

function askFor(
  generations: readonly Generation[],
  keys: readonly string[] = generations.map(keyOf),
): AskedGenerations {
  return { generations, versions: generations.map(versionOf), keys, learned: noGenerationsRead };
}

export interface RenewalsOptions {
  readonly store: CacheStore;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
}

/**
 * Renewals of generations on their way into the store. All parts of a gate that rely on generations share them. Recent
 * renewals are repeated when the store returns: it may be another store by then, with entries that they ended.
 */
export function openRenewals({ store, ...rest }: RenewalsOptions): Invalidations {
  const renewals = new Invalidations({ ...rest, apply: (key) => store.renewGenerations([key]) });
  store.onReturn(() => renewals.reapplyRecent());
  return renewals;
}

/** A region looks its generations up this often, which keeps them in the LRU cache. */
const lookUpIntervalMs = 100;

export interface GenerationsOptions {
  readonly store: CacheStore;
  readonly signals: CacheSignals;
  readonly renewals: Invalidations;
  /** A change may stay unnoticed for this time. */
  readonly maxStalenessMs: number;
}

/**
 * The generations that this process knows. They are few and change seldom, so the process keeps them, and Redis reports
 * their changes. While Redis does not prove that it reports changes, they are read along with the values.
 */
export class Generations {
  readonly #store: CacheStore;
  readonly #signals: CacheSignals;
  #isTracked = false;
  readonly #maxStalenessMs: number;
  readonly #renewals: Invalidations;
  /** Entries that remember an evicted generation would not learn of its changes, so eviction ends them. */
  readonly #known = new GrowingLru<string, Generation>({ max: 10_000, dispose: evict });

  constructor({ store, signals, renewals, maxStalenessMs }: GenerationsOptions) {
    this.#store = store;
    this.#signals = signals;
    this.#maxStalenessMs = maxStalenessMs;
    this.#renewals = renewals;
    renewals.listen({ changed: (key) => this.#invalidate(key) });
  }

  /** Subscribes to changes of all keys with this prefix. Without it every read asks the store. */
  track(prefix: string): void {
    this.#isTracked = true;
    this.#signals.track({ prefix, invalidate: (key) => this.#invalidate(key), flush: () => this.#flush() });
  }

  /** The generations of a region. It looks them up again after a short time. */
  ofRegion(region: RegionGenerations, now: number = steadyNow()): readonly Generation[] {
    const { generations } = region.lastGenerations;
    if (now - region.lookedUpAt < lookUpIntervalMs && !generations.some(isEvicted)) return generations;
    region.lookedUpAt = now;
    const found = region.generationKeys.map((key) => this.get(key));
    // Reads that are on their way compare the lists.
    if (found.length === generations.length && found.every((generation, index) => generation === generations[index]))
      return generations;
    region.lastGenerations = askFor(found, region.generationKeys);
    return found;
  }

  /** The generations of a region, with their present versions. */
  snapshotOfRegion(region: RegionGenerations, now: number): AskedGenerations {
    const generations = this.ofRegion(region, now);
    const { versions } = region.lastGenerations;
    if (!unchanged(generations, versions)) region.lastGenerations = askFor(generations, region.generationKeys);
    return region.lastGenerations;
  }

  /** The generations that a read of this region must ask the store for, with those of tags. */
  unknownOfRead(region: RegionGenerations, ofTags: readonly Generation[], now: number): AskedGenerations {
    const own = this.snapshotOfRegion(region, now);
    if (ofTags.length > 0) return askFor(this.unknownOf([...own.generations, ...ofTags]));
    const unknown = this.unknownOf(own.generations);
    if (unknown.length === 0) return noGenerationsAsked;
    return unknown === own.generations ? own : askFor(unknown);
  }

  get(key: string): Generation {
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const created: Generation = { key, value: undefined, livesUntil: 0, version: 0, isEvicted: false };
    this.#known.set(key, created);
    return created;
  }

  /** False if the store must be asked for the value. */
  isKnown({ value }: Generation): boolean {
    return value !== undefined && this.#isTracked && this.#signals.isAlive(this.#maxStalenessMs);
  }

  /** True while the store lacks a renewal: for this process every entry of the generation is gone. */
  isRenewalPending({ key }: Generation): boolean {
    return this.#renewals.isPending(key);
  }

  /** The generations that the store must be asked for. Mostly these are none or all; then no list is made. */
  unknownOf(all: readonly Generation[], read: readonly Generation[] = noGenerations): readonly Generation[] {
    let count = 0;
    for (const generation of all) if (this.#isUnknown(generation, read)) count += 1;
    if (count === 0) return noGenerations;
    return count === all.length ? all : all.filter((generation) => this.#isUnknown(generation, read));
  }

  #isUnknown(generation: Generation, read: readonly Generation[]): boolean {
    return !read.includes(generation) && !this.isKnown(generation);
  }

  /** Asks the store for generations. The result has those that were read before, too. */
  async read(unknown: readonly Generation[], before: GenerationsRead): Promise<GenerationsRead> {
    const asked = askFor(unknown);
    const values = await this.#store.getMany(asked.keys);
    const { versions } = this.learn(asked, values);
    return {
      generations: [...before.generations, ...unknown],
      versions: [...before.versions, ...versions],
      values: [...before.values, ...values],
    };
  }

  /** Takes values from the store. Reads that were answered together have one list of values, and learn it once. */
  learn(asked: AskedGenerations, values: GenerationsRead["values"]): GenerationsRead {
    const { generations, versions, learned } = asked;
    if (learned.values === values) return learned;
    asked.learned = {
      generations,
      versions: generations.map((generation, index) => this.#update(generation, values[index], versions[index] ?? -1)),
      values,
    };
    return asked.learned;
  }

  /**
   * Takes a value from the store, unless the generation has changed since `version`. Returns the version that belongs to the
   * value: an old one, if the generation has changed.
   */
  #update(generation: Generation, value: string | undefined, version: number): number {
    if (generation.version !== version) return version;
    if (generation.value === value) return version;
    if (generation.value !== undefined) generation.version += 1;
    generation.value = value;
    // It may be a renewal, which the store does not keep for long.
    generation.livesUntil = 0;
    return generation.version;
  }

  /** The generations for a new entry, after the renewals that the store lacks. Rejects with a StoreFault. */
  async ensure(generations: readonly Generation[], ttlMs: number): Promise<EntryGenerations> {
    const values = await this.#ensureValues(generations, ttlMs);
    return { generations, values, versions: generations.map(versionOf) };
  }

  async #ensureValues(generations: readonly Generation[], ttlMs: number): Promise<string[]> {
    // A generation lives longer than the entries that carry it. Where it does not, they are misses too early.
    const livesMs = Math.max(sharedKeyMs, ttlMs);
    if (generations.some((generation) => this.isRenewalPending(generation)))
      await this.#renewals.ensureApplied(generations.map(keyOf));
    const now = steadyNow();
    const asked = generations.filter((generation) => !this.isKnown(generation) || generation.livesUntil < now);
    if (asked.length === 0) return generations.map(({ value }) => value ?? "");
    const versions = asked.map(versionOf);
    const values = await this.#store.ensureGenerations(asked.map(keyOf), livesMs);
    asked.forEach((generation, index) => {
      this.#update(generation, values[index], versions[index] ?? -1);
      // The store extends the life of a generation that has less than half of it left.
      if (generation.value === values[index]) generation.livesUntil = now + livesMs / 2;
    });
    return generations.map((generation) => {
      const index = asked.indexOf(generation);
      return (index === -1 ? generation.value : values[index]) ?? "";
    });
  }

  /**
   * Makes every entry of these generations a miss, in all processes. Rejects with a StoreFault; the entries are then misses
   * in this process all the same.
   */
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

function isEvicted({ isEvicted: isOut }: Generation): boolean {
  return isOut;
}

function reset(generation: Generation): void {
  generation.value = undefined;
  generation.version += 1;
}

function evict(generation: Generation): void {
  reset(generation);
  generation.isEvicted = true;
}
