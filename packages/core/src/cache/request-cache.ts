import { LRUCache } from "lru-cache";
import type { Facts } from "../http/exchange.js";
import type { Duration } from "../options/duration.js";
import { durationMs } from "../options/duration.js";
import type { Keyspace } from "../store/keys.js";
import type { CacheEntry, CacheStore } from "../store/ports.js";
import { StoreFault } from "../store/ports.js";
import { events } from "../telemetry/events.js";
import { decode, encode } from "./codec.js";

export interface CacheSetOptions {
  /** How long the value may be used. @default the `cache.ttl` of the gate */
  readonly ttl?: Duration | undefined;
}

export interface GetOrSetOptions extends CacheSetOptions {
  readonly key: string;
}

/**
 * The cache of one request, as `req.cache` or `ctx.cache`. Two reads of one key in one request are one read and see one
 * value; the reads that all requests make in one turn of the event loop are one MGET. Values are kept as JSON.
 *
 * While the store is down, reads are misses, writes do nothing, and `delete` rejects: a lost invalidation is never silent.
 */
export interface RequestCache {
  /** The value, or undefined if there is none. */
  get<T>(key: string): Promise<T | undefined>;
  set(key: string, value: unknown, options?: CacheSetOptions): Promise<void>;
  /** Rejects with a StoreFault if the store could not delete it; this process then treats the entry as gone. */
  delete(key: string): Promise<void>;
  has(key: string): Promise<boolean>;
  /** The values in the order of the keys, undefined for each that there is none of. */
  getMany<T>(keys: readonly string[]): Promise<(T | undefined)[]>;
  setMany(entries: Iterable<readonly [key: string, value: unknown]>, options?: CacheSetOptions): Promise<void>;
  /**
   * The value, or what the factory makes of it, which is then kept. Calls for one key within the request share one
   * factory call. A factory that fails leaves nothing behind; one that returns undefined is not kept.
   */
  getOrSet<T>(options: GetOrSetOptions, factory: () => T | Promise<T>): Promise<T>;
  /** A view whose keys meet no other namespace's. Names are letters, digits, `_` and `-`. */
  namespace(name: string): RequestCache;
  /** A view whose keys meet no other user's and not the shared ones. Throws if nobody is signed in. */
  forUser(): RequestCache;
}

export interface RequestCacheFactoryOptions {
  readonly store: CacheStore;
  readonly keys: Keyspace;
  readonly ttlMs: number;
}

/** What the caches of all requests share. */
export class RequestCacheFactory {
  readonly store: CacheStore;
  readonly keys: Keyspace;
  readonly ttlMs: number;
  /** Entries whose deletion the store missed, each with a mark of its own: for this process they are gone. */
  readonly #tombstones = new LRUCache<string, symbol>({ max: 10_000 });

  constructor({ store, keys, ttlMs }: RequestCacheFactoryOptions) {
    this.store = store;
    this.keys = keys;
    this.ttlMs = ttlMs;
  }

