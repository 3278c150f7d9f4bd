import type { LRUCache } from "lru-cache";
import { GrowingLru } from "../lib/growing-lru.js";
import type { CacheSignals } from "../store/ports/cache.js";
import type { CachedEntry } from "./entry.js";

export interface LocalTierOptions {
  readonly entries: number;
  readonly bytes: number;
  readonly ttlMs: number;
  readonly signals: CacheSignals;
}

/** An entry in process. */
interface LocalEntry {
  readonly entry: CachedEntry;
  readonly storeKey: string;
  readonly key: string;
  readonly region: LocalRegion;
  touchedAt: number;
}

/** The entries of a region in process, by the application's key: to make and hash the key of the store takes longer. */
export interface LocalRegion {
  readonly prefix: string;
  readonly entries: Map<string, LocalEntry>;
}

/** A cache region, as the local tier sees it. */
export interface LocalRegionHolder {
  /** Stands before a key in the names that this process uses. */
  readonly prefix: string;
  /** Undefined until the local tier has looked for it. */
  localRegion: LocalRegion | undefined;
}

/** The LRU order counts several reads of an entry within this time as one. */
const touchIntervalMs = 100;

/** An entry takes about this much besides its text. */
const overheadBytes = 400;

/**
 * The tier in this process, bounded by entries and by bytes. It answers with an entry for `ttlMs`; for longer only while the
 * store reports changes of its key, and proves that it does. An entry whose generations have changed is a miss.
 */
export class LocalTier {
  /** By key of the store. */
  readonly #entries: LRUCache<string, LocalEntry>;
  /** The regions that have entries, by prefix: a region that is created anew finds its entries again. */
  readonly #regions = new Map<string, LocalRegion>();
  readonly #ttlMs: number;
  readonly #signals: CacheSignals;

  constructor({ entries, bytes, ttlMs, signals }: LocalTierOptions) {
    this.#ttlMs = ttlMs;
    this.#signals = signals;
    this.#entries = new GrowingLru({
      max: entries,
      maxSize: bytes,
      sizeCalculation: ({ entry, key }, storeKey) => overheadBytes + 2 * (entry.size + key.length + storeKey.length),
      dispose: (local) => this.#removeFromRegion(local),
    });
  }

  /** An entry that may be used at this time, fresh or in its grace. */
  get(region: LocalRegionHolder, key: string, now: number): CachedEntry | undefined {
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

  set(region: LocalRegionHolder, key: string, storeKey: string, entry: CachedEntry): void {
    const localRegion = this.#localRegionOf(region);
    const local = { entry, storeKey, key, region: localRegion, touchedAt: 0 };
    this.#entries.set(storeKey, local);
    // An entry that is larger than the whole tier is not kept.
    if (!this.#entries.has(storeKey)) return;
    if (localRegion.entries.size === 0) this.#regions.set(localRegion.prefix, localRegion);
    localRegion.entries.set(key, local);
  }

  invalidate(storeKey: string): void {
    this.#entries.delete(storeKey);
  }

  flush(): void {
    this.#entries.clear();
  }

  #localRegionOf(region: LocalRegionHolder): LocalRegion {
    const { prefix } = region;
    return (region.localRegion ??= this.#regions.get(prefix) ?? { prefix, entries: new Map() });
  }

  #removeFromRegion(local: LocalEntry): void {
    const { key, region } = local;
    if (region.entries.get(key) === local) region.entries.delete(key);
    if (region.entries.size === 0 && this.#regions.get(region.prefix) === region) this.#regions.delete(region.prefix);
  }
}
