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

/** Options of a value that is stored. */
export interface CacheSetOptions {
  /** How long the value is fresh. @default the `cache.ttl` of the gate */
  readonly ttl?: Duration | undefined;
  /** How long it is kept after `ttl`; see {@link CachePolicy.grace}. @default the `cache.grace` of the gate */
  readonly grace?: Duration | undefined;
  /** See {@link CachePolicy.jitter}. @default the `cache.jitter` of the gate */
  readonly jitter?: number | undefined;
  /** Tags of the entry, 64 at most; `deleteByTag` deletes by them. All namespaces, users and tenants share one set of tags. @default none */
  readonly tags?: readonly string[] | undefined;
  /** `true`: the value may be shared although the request has a signed-in user, so there is no warning. @default false */
  readonly shared?: boolean | undefined;
}

/** Options of `getOrSet()`. */
export interface GetOrSetOptions extends CacheSetOptions, CachePolicy {
  /** How long the value is fresh. @default the `cache.ttl` of the gate */
  readonly ttl?: Duration | undefined;
  /** How long it is kept after `ttl`; see {@link CachePolicy.grace}. @default the `cache.grace` of the gate */
  readonly grace?: Duration | undefined;
  /** Share of `ttl` by which it varies; see {@link CachePolicy.jitter}. @default the `cache.jitter` of the gate */
  readonly jitter?: number | undefined;
  /** Name of the value in this view. */
  readonly key: string;
  /** Call the factory also if there is a value; a factory call that began before cannot overwrite the result. @default false */
  readonly forceFresh?: boolean | undefined;
  /** Rejects this call at once when it is aborted. It does not abort the factory while other calls wait. @default none */
  readonly signal?: AbortSignal | undefined;
}

/**
 * The cache of one request, as `req.cache` or `ctx.cache`. A request reads each key once, and sees one value of it. The reads
 * of all requests in one turn of the event loop are one MGET. Values are frozen and shared by requests, unless `cache.local`
 * is off or makes copies.
 *
 * While the store is down, reads are misses, writes do nothing, and deletions reject, so that no lost deletion goes unnoticed.
 */
export interface RequestCache {
  /** The fresh value of a key; undefined without one. */
  get<T>(key: string): Promise<T | undefined>;
  /** Stores a value. Does nothing while the store is down. */
  set(key: string, value: unknown, options?: CacheSetOptions): Promise<void>;
  /** Deletes an entry. Rejects with a StoreFault if the store missed it; this process then treats the entry as deleted. */
  delete(key: string): Promise<void>;
  /** Tells whether there is a fresh value. */
  has(key: string): Promise<boolean>;
  /** The fresh values in the order of the keys; undefined for each key without one. */
  getMany<T>(keys: readonly string[]): Promise<(T | undefined)[]>;
  /** Stores values. Does nothing while the store is down. */
  setMany(entries: Iterable<readonly [key: string, value: unknown]>, options?: CacheSetOptions): Promise<void>;
  /**
   * The value of a key, or the result of the factory, which is then stored. Calls for one key share one call of the factory,
   * in all processes. An error of the factory is not stored; undefined is stored with `negativeTtl` only. Rejects with the
   * error of the factory, or with a CacheTimeout, if there is no value in its grace.
   */
  getOrSet<T>(options: GetOrSetOptions, factory: (context: FactoryContext<T>) => T | Promise<T>): Promise<T>;
  /** Deletes every entry with this tag, in all processes, also those of users and tenants. Rejects like `delete`. */
  deleteByTag(tag: string): Promise<void>;
  /** Empties this view and the namespaces within it. A shared view is emptied with its users and tenants. Rejects like `delete`. */
  clear(): Promise<void>;
  /** A view with keys of its own. The name is 1 to 64 letters, digits, `_` and `-`. */
  namespace(name: string): RequestCache;
  /** The view of the signed-in user, with keys of its own. Throws a TypeError if nobody is signed in. */
  forUser(): RequestCache;
  /** The view of the user's tenant, by the option `cache.tenantClaim`. Throws a TypeError without a tenant. */
  forTenant(): RequestCache;
}

/** The methods of every view of the cache, in a request and outside. */
export type Cache = Omit<RequestCache, "namespace" | "forUser" | "forTenant">;

/** The cache outside requests, as `gate.cache`. It has the same entries. */
export interface GateCache extends Cache {
  /** A view with keys of its own. The name is 1 to 64 letters, digits, `_` and `-`. */
  namespace(name: string): GateCache;
  /** The view of the user with this `auth.principal`. */
  forUser(principal: string): GateCache;
  /** The view of a tenant, by the value that its tokens have in `cache.tenantClaim`. The number 42 is the same as "42". */
  forTenant(tenant: Identifier): GateCache;
}