  async read(key: string): Promise<unknown> {
    if (this.#tombstones.has(key)) return undefined;
    const values = await this.store.getMany([key]).catch(reportMiss);
    return decode(values?.[0]);
  }

  /** Writes what can be written. A deletion missed before is then made good; one missed meanwhile is not. */
  async write(entries: readonly CacheEntry[]): Promise<void> {
    const missed = entries.map(({ key }) => this.#tombstones.get(key));
    try {
      await this.store.setMany(entries);
      entries.forEach(({ key }, index) => {
        if (this.#tombstones.get(key) === missed[index]) this.#tombstones.delete(key);
      });
    } catch (error) {
      reportMiss(error);
    }
  }

  async delete(key: string): Promise<void> {
    const mark = Symbol("deleted");
    this.#tombstones.set(key, mark);
    await this.store.deleteMany([key]);
    if (this.#tombstones.get(key) === mark) this.#tombstones.delete(key);
  }

  create(facts: Facts): RequestCache {
    return new CacheView(this, { facts, memo: new Map(), making: new Map() }, "shared", "");
  }
}

/** What all views of one request share. */
interface RequestScope {
  readonly facts: Facts;
  /** By full key: what this request has read or written. */
  readonly memo: Map<string, Promise<unknown>>;
  /** By full key: calls of getOrSet under way. */
  readonly making: Map<string, Promise<unknown>>;
}

const namespaceName = /^[A-Za-z0-9_-]{1,64}$/;

class CacheView implements RequestCache {
  readonly #factory: RequestCacheFactory;
  readonly #request: RequestScope;
  readonly #scope: string;
  readonly #namespace: string;

  constructor(factory: RequestCacheFactory, request: RequestScope, scope: string, namespace: string) {
    this.#factory = factory;
    this.#request = request;
    this.#scope = scope;
    this.#namespace = namespace;
  }

  async get<T>(key: string): Promise<T | undefined> {
    return (await this.#read(this.#fullKey(key))) as T | undefined;
  }

  async set(key: string, value: unknown, options: CacheSetOptions = {}): Promise<void> {
    await this.setMany([[key, value]], options);
  }

  async delete(key: string): Promise<void> {
    const fullKey = this.#fullKey(key);
    this.#memo.set(fullKey, Promise.resolve(undefined));
    await this.#factory.delete(fullKey);
  }

  async has(key: string): Promise<boolean> {
    return (await this.#read(this.#fullKey(key))) !== undefined;
  }

  async getMany<T>(keys: readonly string[]): Promise<(T | undefined)[]> {
    return (await Promise.all(keys.map((key) => this.#read(this.#fullKey(key))))) as (T | undefined)[];
  }

  async setMany(
    entries: Iterable<readonly [key: string, value: unknown]>,
    options: CacheSetOptions = {},
  ): Promise<void> {
    const ttlMs = this.#ttlMs(options);
    const encoded = Array.from(entries, ([key, value]) => ({
      key: this.#fullKey(key),
      original: value,
      value: encode(value),
      ttlMs,
    }));
    for (const { key, original } of encoded) {
      this.#memo.set(key, Promise.resolve(original));
    }
    await this.#factory.write(encoded);
  }

  async getOrSet<T>(options: GetOrSetOptions, factory: () => T | Promise<T>): Promise<T> {
    const fullKey = this.#fullKey(options.key);
    const ttlMs = this.#ttlMs(options);
    const underWay = this.#request.making.get(fullKey);
    if (underWay !== undefined) return underWay as Promise<T>;
    const making = this.#readOrMake(fullKey, ttlMs, factory).finally(() => this.#request.making.delete(fullKey));
    this.#request.making.set(fullKey, making);
    return making as Promise<T>;
  }

  namespace(name: string): RequestCache {
    if (typeof name !== "string" || !namespaceName.test(name))
      throw new TypeError("a cache namespace is 1 to 64 letters, digits, _ and -");
    const path = this.#namespace === "" ? name : `${this.#namespace}.${name}`;
    return new CacheView(this.#factory, this.#request, this.#scope, path);
  }

  forUser(): RequestCache {
    const principal = this.#request.facts.auth?.principal;
    if (principal === undefined || principal === "") {
      throw new Error("cache.forUser() needs a signed-in user; mount guard() or authenticate() before it");
    }
    return new CacheView(
      this.#factory,
      this.#request,
      `user:${this.#factory.keys.identifier(principal)}`,
      this.#namespace,
    );
  }

  get #memo(): Map<string, Promise<unknown>> {
    return this.#request.memo;
  }

  #fullKey(key: string): string {
    if (typeof key !== "string" || key === "") throw new TypeError("a cache key is a non-empty string");
    return this.#factory.keys.cacheEntry(this.#scope, this.#namespace, key);
  }

  #ttlMs({ ttl }: CacheSetOptions): number {
    return ttl === undefined ? this.#factory.ttlMs : durationMs("ttl", ttl);
  }

  #read(fullKey: string): Promise<unknown> {
    const known = this.#memo.get(fullKey);
    if (known !== undefined) return known;
    const value = this.#factory.read(fullKey);
    this.#memo.set(fullKey, value);
    return value;
  }

  async #readOrMake(fullKey: string, ttlMs: number, factory: () => unknown): Promise<unknown> {
    const reading = this.#read(fullKey);
    const value = await reading;
    if (value !== undefined) return value;
    const made = await factory();
    if (made === undefined) return undefined;
    const text = encode(made);
    // What was written or deleted while the factory ran is newer than what it made.
    if (this.#memo.get(fullKey) !== reading) return made;
    this.#memo.set(fullKey, Promise.resolve(made));
    await this.#factory.write([{ key: fullKey, value: text, ttlMs }]);
    return made;
  }
}

/** The cache is a convenience: while its store is down, requests go on without it. */
function reportMiss(error: unknown): undefined {
  if (!(error instanceof StoreFault)) throw error;
  if (events.degraded.hasSubscribers)
    events.degraded.publish({ part: "cache", policy: "allow", fault: error.kind, outcome: "allowed" });
  return undefined;
}
