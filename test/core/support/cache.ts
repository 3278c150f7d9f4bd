import { RequestCacheFactory } from "../../../packages/core/src/cache/request-cache.js";
import { createFacts } from "../../../packages/core/src/index.js";
import type { Auth, RequestCache } from "../../../packages/core/src/index.js";
import { Keyspace } from "../../../packages/core/src/store/keys.js";
import { MemoryCacheStore } from "../../../packages/core/src/store/memory/cache.js";
import { StoreFault } from "../../../packages/core/src/store/ports.js";
import type { CacheEntry, CacheStore } from "../../../packages/core/src/store/ports.js";

/** A store in process that notes what it is asked, and can be away. */
export class FakeCacheStore implements CacheStore {
  readonly clock: { ms: number } = { ms: 1_000_000 };
  readonly inner: MemoryCacheStore = new MemoryCacheStore({ now: () => this.clock.ms });
  readonly reads: string[] = [];
  readonly written: CacheEntry[] = [];
  /** While set, every call fails with it. */
  failure: Error | undefined;
  /** While set, writes wait for it. */
  writesWait: Promise<void> | undefined;

  goDown(): void {
    this.failure = new StoreFault("unreachable");
  }

  comeBack(): void {
    this.failure = undefined;
  }

  async getMany(keys: readonly string[]): Promise<(string | undefined)[]> {
    this.reads.push(...keys);
    if (this.failure !== undefined) throw this.failure;
    return this.inner.getMany(keys);
  }

  async setMany(entries: readonly CacheEntry[]): Promise<void> {
    await this.writesWait;
    if (this.failure !== undefined) throw this.failure;
    this.written.push(...entries);
    return this.inner.setMany(entries);
  }

  async deleteMany(keys: readonly string[]): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    return this.inner.deleteMany(keys);
  }

  close(): void {
    this.inner.close();
  }
}

export interface FakeProcess {
  readonly store: FakeCacheStore;
  /** The cache of a new request, of this user or of nobody. */
  readonly request: (principal?: string) => RequestCache;
}

/** A process that serves requests; several may share a store. */
export function openProcess(store: FakeCacheStore = new FakeCacheStore()): FakeProcess {
  const factory = new RequestCacheFactory({ store, keys: new Keyspace("", "key-secret"), ttlMs: 300_000 });
  return {
    store,
    request(principal) {
      const facts = createFacts();
      facts.auth = principal === undefined ? undefined : ({ principal } as Auth);
      return factory.create(facts);
    },
  };
}

/** What a promise is rejected with; undefined if it is not. */
export async function faultOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}
