import type { CacheSignals, CacheStore } from "../store/ports/cache.js";
import type { Keyspace } from "../store/keyspace.js";
import { StoreFault } from "../store/ports/fault.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { Awaitable, ComposedEntry, Entries, NewEntry } from "./entries.js";
import type { CachedEntry } from "./entry.js";
import { keyOf, noGenerationsRead, versionOf } from "./generations.js";
import type { Generation, GenerationSnapshot, Generations } from "./generations.js";
import type { Invalidations } from "./invalidations.js";
import type { LeaseWaiters } from "./leases.js";
import type { LocalTier } from "./local-tier.js";
import type { Region } from "./regions.js";
import { steadyNow } from "../lib/steady-clock.js";

export interface TiersOptions {
  readonly store: CacheStore;
  readonly keys: Keyspace;
  /** Undefined where nothing is kept in process. */
  readonly local: LocalTier | undefined;
  readonly entries: Entries;
  readonly generations: Generations;
  /** Deletions on their way into the store. */
  readonly deletions: Invalidations;
  readonly waiters: LeaseWaiters;
  readonly signals: CacheSignals;
  /** Namespaces whose changes the store reports; `true` for all. */
  readonly tracked: true | readonly string[];
  readonly telemetry: Telemetry;
}

/** A read that waits for the store. */
interface PendingRead {
  readonly region: Region;
  readonly key: string;
  readonly storeKey: string;
  /** Generations that are read along, and the versions they had then. */
  readonly asked: readonly Generation[];
  readonly versions: readonly number[];
  readonly askedAt: number;
  /** None where nothing is kept in process. */
  readonly ticket: ReadTicket | undefined;
}

/** Longer keys are not kept in process. */
const maxKeyLength = 256;

/** The tiers of a cache: entries in this process, the store below, and the rules that keep the two in step. */
export class Tiers {
  readonly #store: CacheStore;
  readonly #keys: Keyspace;
  readonly #local: LocalTier | undefined;
  readonly #entries: Entries;
  readonly #generations: Generations;
  /** For this process these entries are gone, although the store still has them. */
  readonly #deletions: Invalidations;
  readonly #waiters: LeaseWaiters;
  readonly #signals: CacheSignals;
  readonly #tracked: true | readonly string[];
  readonly #telemetry: Telemetry;
  readonly #tickets = new ReadTickets();
  #isSubscribed = false;

  constructor(options: TiersOptions) {
    this.#store = options.store;
    this.#keys = options.keys;
    this.#local = options.local;
    this.#entries = options.entries;
    this.#generations = options.generations;
    this.#deletions = options.deletions;
    this.#waiters = options.waiters;
    this.#signals = options.signals;
    this.#tracked = options.tracked;
    this.#telemetry = options.telemetry;
    options.deletions.listen({ changed: (key) => this.invalidate(key) });
    options.waiters.listen({ onDeleted: (key) => this.invalidate(key), onGap: () => this.flush() });
  }

  /** Subscribes to changes at the first use: a gate whose cache is not used needs no connection for it. */
  #subscribe(): void {
    if (this.#isSubscribed || this.#local === undefined) return;
    this.#isSubscribed = true;
    const names = this.#tracked === true ? [undefined] : this.#tracked;
    for (const prefix of names.flatMap((name) => this.#keys.cachePrefixes(name))) {
      const invalidate = (key: string): void => this.invalidate(key);
      this.#signals.track({ prefix, invalidate, flush: () => this.flush() });
    }
    this.#generations.track(this.#keys.generationPrefix());
    this.#waiters.subscribe();
  }

  storeKey({ scope, path }: Region, key: string): string {
    return this.#keys.cacheEntry(scope, path, key);
  }

  /**
   * Reads the entry of a key from the store, fresh or in its grace. Reads are misses while the store is down. Every hit in
   * the store takes this way, so promises, closures and long keys in maps are what it costs.
   */
  fetch(region: Region, key: string, tags: readonly string[] = noTags): Promise<CachedEntry | undefined> {
    return this.read(region, key, tags, same);
  }

  /** The same, and passes the entry on: one promise less than to wait for it. */
  read<T>(
    region: Region,
    key: string,
    tags: readonly string[],
    use: (entry: CachedEntry | undefined) => T,
  ): Promise<T> {
    const storeKey = this.storeKey(region, key);
    if (this.tombstone(storeKey) !== undefined) return nothing.then(use);
    this.#subscribe();
    const asked = this.#generations.unknownOf(this.#entries.generationsOf(region, tags));
    const reading: PendingRead = {
      region,
      key,
      storeKey,
      asked,
      versions: asked.length === 0 ? noVersions : asked.map(versionOf),
      askedAt: steadyNow(),
      ticket: this.#local === undefined ? undefined : this.#tickets.issue(storeKey),
    };
    const keys = asked.length === 0 ? [storeKey] : [storeKey].concat(asked.map(keyOf));
    return this.#store.getMany(keys).then(
      (texts) => {
        const entry = this.#onReply(reading, texts);
        return entry instanceof Promise ? entry.then(use) : use(entry);
      },
      (error: unknown) => use(this.#onFault(reading, error)),
    );
  }

  #onReply(reading: PendingRead, texts: readonly (string | undefined)[]): Awaitable<CachedEntry | undefined> {
    const { region, asked, versions, askedAt } = reading;
    try {
      const read = asked.length === 0 ? noGenerationsRead : this.#generations.learn(asked, versions, texts.slice(1));
      const entry = this.#entries.read(region, texts[0], askedAt, read);
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
    // A deletion during the read, which the store missed, ends the entry for this process.
    if (entry === undefined || this.tombstone(storeKey) !== undefined) return undefined;
    if (ticket?.isCurrent === true) this.#keep(region, key, storeKey, entry);
    return entry;
  }

  #onFault({ ticket }: PendingRead, error: unknown): undefined {
    if (ticket !== undefined) this.#tickets.close(ticket);
    return this.reportFault(error);
  }

