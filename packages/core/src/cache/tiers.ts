import type { ResolvedCache } from "./options.js";
import type { CacheStore, CacheSignals } from "../store/ports/cache.js";
import type { Keyspace } from "../store/keyspace.js";
import { StoreFault } from "../store/ports/decisions.js";
import { CacheStatistics } from "../telemetry/cache-statistics.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { CachedEntry } from "./cached-entry.js";
import { Codecs } from "./codec.js";
import type { Awaitable } from "./entry-reader.js";
import { EntryReader, epochOf, keyOf, noGenerationsRead } from "./entry-reader.js";
import type { Generation } from "./generation.js";
import { Generations, openRenewals } from "./generations.js";
import { HeldLeases } from "./held-leases.js";
import type { ReadTicket } from "./read-tickets.js";
import { ReadTickets } from "./read-tickets.js";
import { Invalidations } from "./invalidations.js";
import { LeaseReleases } from "./lease-releases.js";
import { LocalTier } from "./local-tier.js";
import type { Region } from "./regions.js";
import { Regions } from "./regions.js";
import { LeaseWaiters } from "./lease-waiters.js";

export interface LayeredCacheOptions {
  readonly store: CacheStore;
  readonly signals: CacheSignals;
  readonly keys: Keyspace;
  readonly options: ResolvedCache;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
}

/** A read that is under way. */
interface Reading {
  readonly place: Region;
  readonly key: string;
  readonly storeKey: string;
  /** Generations that are read along, and the epochs they were in. */
  readonly asked: readonly Generation[];
  readonly epochs: readonly number[];
  readonly askedAt: number;
  /** None where nothing is kept in process. */
  readonly mark: ReadTicket | undefined;
}

/** Longer keys are not kept in process. */
const longestName = 256;
/** The cache of a process: the tier in it, the store below, and what keeps the two in step. */
export class TieredCache {
  readonly store: CacheStore;
  readonly keys: Keyspace;
  readonly options: ResolvedCache;
  readonly codecs: Codecs;
  readonly generations: Generations;
  /** Also those of tags by which responses end. */
  readonly renewals: Invalidations;
  readonly waiting: LeaseWaiters;
  readonly releases: LeaseReleases;
  readonly leases: HeldLeases;
  readonly local: LocalTier | undefined;
  readonly statistics: CacheStatistics = new CacheStatistics();
  readonly regions: Regions;
  readonly entries: EntryReader;
  readonly #telemetry: Telemetry;
  readonly #signals: CacheSignals;
  #listens = false;
  readonly #inFlight = new ReadTickets();
  /** Deletions that the store does not have yet: for this process these entries are gone. */
  readonly #deletions: Invalidations;

