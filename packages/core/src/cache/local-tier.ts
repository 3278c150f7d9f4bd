import type { Kept, LocalRegion, Region } from "./regions.js";
import { LRUCache } from "lru-cache";
import type { CachedEntry } from "./cached-entry.js";
import type { CacheSignals } from "../store/ports/cache.js";

export interface LocalTierOptions {
  readonly entries: number;
  readonly bytes: number;
  readonly ttlMs: number;
  readonly signals: CacheSignals;
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
  /** By key of the store. */
  readonly #entries: LRUCache<string, Kept>;
  /** Those that are not empty, by place: a place that is made anew finds its own again. */
  readonly #shelves = new Map<string, LocalRegion>();
  readonly #ttlMs: number;
  readonly #signals: CacheSignals;

  constructor({ entries, bytes, ttlMs, signals }: LocalTierOptions) {
    this.#ttlMs = ttlMs;
    this.#signals = signals;
    this.#entries = new LRUCache({
      max: entries,
      maxSize: bytes,
      sizeCalculation: ({ entry, key }, storeKey) => overheadBytes + 2 * (entry.size + key.length + storeKey.length),
      dispose: (kept) => this.#unshelve(kept),
    });
  }

  /** An entry that may be used at this time, fresh or in its grace. */
  get(place: Region, key: string, now: number): CachedEntry | undefined {
    const kept = this.#shelfOf(place).kept.get(key);
    if (kept === undefined) return undefined;
    if (now - kept.touchedAt > touchMs) {
      kept.touchedAt = now;
      this.#entries.get(kept.storeKey);
    }
    const { entry } = kept;
    if (now >= entry.usableUntil || !entry.stands()) return undefined;
    if (now > entry.trustedUntil && !(entry.tracked && this.#signals.isAlive(this.#ttlMs))) return undefined;
    return entry;
  }

  set(place: Region, key: string, storeKey: string, entry: CachedEntry): void {
    const shelf = this.#shelfOf(place);
    const kept = { entry, storeKey, key, shelf, touchedAt: 0 };
    this.#entries.set(storeKey, kept);
    if (!this.#entries.has(storeKey)) return;
    if (shelf.kept.size === 0) this.#shelves.set(shelf.prefix, shelf);
    shelf.kept.set(key, kept);
  }

  /** What is under this key of the store has changed. */
  invalidate(storeKey: string): void {
    this.#entries.delete(storeKey);
  }

  flush(): void {
    this.#entries.clear();
  }

  #shelfOf(place: Region): LocalRegion {
    const { prefix } = place;
    return (place.shelf ??= this.#shelves.get(prefix) ?? { prefix, kept: new Map() });
  }

  #unshelve(kept: Kept): void {
    const { key, shelf } = kept;
    if (shelf.kept.get(key) === kept) shelf.kept.delete(key);
    if (shelf.kept.size === 0 && this.#shelves.get(shelf.prefix) === shelf) this.#shelves.delete(shelf.prefix);
  }
}
