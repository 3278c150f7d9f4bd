import { LRUCache } from "lru-cache";
import type { ResolvedCache } from "../options/cache.js";
import type { CacheStore } from "../store/cache-store.js";
import type { Keyspace } from "../store/keys.js";
import { StoreFault } from "../store/ports.js";
import { CacheStatistics } from "../telemetry/cache-statistics.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { CachedEntry } from "./cached-entry.js";
import { Codecs } from "./codec.js";
import type { StoredEntry } from "./entry.js";
import { readEntry } from "./entry.js";
import type { Generation } from "./generations.js";
import { Generations } from "./generations.js";
import type { Mark } from "./in-flight.js";
import { InFlight } from "./in-flight.js";
import { LocalTier } from "./local-tier.js";
import type { Place } from "./places.js";
import { Places } from "./places.js";
import type { CacheSignals } from "../store/cache-signals.js";
import { Waiting } from "./waiting.js";

export interface LayeredCacheOptions {
  readonly store: CacheStore;
  readonly signals: CacheSignals;
  readonly keys: Keyspace;
  readonly options: ResolvedCache;
  readonly telemetry: Telemetry;
}

/** The generations of entries, and the epochs they were seen in. */
export interface Stand {
  readonly generations: readonly Generation[];
  readonly epochs: readonly number[];
}

type Said = ReadonlyMap<Generation, string | undefined>;

/** Longer keys are not kept in process. */
const longestName = 256;
/** More than the longest first line of an entry. */
const headSize = 25_000;

/** The cache of a process: the tier in it, the store below, and what keeps the two in step. */
export class LayeredCache {
  readonly store: CacheStore;
  readonly keys: Keyspace;
  readonly options: ResolvedCache;
  readonly codecs: Codecs;
  readonly generations: Generations;
  readonly waiting: Waiting;
  readonly local: LocalTier | undefined;
  readonly statistics: CacheStatistics = new CacheStatistics();
  readonly places: Places;
  readonly #telemetry: Telemetry;
  readonly #signals: CacheSignals;
  #listens = false;
  readonly #inFlight = new InFlight();
  /** Entries whose deletion the store missed, each with a mark of its own: for this process they are gone. */
  readonly #tombstones = new LRUCache<string, symbol>({ max: 10_000 });

  constructor({ store, signals, keys, options, telemetry }: LayeredCacheOptions) {
    const { local, tracked } = options;
    this.store = store;
    this.keys = keys;
    this.options = options;
    this.codecs = new Codecs(options.codec);
    this.places = new Places(keys, tracked, this.statistics);
    this.#telemetry = telemetry;
    this.#signals = signals;
    this.local = local === undefined ? undefined : new LocalTier({ ...local, signals });
    this.generations = new Generations({ store, signals, boundMs: local?.ttlMs ?? 0 });
    this.waiting = new Waiting({
      channels: signals.channels,
      onDeleted: (key) => this.forget(key),
      onGap: () => this.flush(),
    });
  }

  /** Listens, from the first use on: a gate whose cache nobody uses needs no connection for it. */
  #listen(): void {
    if (this.#listens || this.local === undefined) return;
    this.#listens = true;
    const { tracked } = this.options;
    const names = tracked === true ? [undefined] : tracked;
    for (const prefix of names.flatMap((name) => this.keys.cachePrefixes(name))) {
      const invalidate = (key: string): void => this.forget(key);
      this.#signals.track({ prefix, invalidate, flush: () => this.flush() });
    }
    this.generations.listen(this.keys.generationPrefix());
    this.waiting.listen();
  }

  storeKey({ scope, path }: Place, key: string): string {
    return this.keys.cacheEntry(scope, path, key);
  }

