import { LRUCache } from "lru-cache";
import type { CachedEntry } from "./cached-entry.js";
import type { CacheSignals } from "../store/cache-signals.js";

export interface LocalTierOptions {
  readonly entries: number;
  readonly bytes: number;
  readonly ttlMs: number;
  readonly signals: CacheSignals;
}

interface Kept {
  readonly entry: CachedEntry;
  readonly storeKey: string;
}

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
      dispose: ({ storeKey }, name) => {
        if (this.#names.get(storeKey) === name) this.#names.delete(storeKey);
      },
    });
  }

  /** An entry that may be used at this time, fresh or in its grace. `name` is a text of the caller's for the store key. */
  get(name: string, now: number): CachedEntry | undefined {
    const kept = this.#entries.get(name);
    if (kept === undefined) return undefined;
    const { entry } = kept;
    if (now >= entry.usableUntil || !entry.stands()) return undefined;
    if (now > entry.trustedUntil && !(entry.tracked && this.#signals.isAlive(this.#ttlMs))) return undefined;
    return entry;
  }

  set(name: string, storeKey: string, entry: CachedEntry): void {
    this.#entries.set(name, { entry, storeKey });
    if (this.#entries.has(name)) this.#names.set(storeKey, name);
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
