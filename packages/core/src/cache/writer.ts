import type { CachedEntry } from "./cached-entry.js";
import type { StoredEntry } from "./entry.js";
import { writeEntry } from "./entry.js";
import type { GenerationSnapshot } from "./entry-reader.js";
import type { TieredCache } from "./tiers.js";
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
  readonly #cache: TieredCache;

  constructor(cache: TieredCache) {
    this.#cache = cache;
  }

  /** The stamps of what is begun now. Rejects with a StoreFault. */
  async stamps(place: Region, tags: readonly string[], ttlMs: number): Promise<EntryGenerations> {
    const generations = this.#cache.entries.generationsOf(place, tags);
    const values = await this.#cache.generations.ensure(generations, ttlMs);
    return { generations, values, epochs: generations.map(({ epoch }) => epoch) };
  }

  /** An entry that is made now; without values of generations it counts in this process alone. */
  compose(place: Region, entry: NewEntry, values: readonly string[]): Composed {
    const { letter, payload, freshMs, graceMs, tags } = entry;
    const own = place.generations.length;
    const stored: StoredEntry = {
      letter,
      payload,
      createdAt: this.#cache.store.now(),
      freshMs,
      graceMs,
      stamp: values.slice(0, own).join("."),
      tags: tags.map((tag, index) => [this.#cache.keys.identifier(tag), values[own + index] ?? ""]),
    };
    return { stored, text: writeEntry(stored, payload), ttlMs: freshMs + graceMs };
  }

  /** An entry that this process has made, as others get it; kept in process if nothing has changed meanwhile. */
  keep(
    place: Region,
    key: string,
    { stored }: Composed,
    stand: GenerationSnapshot,
    askedAt: number,
    fit: boolean,
  ): CachedEntry {
    const entry = this.#cache.entries.entryOf(place, stored, stand, askedAt);
    if (fit) this.#cache.keep(place, key, this.#cache.storeKey(place, key), entry);
    return entry;
  }

  /** Writes what can be written; all have the same tags. A deletion missed before is then made good, not one meanwhile. */
  async write(place: Region, entries: readonly NewEntry[]): Promise<void> {
    const cache = this.#cache;
    const writes = entries.map((entry) => {
      const storeKey = cache.storeKey(place, entry.key);
      cache.forget(storeKey);
      return { entry, storeKey, missed: cache.tombstone(storeKey), mark: cache.watch(storeKey) };
    });
    try {
      const askedAt = performance.now();
      const longest = Math.max(0, ...entries.map(({ freshMs, graceMs }) => freshMs + graceMs));
      const stamps = await this.stamps(place, entries[0]?.tags ?? [], longest);
      const composed = writes.map((write) => ({ ...write, made: this.compose(place, write.entry, stamps.values) }));
      await cache.store.setMany(
        composed.map(({ storeKey, made }) => ({ key: storeKey, value: made.text, ttlMs: made.ttlMs })),
      );
      for (const { entry, storeKey, missed, mark, made } of composed) {
        cache.bury(storeKey, missed);
        this.keep(place, entry.key, made, stamps, askedAt, mark.fit);
      }
    } catch (error) {
      cache.reportMiss(error);
    } finally {
      for (const { mark } of writes) cache.unwatch(mark);
    }
  }
}