  constructor({ store, signals, keys, options, telemetry, logger }: LayeredCacheOptions) {
    const { local, tracked } = options;
    this.store = store;
    this.keys = keys;
    this.options = options;
    this.codecs = new Codecs(options.codec);
    this.regions = new Regions(keys, tracked, this.statistics);
    this.#telemetry = telemetry;
    this.#signals = signals;
    this.local = local === undefined ? undefined : new LocalTier({ ...local, signals });
    this.releases = new LeaseReleases(store);
    this.leases = new HeldLeases(store);
    this.renewals = openRenewals({ store, telemetry, logger });
    const { codecs, renewals } = this;
    const generations = new Generations({ store, signals, renewals, boundMs: local?.ttlMs ?? 0 });
    this.generations = generations;
    this.entries = new EntryReader({ store, keys, options, codecs, generations });
    this.#deletions = new Invalidations({ apply: (key) => store.deleteMany([key]), telemetry, logger });
    const overflowed = (): void => this.entries.distrust();
    this.#deletions.listen({ changed: (key) => this.forget(key), overflowed });
    renewals.listen({ overflowed });
    this.waiting = new LeaseWaiters({
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

  storeKey({ scope, path }: Region, key: string): string {
    return this.keys.cacheEntry(scope, path, key);
  }

  /**
   * The entry under a key, fresh or in its grace. Reads are misses while the store is down. Every hit in the store passes
   * here: promises, closures and long keys in maps are what it costs.
   */
  fetch(place: Region, key: string, tags: readonly string[] = noTags): Promise<CachedEntry | undefined> {
    const storeKey = this.storeKey(place, key);
    if (this.tombstone(storeKey) !== undefined) return nothing;
    this.#listen();
    const asked = this.entries.unknown(this.entries.generationsOf(place, tags));
    const reading: Reading = {
      place,
      key,
      storeKey,
      asked,
      epochs: asked.length === 0 ? noEpochs : asked.map(epochOf),
      askedAt: performance.now(),
      mark: this.local === undefined ? undefined : this.#inFlight.begin(storeKey),
    };
    const keys = asked.length === 0 ? [storeKey] : [storeKey].concat(asked.map(keyOf));
    return this.store.getMany(keys).then(
      (texts) => this.#take(reading, texts),
      (error: unknown) => this.#lose(reading, error),
    );
  }

  #take(reading: Reading, texts: readonly (string | undefined)[]): Awaitable<CachedEntry | undefined> {
    const { place, asked, epochs, askedAt } = reading;
    try {
      const said = asked.length === 0 ? noGenerationsRead : this.entries.learn(asked, epochs, texts.slice(1));
      const entry = this.entries.interpret(place, texts[0], askedAt, said);
      if (!(entry instanceof Promise)) return this.#found(reading, entry);
      return entry.then(
        (later) => this.#found(reading, later),
        (error: unknown) => this.#lose(reading, error),
      );
    } catch (error) {
      return this.#lose(reading, error);
    }
  }

  #found({ place, key, storeKey, mark }: Reading, entry: CachedEntry | undefined): CachedEntry | undefined {
    if (mark !== undefined) this.#inFlight.end(mark);
    // A deletion that the store missed meanwhile counts here.
    if (entry === undefined || this.tombstone(storeKey) !== undefined) return undefined;
    if (mark?.fit === true) this.keep(place, key, storeKey, entry);
    return entry;
  }

  #lose({ mark }: Reading, error: unknown): undefined {
    if (mark !== undefined) this.#inFlight.end(mark);
    return this.reportMiss(error);
  }

  /** Keeps an entry in process. */
  keep(place: Region, key: string, storeKey: string, entry: CachedEntry): void {
    if (key.length <= longestName && entry.stands()) this.local?.set(place, key, storeKey, entry);
  }

  /** This key is about to change, or being made: `fit` says afterwards whether anybody else has changed it. */
  watch(storeKey: string): ReadTicket {
    this.#listen();
    return this.#inFlight.begin(storeKey);
  }

  unwatch(mark: ReadTicket): void {
    this.#inFlight.end(mark);
  }

  /** The mark of a deletion that the store does not have yet. */
  tombstone(storeKey: string): string | undefined {
    return this.#deletions.markOf(storeKey);
  }

  /** What the deletion with this mark was about has been overwritten. */
  bury(storeKey: string, mark: string | undefined): void {
    this.#deletions.overtake(storeKey, mark);
  }

  /** Forgets what is kept of a key in process, and does not keep what is being read of it. */
  forget(storeKey: string): void {
    this.local?.invalidate(storeKey);
    this.#inFlight.invalidate(storeKey);
  }

  /** Rejects with a StoreFault if the store missed it; for this process the entry is then gone all the same. */
  async delete(place: Region, key: string): Promise<void> {
    await this.#deletions.run(this.storeKey(place, key));
  }

  async deleteByTag(tag: string): Promise<void> {
    await this.generations.renew([this.entries.tagged(this.keys.identifier(tag))]);
  }

  async clear({ generations }: Region): Promise<void> {
    await this.generations.renew(generations.slice(-1).map((one) => this.generations.named(one)));
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

  /** Resolves when the store may be closed. */
  async close(): Promise<void> {
    this.waiting.close();
    this.releases.close();
    this.flush();
    await Promise.all([this.renewals.close(), this.#deletions.close(), this.leases.close()]);
  }
}

const noTags: readonly string[] = [];
const noEpochs: readonly number[] = [];
const nothing = Promise.resolve(undefined);
