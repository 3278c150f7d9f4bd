import type { LRUCache } from "lru-cache";
import { GrowingLru } from "../../lib/growing-lru.js";
import type {
  CacheEntry,
  CacheEvent,
  CacheRead,
  CacheStore,
  GenerationClaim,
  Lease,
  LeaseOutcome,
} from "../ports/cache.js";
import { cacheChannel, eventLetter, newGeneration, renewalMs, renewedGeneration, withdrawnMs } from "../ports/cache.js";
import type { Channels } from "../ports/channels.js";
import { monotonicNow } from "../../lib/real-timers.js";
import { lruClock, steadyNow } from "../../lib/steady-clock.js";

export interface MemoryCacheStoreOptions {
  /** Maximum number of entries. @default 5_000 */
  readonly entries?: number;
  /** Maximum number of characters of all keys and values. @default 16_777_216 */
  readonly size?: number;
  /** Milliseconds of any clock. @default {@link steadyNow} for values, and a monotonic clock for leases */
  readonly now?: (() => number) | undefined;
  /** The channels for messages about values; without them no message is sent. */
  readonly channels?: Channels | undefined;
}

interface Holder {
  readonly owner: string;
  until: number;
  awaited: boolean;
}

/** Cached values of this process alone. The least recently used values are dropped. */
export class MemoryCacheStore implements CacheStore {
  readonly #values: LRUCache<string, string>;
  /** Generations, apart from values: there are several for each value, and they must not displace values. */
  readonly #generations: LRUCache<string, string>;
  readonly #leases = new Map<string, Holder>();
  /** Withdrawn leases, by owner and key. */
  readonly #withdrawn: LRUCache<string, true>;
  readonly #channels: Channels | undefined;
  readonly #now: () => number;
  /** Fake timers do not end the lease of a factory that runs. */
  readonly #leaseNow: () => number;

  constructor({ entries = 5_000, size = 2 ** 24, now: givenNow, channels }: MemoryCacheStoreOptions = {}) {
    const now = givenNow ?? steadyNow;
    this.#now = now;
    this.#leaseNow = givenNow ?? monotonicNow;
    const perf = lruClock(now);
    this.#channels = channels;
    this.#values = new GrowingLru({
      max: entries,
      maxSize: size,
      sizeCalculation: (value, key) => value.length + key.length + 1,
      ttlResolution: 0,
      perf,
    });
    this.#generations = new GrowingLru({ max: 4 * entries, ttlResolution: 0, perf });
    this.#withdrawn = new GrowingLru({ max: 1_000, ttl: withdrawnMs, ttlResolution: 0, perf });
  }

  now(): number {
    return this.#now();
  }

  getMany(keys: readonly string[]): Promise<readonly (string | undefined)[]> {
    return Promise.resolve(keys.map(this.#textOf));
  }

  read(read: CacheRead): void {
    read.answer(this.#textOf(read.storeKey), read.along.map(this.#textOf));
  }

  readonly #textOf = (key: string): string | undefined => this.#values.get(key) ?? this.#generations.get(key);

  setMany(entries: readonly CacheEntry[]): Promise<void> {
    for (const { key, value, ttlMs } of entries) {
      const holder = this.#endLease(key);
      this.#values.set(key, value, { ttl: ttlMs });
      if (holder?.awaited === true) this.#publish(key, "filled");
    }
    return Promise.resolve();
  }

  deleteMany(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      this.#endLease(key);
      this.#values.delete(key);
      this.#generations.delete(key);
      this.#publish(key, "deleted");
    }
    return Promise.resolve();
  }

  ensureGenerations(keys: readonly string[], ttlMs: number): Promise<string[]> {
    return Promise.resolve(keys.map((key) => this.#extend(key, this.#generations.get(key) ?? newGeneration(), ttlMs)));
  }

  renewGenerations(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const isKnown = this.#generations.has(key);
      this.#extend(key, renewedGeneration(), renewalMs);
      if (isKnown) this.#publish(key, "deleted");
    }
    return Promise.resolve();
  }

  keep(entries: readonly CacheEntry[], claims: readonly GenerationClaim[], untilMs: number): Promise<string[]> {
    const found = claims.map(({ key }) => this.#generations.get(key) ?? "");
    const isLate = this.#now() > untilMs;
    const isGranted = claims.every(
      ({ named, isNew }, index) => found[index] === named || (isNew && found[index] === "" && !isLate),
    );
    if (!isGranted) return Promise.resolve(found);
    const lifeMs = Math.max(0, ...entries.map(({ ttlMs }) => ttlMs));
    for (const { key, named } of claims) this.#extend(key, named, lifeMs);
    for (const { key, value, ttlMs, keepsLongerLife = false } of entries) {
      const stays = keepsLongerLife && this.#values.get(key) === value && this.#values.getRemainingTTL(key) > ttlMs;
      if (!stays) this.#values.set(key, value, { ttl: ttlMs });
    }
    return Promise.resolve(claims.map(({ named }) => named));
  }

  lease(key: string, owner: string, ms: number, force = false): Promise<Lease> {
    const value = this.#values.get(key);
    const holder = this.#leases.get(key);
    if (this.#withdrawn.has(`${owner} ${key}`)) return Promise.resolve({ waitMs: 1, value });
    const left = holder === undefined ? 0 : holder.until - this.#leaseNow();
    if (holder !== undefined && left > 0 && !force) {
      holder.awaited = true;
      return Promise.resolve({ waitMs: left, value });
    }
    this.#leases.set(key, { owner, until: this.#leaseNow() + ms, awaited: holder?.awaited === true });
    return Promise.resolve({ waitMs: 0, value });
  }

  extend(key: string, owner: string, ms: number): Promise<boolean> {
    const holder = this.#leaseOf(key, owner);
    if (holder !== undefined) holder.until = this.#leaseNow() + ms;
    return Promise.resolve(holder !== undefined);
  }

  endLease(key: string, owner: string, settlement: LeaseOutcome): Promise<boolean> {
    const holder = this.#leaseOf(key, owner);
    if (holder === undefined) return Promise.resolve(false);
    this.#leases.delete(key);
    if (settlement.outcome === "filled") this.#values.set(key, settlement.value, { ttl: settlement.ttlMs });
    if (holder.awaited) this.#publish(key, settlement.outcome);
    return Promise.resolve(true);
  }

  withdraw(key: string, owner: string): Promise<void> {
    if (this.#leaseOf(key, owner) === undefined) this.#withdrawn.set(`${owner} ${key}`, true);
    return this.endLease(key, owner, { outcome: "failed" }).then(() => undefined);
  }

  /** Does nothing: this store is never away. */
  onReturn(): void {
    return undefined;
  }

  close(): void {
    this.#values.clear();
    this.#generations.clear();
    this.#leases.clear();
    this.#withdrawn.clear();
  }

  /** Sets a generation that lives for at least `ttlMs`, and not shorter than the former one. */
  #extend(key: string, generation: string, ttlMs: number): string {
    const ttl = Math.max(ttlMs, this.#generations.getRemainingTTL(key));
    this.#generations.set(key, generation, { ttl });
    return generation;
  }

  #leaseOf(key: string, owner: string): Holder | undefined {
    const holder = this.#leases.get(key);
    return holder?.owner === owner && holder.until > this.#leaseNow() ? holder : undefined;
  }

  #endLease(key: string): Holder | undefined {
    const holder = this.#leases.get(key);
    this.#leases.delete(key);
    return holder;
  }

  #publish(key: string, news: CacheEvent): void {
    void this.#channels?.publish(cacheChannel, `${key} ${eventLetter(news)}`);
  }
}
