import type { CacheRead, CacheSignals, CacheStore } from "../store/ports/cache.js";
import type { Keyspace } from "../store/keyspace.js";
import { StoreFault } from "../store/ports/fault.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { Awaitable, ComposedEntry, Entries, NewEntry } from "./entries.js";
import type { CachedEntry } from "./entry.js";
import { noGenerationsAsked } from "./generations.js";
import type { AskedGenerations, GenerationSnapshot, Generations } from "./generations.js";
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

/** Use of an entry by a caller. `note` is what the caller has passed along, so that it needs no closure. */
type Use<T, Note> = (entry: CachedEntry | undefined, region: Region, note: Note) => T;

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

  storeKey(region: Region, key: string): string {
    return region.storeKeyOf(key);
  }

  /** Reads the entry of a key from the store, fresh or in its grace. Reads are misses while the store is down. */
  fetch(region: Region, key: string, tags: readonly string[] = noTags): Promise<CachedEntry | undefined> {
    return this.read(region, key, tags, same, undefined);
  }

  /** The same, and uses the entry: one promise less than to wait for it. */
  read<T, Note>(region: Region, key: string, tags: readonly string[], use: Use<T, Note>, note: Note): Promise<T> {
    const storeKey = this.storeKey(region, key);
    if (this.tombstone(storeKey) !== undefined) return nothing.then(() => use(undefined, region, note));
    this.#subscribe();
    const askedAt = steadyNow();
    const asked = this.#generations.unknownOfRead(region, this.#entries.generationsOfTags(tags), askedAt);
    const ticket = this.#local === undefined ? undefined : this.#tickets.issue(storeKey);
    const read = new PendingRead({ tiers: this, region, key, storeKey, asked, askedAt, ticket, use, note });
    this.#store.read(read);
    return read.promise;
  }

  /** The entry of a read that the store has answered. */
  entryOf(
    read: ReadFacts,
    text: string | undefined,
    along: readonly (string | undefined)[],
  ): Awaitable<CachedEntry | undefined> {
    const { region, asked, askedAt } = read;
    try {
      const learned = asked === noGenerationsAsked ? asked.learned : this.#generations.learn(asked, along);
      const entry = this.#entries.read(region, text, askedAt, learned);
      if (!(entry instanceof Promise)) return this.#onEntry(read, entry);
      return entry.then(
        (later) => this.#onEntry(read, later),
        (error: unknown) => this.failed(read, error),
      );
    } catch (error) {
      return this.failed(read, error);
    }
  }

  #onEntry(read: ReadFacts, entry: CachedEntry | undefined): CachedEntry | undefined {
    const { region, key, storeKey, ticket } = read;
    if (ticket !== undefined) this.#tickets.close(ticket);
    // A deletion during the read, which the store missed, ends the entry for this process.
    if (entry === undefined || this.tombstone(storeKey) !== undefined) return undefined;
    if (ticket?.isCurrent === true) this.#keep(region, key, storeKey, entry);
    return entry;
  }

  /** Ends a read that the store has not answered. */
  failed({ ticket }: ReadFacts, error: unknown): undefined {
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

interface ReadFacts {
  readonly region: Region;
  readonly key: string;
  readonly storeKey: string;
  /** Generations that are read along. */
  readonly asked: AskedGenerations;
  readonly askedAt: number;
  /** None where nothing is kept in process. */
  readonly ticket: ReadTicket | undefined;
}

interface PendingReadOptions<T, Note> extends ReadFacts {
  readonly tiers: Tiers;
  readonly use: Use<T, Note>;
  readonly note: Note;
}

/**
 * A read that waits for the store. The store answers many reads at once, in the asynchronous context of one of them; each goes
 * on in its own, since it calls the codec, and tells of faults.
 */
class PendingRead<T, Note> implements CacheRead, ReadFacts {
  readonly promise: Promise<T>;
  readonly region: Region;
  readonly key: string;
  readonly storeKey: string;
  readonly asked: AskedGenerations;
  readonly askedAt: number;
  readonly ticket: ReadTicket | undefined;
  readonly #tiers: Tiers;
  readonly #use: Use<T, Note>;
  readonly #note: Note;
  #text: string | undefined;
  #texts: readonly (string | undefined)[] = noTexts;
  #hasFailed = false;
  #fault: unknown;
  #settle!: (read: this) => void;

  constructor({ tiers, region, key, storeKey, asked, askedAt, ticket, use, note }: PendingReadOptions<T, Note>) {
    this.region = region;
    this.key = key;
    this.storeKey = storeKey;
    this.asked = asked;
    this.askedAt = askedAt;
    this.ticket = ticket;
    this.#tiers = tiers;
    this.#use = use;
    this.#note = note;
    this.promise = new Promise<this>((resolve) => (this.#settle = resolve)).then(resultOf);
  }

  get along(): readonly string[] {
    return this.asked.keys;
  }

  answer(text: string | undefined, along: readonly (string | undefined)[]): void {
    this.#text = text;
    this.#texts = along;
    this.#settle(this);
  }

  fail(fault: unknown): void {
    this.#hasFailed = true;
    this.#fault = fault;
    this.#settle(this);
  }

  /** The answer, as the caller uses it. */
  result(): Awaitable<T> {
    const entry = this.#hasFailed
      ? this.#tiers.failed(this, this.#fault)
      : this.#tiers.entryOf(this, this.#text, this.#texts);
    if (!(entry instanceof Promise)) return this.#use(entry, this.region, this.#note);
    return entry.then((later) => this.#use(later, this.region, this.#note));
  }
}

function resultOf<T>(read: { result(): Awaitable<T> }): Awaitable<T> {
  return read.result();
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
const noTexts: readonly undefined[] = [];
const nothing = Promise.resolve(undefined);
