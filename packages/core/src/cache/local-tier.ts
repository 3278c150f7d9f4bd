import { LRUCache } from "lru-cache";
import type { CachedEntry } from "./cached-entry.js";
import type { Place } from "./places.js";
import type { CacheSignals } from "../store/cache-signals.js";

export interface LocalTierOptions {
  readonly entries: number;
  readonly bytes: number;
  readonly ttlMs: number;
  readonly signals: CacheSignals;
}

/** An entry in process, and where it is found. */
export interface Kept {
  readonly entry: CachedEntry;
  readonly storeKey: string;
  /** Its name in the tier. */
  readonly name: string;
  readonly key: string;
  /** Of its place: a hit looks up the key as it is, since making up and hashing a name takes longer than all the rest. */
  shelf: Map<string, Kept>;
  touchedAt: number;
}

/** An entry that is read more often than this counts as read once, by those that make room. */
const touchMs = 100;

/** What an entry takes besides its text, by and large. */
const overheadBytes = 400;

/**
 * Values in this process, bounded by entries and by bytes. None is answered when it is older than `ttlMs`, unless the store
 * tells of changes of its key and proves that it does; none whose generations have changed.
 */
export class LocalTier {
  readonly #entries: LRUCache<string, Kept>;
  readonly #names = new Map<string, string>();
  readonly #ttlMs: number;
  readonly #signals: CacheSignals;

  constructor({ entries, bytes, ttlMs, signals }: LocalTierOptions) {
    this.#ttlMs = ttlMs;
    this.#signals = signals;
    this.#entries = new LRUCache({
      max: entries,
      maxSize: bytes,
      sizeCalculation: ({ entry, storeKey }, name) => overheadBytes + 2 * (entry.size + name.length + storeKey.length),
      dispose: (kept, name) => {
        const { storeKey, key, shelf } = kept;
        if (this.#names.get(storeKey) === name) this.#names.delete(storeKey);
        if (shelf.get(key) === kept) shelf.delete(key);
      },
    });
  }

  /** An entry that may be used at this time, fresh or in its grace. */
  get({ prefix, shelf }: Place, key: string, now: number): CachedEntry | undefined {
    const kept = shelf.get(key) ?? this.#find(prefix + key, shelf);
    if (kept === undefined) return undefined;
    if (now - kept.touchedAt > touchMs) {
      kept.touchedAt = now;
      this.#entries.get(kept.name);
    }
    const { entry } = kept;
    if (now >= entry.usableUntil || !entry.stands()) return undefined;
    if (now > entry.trustedUntil && !(entry.tracked && this.#signals.isAlive(this.#ttlMs))) return undefined;
    return entry;
  }

  set({ prefix, shelf }: Place, key: string, storeKey: string, entry: CachedEntry): void {
    const name = prefix + key;
    const kept = { entry, storeKey, name, key, shelf, touchedAt: 0 };
    this.#entries.set(name, kept);
    if (!this.#entries.has(name)) return;
    this.#names.set(storeKey, name);
    shelf.set(key, kept);
  }

  /** An entry that a place made anew does not know yet. */
  #find(name: string, shelf: Map<string, Kept>): Kept | undefined {
    const kept = this.#entries.get(name);
    if (kept === undefined) return undefined;
    kept.shelf = shelf;
    shelf.set(kept.key, kept);
    return kept;
  }

  /** What is under this key of the store has changed. */
  invalidate(storeKey: string): void {
    const name = this.#names.get(storeKey);
    if (name !== undefined) this.#entries.delete(name);
  }

  flush(): void {
    this.#entries.clear();
    this.#names.clear();
  }
}
