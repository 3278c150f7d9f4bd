import type { ResolvedCache } from "./options.js";
import type { CacheStore } from "../store/ports/cache.js";
import type { Keyspace } from "../store/keyspace.js";
import { StoreFault } from "../store/ports/decisions.js";
import { CacheStatistics } from "../telemetry/cache-statistics.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { CachedEntry } from "./cached-entry.js";
import { Codecs } from "./codec.js";
import type { Awaitable } from "./entry-reader.js";
import { EntryReader, versionOf, keyOf, noGenerationsRead } from "./entry-reader.js";
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
import type { CacheSignals } from "../store/ports/cache-signals.js";
import { LeaseWaiters } from "./lease-waiters.js";

export interface TiersOptions {
  readonly store: CacheStore;
  readonly signals: CacheSignals;
  readonly keys: Keyspace;
  readonly options: ResolvedCache;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
}

/** A read that is under way. */
interface PendingRead {
  readonly region: Region;
  readonly key: string;
  readonly storeKey: string;
  /** Generations that are read along, and the epochs they were in. */
  readonly asked: readonly Generation[];
  readonly versions: readonly number[];
  readonly askedAt: number;
  /** None where nothing is kept in process. */
  readonly ticket: ReadTicket | undefined;
}

/** Longer keys are not kept in process. */
const maxKeyLength = 256;
/** The cache of a process: the tier in it, the store below, and what keeps the two in step. */
export class Tiers {
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
  #isSubscribed = false;
  readonly #tickets = new ReadTickets();
  /** Deletions that the store does not have yet: for this process these entries are gone. */
  readonly #deletions: Invalidations;

  constructor({ store, signals, keys, options, telemetry, logger }: TiersOptions) {
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
    const generations = new Generations({ store, signals, renewals, maxStalenessMs: local?.ttlMs ?? 0 });
    this.generations = generations;
    this.entries = new EntryReader({ store, keys, options, codecs, generations });
    this.#deletions = new Invalidations({ apply: (key) => store.deleteMany([key]), telemetry, logger });
    const overflowed = (): void => this.entries.distrust();
    this.#deletions.listen({ changed: (key) => this.invalidate(key), overflowed });
    renewals.listen({ overflowed });
    this.waiting = new LeaseWaiters({
      channels: signals.channels,
      onDeleted: (key) => this.invalidate(key),
      onGap: () => this.flush(),
    });
  }

  /** Listens, from the first use on: a gate whose cache nobody uses needs no connection for it. */
  #subscribe(): void {
    if (this.#isSubscribed || this.local === undefined) return;
    this.#isSubscribed = true;
    const { tracked } = this.options;
    const names = tracked === true ? [undefined] : tracked;
    for (const prefix of names.flatMap((name) => this.keys.cachePrefixes(name))) {
      const invalidate = (key: string): void => this.invalidate(key);
      this.#signals.track({ prefix, invalidate, flush: () => this.flush() });
    }
    this.generations.track(this.keys.generationPrefix());
    this.waiting.subscribe();
  }

  storeKey({ scope, path }: Region, key: string): string {
    return this.keys.cacheEntry(scope, path, key);
  }

  /**
   * The entry under a key, fresh or in its grace. Reads are misses while the store is down. Every hit in the store passes
   * here: promises, closures and long keys in maps are what it costs.
   */
  fetch(region: Region, key: string, tags: readonly string[] = noTags): Promise<CachedEntry | undefined> {
    const storeKey = this.storeKey(region, key);
    if (this.tombstone(storeKey) !== undefined) return nothing;
    this.#subscribe();
    const asked = this.entries.unknownOf(this.entries.generationsOf(region, tags));
    const reading: PendingRead = {
      region,
      key,
      storeKey,
      asked,
      versions: asked.length === 0 ? noVersions : asked.map(versionOf),
      askedAt: performance.now(),
      ticket: this.local === undefined ? undefined : this.#tickets.issue(storeKey),
    };
    const keys = asked.length === 0 ? [storeKey] : [storeKey].concat(asked.map(keyOf));
    return this.store.getMany(keys).then(
      (texts) => this.#onReply(reading, texts),
      (error: unknown) => this.#onFault(reading, error),
    );
  }

  #onReply(reading: PendingRead, texts: readonly (string | undefined)[]): Awaitable<CachedEntry | undefined> {
    const { region, asked, versions, askedAt } = reading;
    try {
      const read = asked.length === 0 ? noGenerationsRead : this.entries.learn(asked, versions, texts.slice(1));
      const entry = this.entries.read(region, texts[0], askedAt, read);
      if (!(entry instanceof Promise)) return this.#onEntry(reading, entry);
      return entry.then(
        (later) => this.#onEntry(reading, later),
        (error: unknown) => this.#onFault(reading, error),
      );
    } catch (error) {
      return this.#onFault(reading, error);
    }
  }

  #onEntry({ region, key, storeKey, ticket }: PendingRead, entry: CachedEntry | undefined): CachedEntry | undefined {
    if (ticket !== undefined) this.#tickets.close(ticket);
    // A deletion that the store missed meanwhile counts here.
    if (entry === undefined || this.tombstone(storeKey) !== undefined) return undefined;
    if (ticket?.isCurrent === true) this.keep(region, key, storeKey, entry);
    return entry;
  }

  #onFault({ ticket }: PendingRead, error: unknown): undefined {
    if (ticket !== undefined) this.#tickets.close(ticket);
    return this.reportFault(error);
  }

  /** Keeps an entry in process. */
  keep(region: Region, key: string, storeKey: string, entry: CachedEntry): void {
    if (key.length <= maxKeyLength && entry.isCurrent()) this.local?.set(region, key, storeKey, entry);
  }

  /** This key is about to change, or being made: `fit` says afterwards whether anybody else has changed it. */
  issueTicket(storeKey: string): ReadTicket {
    this.#subscribe();
    return this.#tickets.issue(storeKey);
  }

  closeTicket(ticket: ReadTicket): void {
    this.#tickets.close(ticket);
  }

  /** The mark of a deletion that the store does not have yet. */
  tombstone(storeKey: string): string | undefined {
    return this.#deletions.tokenOf(storeKey);
  }

  /** What the deletion with this mark was about has been overwritten. */
  clearTombstone(storeKey: string, ticket: string | undefined): void {
    this.#deletions.supersede(storeKey, ticket);
  }

  /** Forgets what is kept of a key in process, and does not keep what is being read of it. */
  invalidate(storeKey: string): void {
    this.local?.invalidate(storeKey);
    this.#tickets.invalidate(storeKey);
  }

  /** Rejects with a StoreFault if the store missed it; for this process the entry is then gone all the same. */
  async delete(region: Region, key: string): Promise<void> {
    await this.#deletions.invalidate(this.storeKey(region, key));
  }

  async deleteByTag(tag: string): Promise<void> {
    await this.generations.renew([this.entries.generationOfTag(this.keys.identifier(tag))]);
  }

  async clear({ generationKeys: generations }: Region): Promise<void> {
    await this.generations.renew(generations.slice(-1).map((one) => this.generations.get(one)));
  }

  /** The cache is a convenience: while its store is down, requests go on without it. */
  reportFault(error: unknown): undefined {
    if (!(error instanceof StoreFault)) throw error;
    this.#telemetry.degraded("cache", "allow", error.kind, "allowed");
    return undefined;
  }

  flush(): void {
    this.local?.flush();
    this.#tickets.flush();
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
const noVersions: readonly number[] = [];
const nothing = Promise.resolve(undefined);
