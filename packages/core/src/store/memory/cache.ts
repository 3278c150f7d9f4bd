import { LRUCache } from "lru-cache";
import type { CacheEntry, CacheStore } from "../ports.js";

export interface MemoryCacheStoreOptions {
  /** Most entries kept. @default 10_000 */
  readonly entries?: number;
  /** Most characters of keys and values kept. @default 16_777_216 */
  readonly size?: number;
  /** Milliseconds of any clock. */
  readonly now?: () => number;
}

/** Cached values of this process alone; the least recently used make room. */
export class MemoryCacheStore implements CacheStore {
  readonly #values: LRUCache<string, string>;

  constructor({ entries = 10_000, size = 2 ** 24, now = () => performance.now() }: MemoryCacheStoreOptions = {}) {
    this.#values = new LRUCache({
      max: entries,
      maxSize: size,
      sizeCalculation: (value, key) => value.length + key.length + 1,
      ttlResolution: 0,
      perf: { now },
    });
  }

  getMany(keys: readonly string[]): Promise<(string | undefined)[]> {
    return Promise.resolve(keys.map((key) => this.#values.get(key)));
  }

  setMany(entries: readonly CacheEntry[]): Promise<void> {
    for (const { key, value, ttlMs } of entries) this.#values.set(key, value, { ttl: ttlMs });
    return Promise.resolve();
  }

  deleteMany(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#values.delete(key);
    return Promise.resolve();
  }

  close(): void {
    this.#values.clear();
  }
}