  #keep(region: Region, key: string, storeKey: string, entry: CachedEntry): void {
    if (key.length <= maxKeyLength && entry.isCurrent()) this.#local?.set(region, key, storeKey, entry);
  }

  /** The entry that this process has made, as other reads get it; kept in process if `isCurrent`. */
  admit(
    region: Region,
    key: string,
    { stored }: ComposedEntry,
    snapshot: GenerationSnapshot,
    askedAt: number,
    isCurrent: boolean,
  ): CachedEntry {
    const entry = this.#entries.create(region, stored, snapshot, askedAt);
    if (isCurrent) this.#keep(region, key, this.storeKey(region, key), entry);
    return entry;
  }

  /**
   * Writes entries that have the same tags; does nothing while the store is down. A write replaces an entry whose deletion
   * the store missed before, but not one that is deleted during the write.
   */
  async write(region: Region, entries: readonly NewEntry[]): Promise<void> {
    const writes = entries.map((entry) => {
      const storeKey = this.storeKey(region, entry.key);
      this.invalidate(storeKey);
      return { entry, storeKey, tombstone: this.tombstone(storeKey), ticket: this.issueTicket(storeKey) };
    });
    try {
      const askedAt = steadyNow();
      const maxTtlMs = Math.max(0, ...entries.map(({ freshMs, graceMs }) => freshMs + graceMs));
      const generationsOfAll = this.#entries.generationsOf(region, entries[0]?.tags ?? noTags);
      const generations = await this.#generations.ensure(generationsOfAll, maxTtlMs);
      const composed = writes.map((write) => ({
        ...write,
        made: this.#entries.compose(region, write.entry, generations.values),
      }));
      await this.#store.setMany(
        composed.map(({ storeKey, made }) => ({ key: storeKey, value: made.text, ttlMs: made.ttlMs })),
      );
      for (const { entry, storeKey, tombstone, ticket, made } of composed) {
        this.clearTombstone(storeKey, tombstone);
        this.admit(region, entry.key, made, generations, askedAt, ticket.isCurrent);
      }
    } catch (error) {
      this.reportFault(error);
    } finally {
      for (const { ticket } of writes) this.closeTicket(ticket);
    }
  }

  /** Call this before a value is made or written: the ticket shows afterwards whether the key was changed meanwhile. */
  issueTicket(storeKey: string): ReadTicket {
    this.#subscribe();
    return this.#tickets.issue(storeKey);
  }

  closeTicket(ticket: ReadTicket): void {
    this.#tickets.close(ticket);
  }

  /** The token of a deletion that the store does not have yet. */
  tombstone(storeKey: string): string | undefined {
    return this.#deletions.tokenOf(storeKey);
  }

  /** Drops the deletion with this token: a newer value has replaced the deleted one. */
  clearTombstone(storeKey: string, token: string | undefined): void {
    this.#deletions.supersede(storeKey, token);
  }

  /** Drops the entry of a key in process, and keeps nothing of the reads of this key that are pending. */
  invalidate(storeKey: string): void {
    this.#local?.invalidate(storeKey);
    this.#tickets.invalidate(storeKey);
  }

  /** Rejects with a StoreFault if the store missed it; the entry is then gone for this process all the same. */
  async delete(region: Region, key: string): Promise<void> {
    await this.#deletions.invalidate(this.storeKey(region, key));
  }

  async deleteByTag(tag: string): Promise<void> {
    await this.#generations.renew([this.#entries.generationOfTag(this.#keys.identifier(tag))]);
  }

  async clear({ generationKeys }: Region): Promise<void> {
    await this.#generations.renew(generationKeys.slice(-1).map((key) => this.#generations.get(key)));
  }

  /** Reports a fault of the store. The request goes on without the cache. */
  reportFault(error: unknown): undefined {
    if (!(error instanceof StoreFault)) throw error;
    this.#telemetry.degraded("cache", "allow", error.kind, "allowed");
    return undefined;
  }

  flush(): void {
    this.#local?.flush();
    this.#tickets.flush();
  }
}

/** Belongs to a pending read, or to a value that is being made. It shows whether the key was changed meanwhile. */
export interface ReadTicket {
  readonly key: string;
  /** False once the key was changed: the result must not be kept in process. */
  isCurrent: boolean;
  /** The ticket of another read of the same key. */
  next: ReadTicket | undefined;
}

/** The open tickets, by key of the store; a linked list for each key, since almost all have one ticket. */
class ReadTickets {
  readonly #tickets = new Map<string, ReadTicket>();

  issue(key: string): ReadTicket {
    const ticket = { key, isCurrent: true, next: this.#tickets.get(key) };
    this.#tickets.set(key, ticket);
    return ticket;
  }

  close(ticket: ReadTicket): void {
    const { key, next } = ticket;
    let before = this.#tickets.get(key);
    if (before === ticket) {
      if (next === undefined) this.#tickets.delete(key);
      else this.#tickets.set(key, next);
      return;
    }
    while (before !== undefined && before.next !== ticket) before = before.next;
    if (before !== undefined) before.next = next;
  }

  invalidate(key: string): void {
    for (let ticket = this.#tickets.get(key); ticket !== undefined; ticket = ticket.next) ticket.isCurrent = false;
  }

  flush(): void {
    for (const key of this.#tickets.keys()) this.invalidate(key);
  }
}

function same<T>(value: T): T {
  return value;
}

const noTags: readonly string[] = [];
const noVersions: readonly number[] = [];
const nothing = Promise.resolve(undefined);
