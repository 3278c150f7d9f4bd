import type { CachedEntry } from "./cached-entry.js";
import type { StoredEntry } from "./entry.js";
import { writeEntry } from "./entry.js";
import type { GenerationSnapshot } from "./entry-reader.js";
import type { Tiers } from "./tiers.js";
import type { Region } from "./regions.js";

/** What is to be written. */
export interface NewEntry {
  readonly key: string;
  /** Of the codec; `0` for the answer that there is nothing. */
  readonly letter: string;
  readonly payload: string;
  readonly freshMs: number;
  readonly graceMs: number;
  readonly tags: readonly string[];
}

/** The generations something was begun under, with their values. */
export interface EntryGenerations extends GenerationSnapshot {
  readonly values: readonly string[];
}

/** What this process has made, as it is stored and kept. */
export interface Composed {
  readonly stored: StoredEntry;
  readonly text: string;
  readonly ttlMs: number;
}

/** Makes entries of values, with the stamps of what they stand and fall with. */
export class Writer {
  readonly #cache: Tiers;

  constructor(cache: Tiers) {
    this.#cache = cache;
  }

  /** The stamps of what is begun now. Rejects with a StoreFault. */
  async ensureGenerations(region: Region, tags: readonly string[], ttlMs: number): Promise<EntryGenerations> {
    const generations = this.#cache.entries.generationsOf(region, tags);
    const values = await this.#cache.generations.ensure(generations, ttlMs);
    return { generations, values, versions: generations.map(({ version: epoch }) => epoch) };
  }

  /** An entry that is made now; without values of generations it counts in this process alone. */
  compose(region: Region, entry: NewEntry, values: readonly string[]): Composed {
    const { letter, payload, freshMs, graceMs, tags } = entry;
    const own = region.generationKeys.length;
    const stored: StoredEntry = {
      letter,
      payload,
      createdAt: this.#cache.store.now(),
      freshMs,
      graceMs,
      generations: values.slice(0, own).join("."),
      tags: tags.map((tag, index) => [this.#cache.keys.identifier(tag), values[own + index] ?? ""]),
    };
    return { stored, text: writeEntry(stored, payload), ttlMs: freshMs + graceMs };
  }

  /** An entry that this process has made, as others get it; kept in process if nothing has changed meanwhile. */
  keep(
    region: Region,
    key: string,
    { stored }: Composed,
    snapshot: GenerationSnapshot,
    askedAt: number,
    isCurrent: boolean,
  ): CachedEntry {
    const entry = this.#cache.entries.create(region, stored, snapshot, askedAt);
    if (isCurrent) this.#cache.keep(region, key, this.#cache.storeKey(region, key), entry);
    return entry;
  }

  /** Writes what can be written; all have the same tags. A deletion missed before is then made good, not one meanwhile. */
  async write(region: Region, entries: readonly NewEntry[]): Promise<void> {
    const cache = this.#cache;
    const writes = entries.map((entry) => {
      const storeKey = cache.storeKey(region, entry.key);
      cache.invalidate(storeKey);
      return { entry, storeKey, missed: cache.tombstone(storeKey), ticket: cache.issueTicket(storeKey) };
    });
    try {
      const askedAt = performance.now();
      const maxTtlMs = Math.max(0, ...entries.map(({ freshMs, graceMs }) => freshMs + graceMs));
      const ensureGenerations = await this.ensureGenerations(region, entries[0]?.tags ?? [], maxTtlMs);
      const composed = writes.map((write) => ({
        ...write,
        made: this.compose(region, write.entry, ensureGenerations.values),
      }));
      await cache.store.setMany(
        composed.map(({ storeKey, made }) => ({ key: storeKey, value: made.text, ttlMs: made.ttlMs })),
      );
      for (const { entry, storeKey, missed, ticket, made } of composed) {
        cache.clearTombstone(storeKey, missed);
        this.keep(region, entry.key, made, ensureGenerations, askedAt, ticket.isCurrent);
      }
    } catch (error) {
      cache.reportFault(error);
    } finally {
      for (const { ticket } of writes) cache.closeTicket(ticket);
    }
  }
}
