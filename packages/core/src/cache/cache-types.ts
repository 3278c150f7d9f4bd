import type { Identifier } from "../auth/identifying-claim.js";
import type { Duration } from "../lib/duration.js";
import type { CachePolicy } from "./options.js";

/** The argument of a factory. */
export interface FactoryContext<T = unknown> {
  /** Aborted when no caller waits for the value any more: their requests have ended, or `hardTimeout` is over. */
  readonly signal: AbortSignal;
  /** The value that the new one replaces, if there is one. */
  readonly stale: T | undefined;
}

export interface CacheSetOptions {
  /** How long the value is fresh. @default the `cache.ttl` of the gate */
  readonly ttl?: Duration | undefined;
  /** How long it is kept after that; see {@link CachePolicy.grace}. @default the `cache.grace` of the gate */
  readonly grace?: Duration | undefined;
  /** See {@link CachePolicy.jitter}. @default the `cache.jitter` of the gate */
  readonly jitter?: number | undefined;
  /** By which `deleteByTag` finds it: at most 64. A tag is one for all namespaces, users and tenants. @default none */
  readonly tags?: readonly string[] | undefined;
  /** Says that a value made for a signed-in user is for everybody, so that nobody is warned of it. @default false */
  readonly shared?: boolean | undefined;
}

export interface GetOrSetOptions extends CacheSetOptions, CachePolicy {
  readonly ttl?: Duration | undefined;
  readonly grace?: Duration | undefined;
  readonly jitter?: number | undefined;
  readonly key: string;
  /** Make a new value whatever there is, and let no older making overwrite it. @default false */
  readonly forceFresh?: boolean | undefined;
  /** Rejects this call at once when it is aborted. @default none; the end of the request alone aborts the factory's signal */
  readonly signal?: AbortSignal | undefined;
}

/**
 * The cache of one request, as `req.cache` or `ctx.cache`. Two reads of one key in one request are one read and see one
 * value; the reads that all requests make in one turn of the event loop are one MGET. Values that are read are frozen and
 * shared by requests, unless `cache.local` is off or makes copies.
 *
 * While the store is down, reads are misses, writes do nothing, and deletions reject: a lost one is never silent.
 */
export interface RequestCache {
  /** The value, or undefined if there is none that is fresh. */
  get<T>(key: string): Promise<T | undefined>;
  set(key: string, value: unknown, options?: CacheSetOptions): Promise<void>;
  /** Rejects with a StoreFault if the store could not delete it; this process then treats the entry as gone. */
  delete(key: string): Promise<void>;
  has(key: string): Promise<boolean>;
  /** The values in the order of the keys, undefined for each that there is none of. */
  getMany<T>(keys: readonly string[]): Promise<(T | undefined)[]>;
  setMany(entries: Iterable<readonly [key: string, value: unknown]>, options?: CacheSetOptions): Promise<void>;
  /**
   * The value, or what the factory makes of it, which is then kept. Calls for one key share one factory call, in this process
   * and in all others. A factory that fails leaves nothing behind; undefined is not kept (but see `negativeTtl`).
   * Rejects with the factory's error, or a CacheTimeout, if there is no value in its grace.
   */
  getOrSet<T>(options: GetOrSetOptions, factory: (context: FactoryContext<T>) => T | Promise<T>): Promise<T>;
  /** Makes every entry with this tag a miss, in all processes, whoever's it is. Rejects like `delete`. */
  deleteByTag(tag: string): Promise<void>;
  /** Empties this view, with the namespaces within it; of a shared view also what users and tenants have there. Rejects like `delete`. */
  clear(): Promise<void>;
  /** A view whose keys meet no other namespace's. Names are letters, digits, `_` and `-`. */
  namespace(name: string): RequestCache;
  /** A view whose keys meet no other user's and not the shared ones. Throws if nobody is signed in. */
  forUser(): RequestCache;
  /** A view for everybody of the user's tenant, by the option `cache.tenantClaim`. Throws if there is none. */
  forTenant(): RequestCache;
}

/** What every view of the cache can do, in a request or outside. */
export type Cache = Omit<RequestCache, "namespace" | "forUser" | "forTenant">;

/** The cache outside requests, as `gate.cache`: the same entries. */
export interface GateCache extends Cache {
  namespace(name: string): GateCache;
  /** The view of the user with this `auth.principal`. */
  forUser(principal: string): GateCache;
  /** The view of a tenant, by the name that its tokens have in `cache.tenantClaim`; 42 is "42". */
  forTenant(tenant: Identifier): GateCache;
}