  /** The generations that entries of a place with these tags stand and fall with. */
  generationsOf({ generations }: Place, tags: readonly string[]): Generation[] {
    const all = generations.map((key) => this.generations.of(key));
    for (const tag of tags) all.push(this.#tag(this.keys.identifier(tag)));
    return all;
  }

  /** The entry under a key, fresh or in its grace. Reads are misses while the store is down. */
  async fetch(place: Place, key: string, tags: readonly string[] = noTags): Promise<CachedEntry | undefined> {
    const storeKey = this.storeKey(place, key);
    if (this.tombstone(storeKey) !== undefined) return undefined;
    const asked = this.generationsOf(place, tags).filter((one) => !this.generations.isKnown(one));
    const askedAt = performance.now();
    this.#listen();
    const mark = this.#inFlight.begin(storeKey);
    try {
      const epochs = asked.map(({ epoch }) => epoch);
      const [text, ...values] = await this.store.getMany([storeKey, ...asked.map((one) => one.key)]);
      asked.forEach((one, index) => this.generations.learn(one, values[index], epochs[index] ?? -1));
      const said = asked.length === 0 ? nothingSaid : new Map(asked.map((one, index) => [one, values[index]]));
      const interpreted = this.interpret(place, text, askedAt, said);
      const entry = interpreted instanceof Promise ? await interpreted : interpreted;
      // A deletion that the store missed meanwhile counts here.
      if (entry === undefined || this.tombstone(storeKey) !== undefined) return undefined;
      if (mark.fit) this.keep(place, key, storeKey, entry);
      return entry;
    } catch (error) {
      return this.reportMiss(error);
    } finally {
      this.#inFlight.end(mark);
    }
  }

  /** An entry that still counts, from its text. `said` has generations that the store has just told. */
  interpret(
    place: Place,
    text: string | undefined,
    askedAt: number,
    said: Said = nothingSaid,
  ): CachedEntry | undefined | Promise<CachedEntry | undefined> {
    if (text === undefined || text.length > this.options.maxValueSize + headSize) return undefined;
    const stored = readEntry(text);
    if (stored === undefined) return undefined;
    const generations = this.generationsOf(place, noTags);
    const own = generations.length;
    for (const [tag] of stored.tags) generations.push(this.#tag(tag));
    const epochs = generations.map(({ epoch }) => epoch);

    const compare = (current: readonly (string | undefined)[]): CachedEntry | undefined => {
      const stamp = current.slice(0, own);
      if (stamp.includes(undefined) || stamp.join(".") !== stored.stamp) return undefined;
      if (!stored.tags.every(([, generation], index) => current[own + index] === generation)) return undefined;
      if (generations.some((one) => this.generations.isMissed(one))) return undefined;
      const entry = this.entryOf(place, stored, { generations, epochs }, askedAt);
      return entry.isReadable && performance.now() < entry.usableUntil ? entry : undefined;
    };

    const current = this.#current(generations, said);
    return current instanceof Promise ? current.then(compare) : compare(current);
  }

  entryOf({ tracked }: Place, stored: StoredEntry, { generations, epochs }: Stand, askedAt: number): CachedEntry {
    const { local, copies } = this.options;
    return new CachedEntry({
      stored,
      codecs: this.codecs,
      shares: local !== undefined && !copies,
      askedAt,
      offsetMs: this.store.now() - performance.now(),
      trustMs: local?.ttlMs ?? 0,
      tracked,
      generations,
      epochs,
    });
  }

  /** Keeps an entry in process. */
  keep(place: Place, key: string, storeKey: string, entry: CachedEntry): void {
    if (key.length <= longestName && entry.stands()) this.local?.set(place, key, storeKey, entry);
  }

  /** This key is about to change, or being made: `fit` says afterwards whether anybody else has changed it. */
  watch(storeKey: string): Mark {
    this.#listen();
    return this.#inFlight.begin(storeKey);
  }

  unwatch(mark: Mark): void {
    this.#inFlight.end(mark);
  }

  /** The mark of a deletion that the store missed. */
  tombstone(storeKey: string): symbol | undefined {
    return this.#tombstones.size === 0 ? undefined : this.#tombstones.get(storeKey);
  }

  /** What the deletion with this mark was about has been overwritten. */
  bury(storeKey: string, mark: symbol | undefined): void {
    if (mark !== undefined && this.#tombstones.get(storeKey) === mark) this.#tombstones.delete(storeKey);
  }

  /** Forgets what is kept of a key in process, and does not keep what is being read of it. */
  forget(storeKey: string): void {
    this.local?.invalidate(storeKey);
    this.#inFlight.invalidate(storeKey);
  }

  /** Rejects with a StoreFault if the store missed it; for this process the entry is then gone all the same. */
  async delete(place: Place, key: string): Promise<void> {
    const storeKey = this.storeKey(place, key);
    const mark = Symbol("deleted");
    this.#tombstones.set(storeKey, mark);
    this.forget(storeKey);
    await this.store.deleteMany([storeKey]);
    this.bury(storeKey, mark);
    this.forget(storeKey);
  }

  async deleteByTag(tag: string): Promise<void> {
    await this.generations.renew([this.#tag(this.keys.identifier(tag))]);
  }

  async clear({ generations }: Place): Promise<void> {
    await this.generations.renew(generations.slice(-1).map((one) => this.generations.of(one)));
  }

  /** The cache is a convenience: while its store is down, requests go on without it. */
  reportMiss(error: unknown): undefined {
    if (!(error instanceof StoreFault)) throw error;
    this.#telemetry.degraded("cache", "allow", error.kind, "allowed");
    return undefined;
  }

  flush(): void {
    this.local?.flush();
    this.#inFlight.flush();
  }

  close(): void {
    this.waiting.close();
    this.flush();
  }

  #tag(identifier: string): Generation {
    return this.generations.of(this.keys.cacheGeneration(`t:${identifier}`));
  }

  /** Their values now, asking for those that are not known. */
  #current(
    generations: readonly Generation[],
    said: Said,
  ): readonly (string | undefined)[] | Promise<readonly (string | undefined)[]> {
    const valueOf = (one: Generation): string | undefined => (said.has(one) ? said.get(one) : one.value);
    const unknown = generations.filter((one) => !said.has(one) && !this.generations.isKnown(one));
    return unknown.length === 0 ? generations.map(valueOf) : this.#ask(generations, unknown, valueOf);
  }

  async #ask(
    generations: readonly Generation[],
    unknown: readonly Generation[],
    valueOf: (one: Generation) => string | undefined,
  ): Promise<(string | undefined)[]> {
    const epochs = unknown.map(({ epoch }) => epoch);
    const values = await this.store.getMany(unknown.map(({ key }) => key));
    unknown.forEach((one, index) => this.generations.learn(one, values[index], epochs[index] ?? -1));
    const more = new Map(unknown.map((one, index) => [one, values[index]]));
    return generations.map((one) => (more.has(one) ? more.get(one) : valueOf(one)));
  }
}

const noTags: readonly string[] = [];
const nothingSaid: Said = new Map();
