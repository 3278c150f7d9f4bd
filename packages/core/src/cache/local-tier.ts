import type { LocalEntry, LocalRegion, Region } from "./regions.js";
import { LRUCache } from "lru-cache";
import type { CachedEntry } from "./cached-entry.js";
import type { CacheSignals } from "../store/ports/cache-signals.js";

export interface LocalTierOptions {
  readonly entries: number;
  readonly bytes: number;
  readonly ttlMs: number;
  readonly signals: CacheSignals;
}

/** An entry that is read more often than this counts as read once, by those that make room. */
const touchIntervalMs = 100;

/** What an entry takes besides its text, by and large. */
const overheadBytes = 400;

/**
 * Values in this process, bounded by entries and by bytes. None is answered when it is older than `ttlMs`, unless the store
 * tells of changes of its key and proves that it does; none whose generations have changed.
 */
export class LocalTier {
  /** By key of the store. */
  readonly #entries: LRUCache<string, LocalEntry>;
  /** Those that are not empty, by place: a place that is made anew finds its own again. */
  readonly #regions = new Map<string, LocalRegion>();
  readonly #ttlMs: number;
  readonly #signals: CacheSignals;

  constructor({ entries, bytes, ttlMs, signals }: LocalTierOptions) {
    this.#ttlMs = ttlMs;
    this.#signals = signals;
    this.#entries = new LRUCache({
      max: entries,
      maxSize: bytes,
      sizeCalculation: ({ entry, key }, storeKey) => overheadBytes + 2 * (entry.size + key.length + storeKey.length),
      dispose: (local) => this.#removeFromRegion(local),
    });
  }

  /** An entry that may be used at this time, fresh or in its grace. */
  get(region: Region, key: string, now: number): CachedEntry | undefined {
    const local = this.#localRegionOf(region).entries.get(key);
    if (local === undefined) return undefined;
    if (now - local.touchedAt > touchIntervalMs) {
      local.touchedAt = now;
      this.#entries.get(local.storeKey);
    }
    const { entry } = local;
    if (now >= entry.usableUntil || !entry.isCurrent()) return undefined;
    if (now > entry.trustedUntil && !(entry.tracked && this.#signals.isAlive(this.#ttlMs))) return undefined;
    return entry;
  }

  set(region: Region, key: string, storeKey: string, entry: CachedEntry): void {
    const localRegion = this.#localRegionOf(region);
    const local = { entry, storeKey, key, region: localRegion, touchedAt: 0 };
    this.#entries.set(storeKey, local);
    if (!this.#entries.has(storeKey)) return;
    if (localRegion.entries.size === 0) this.#regions.set(localRegion.prefix, localRegion);
    localRegion.entries.set(key, local);
  }

  /** What is under this key of the store has changed. */
  invalidate(storeKey: string): void {
    this.#entries.delete(storeKey);
  }

  flush(): void {
    this.#entries.clear();
  }

  #localRegionOf(region: Region): LocalRegion {
    const { prefix } = region;
    return (region.localRegion ??= this.#regions.get(prefix) ?? { prefix, entries: new Map() });
  }

  #removeFromRegion(local: LocalEntry): void {
    const { key, region: localRegion } = local;
    if (localRegion.entries.get(key) === local) localRegion.entries.delete(key);
    if (localRegion.entries.size === 0 && this.#regions.get(localRegion.prefix) === localRegion)
      this.#regions.delete(localRegion.prefix);
  }
}
