import type { Identifier } from "../auth/identifying-claim.js";
import { checkIdentifying } from "../auth/identifying-claim.js";
import { isList, kindOf, optionError } from "../lib/validate.js";
import type { Keyspace } from "../store/keyspace.js";
import type { CacheSetOptions, FactoryContext, GateCache, GetOrSetOptions, RequestCache } from "./cache-types.js";
import type { Codecs, CachedEntry } from "./entry.js";
import { applyJitter } from "./factory-runner.js";
import type { GetOrSet, GetOrSetRequest } from "./get-or-set.js";
import type { LocalTier } from "./local-tier.js";
import type { ResolvedCachePolicy } from "./options.js";
import { checkGetOrSet, checkSet, resolveCachePolicy } from "./options.js";
import type { Region, Regions } from "./regions.js";
import { sharedScope } from "./regions.js";

import type { Tiers } from "./tiers.js";
import type { OversizeWarning, SharedUserWarning } from "./warnings.js";
import type { Auth } from "../auth/claims.js";
import type { VerifiedToken } from "../auth/verifier.js";
import type { IssuerScope } from "../auth/issuer-scope.js";
import { steadyNow } from "../lib/steady-clock.js";

/** The parts of a cache that its views use. They share one object, since each request makes a view. */
export interface CacheParts {
  readonly regions: Regions;
  /** The tier in this process, which views ask without waiting; undefined where there is none. */
  readonly local: LocalTier | undefined;
  readonly tiers: Tiers;
  readonly getOrSet: GetOrSet;
  readonly codecs: Codecs;
  /** Do requests share values? Then values are frozen. */
  readonly isShared: boolean;
  readonly keys: Keyspace;
  readonly policy: ResolvedCachePolicy;
  /** UTF-16 units. */
  readonly maxValueSize: number;
  readonly sharedUserWarning: SharedUserWarning;
  readonly oversizeWarning: OversizeWarning;
  /** The tenant that the token of a request names; undefined without one. Throws a DenialError for a wrong claim. */
  readonly tenantOf: (request: RequestScope) => string | undefined;
}

type Factory<T> = (context: FactoryContext<T>) => T | Promise<T>;

const namespaceName = /^[A-Za-z0-9_-]{1,64}$/;
/** A call without options, which is refused later: a check here would delay every hit. */
const noOptions: GetOrSetOptions = { key: "" };
const absent: MemoCell = { promise: Promise.resolve(undefined), isHit: false };

/**
 * A view of the cache. A hit in the memo or in process is answered synchronously and costs one promise at most: keep `get`
 * and `getOrSet` free of closures and of `async`.
 */
export class CacheView implements RequestCache, GateCache {
  readonly #parts: CacheParts;
  readonly #request: RequestScope;
  readonly #region: Region;
  /** The memo of this region; created at the first read. */
  #memoCells: Map<string, MemoCell> | undefined;

  constructor(parts: CacheParts, request: RequestScope, region: Region) {
    this.#parts = parts;
    this.#request = request;
    this.#region = region;
  }

  get<T>(key: string): Promise<T | undefined> {
    const cell = this.#memo?.get(key);
    if (cell !== undefined) {
      this.#region.statistics.count(cell.isHit === false ? "miss" : "memo");
      return cell.promise as Promise<T | undefined>;
    }
    const entry = this.#readLocal(key);
    return (entry === undefined ? this.#readStore(key) : this.#answerFrom(key, entry)) as Promise<T | undefined>;
  }

  getOrSet<T>(options: GetOrSetOptions | undefined = noOptions, factory: Factory<T>): Promise<T> {
    const { key, forceFresh, earlyRefresh } = options;
    if (forceFresh !== true) {
      const cell = this.#memo?.get(key);
      if (cell?.isHit === true) {
        this.#region.statistics.count("memo");
        return cell.promise as Promise<T>;
      }
      const entry = cell === undefined ? this.#readLocal(key) : undefined;
      if (entry !== undefined) {
        if (earlyRefresh !== undefined || this.#parts.policy.earlyRefresh !== undefined) {
          this.#parts.getOrSet.refreshEarly(entry, this.#requestOf(options, factory));
        }
        return this.#answerFrom(key, entry) as Promise<T>;
      }
    }
    return this.#resolve(options, factory) as Promise<T>;
  }

  async set(key: string, value: unknown, options: CacheSetOptions = {}): Promise<void> {
    await this.setMany([[key, value]], options);
  }

  async setMany(
    entries: Iterable<readonly [key: string, value: unknown]>,
    options: CacheSetOptions = {},
  ): Promise<void> {
    checkSet(options);
    const { ttlMs, graceMs, jitter } = resolveCachePolicy("", options, this.#parts.policy);
    const tags = checkTags(options.tags);
    const { codecs, isShared } = this.#parts;
    const memo = this.#memo;
    const encoded = Array.from(entries, ([key, value]) => {
      checkKey(key);
      const payload = codecs.encode(value);
      checkSize(payload, this.#parts.maxValueSize);
      return { key, value, payload };
    });
    for (const { key, value, payload } of encoded) {
      this.#checkSharing(options, key, payload);
      // Later reads of the request get what other requests get, and not the object of the caller.
      const copy = memo === undefined ? undefined : codecs.readBack(payload, isShared, value);
      memo?.set(key, { promise: Promise.resolve(copy), isHit: value !== undefined });
    }
    const common = { letter: codecs.letter, graceMs, tags };
    await this.#parts.tiers.write(
      this.#region,
      encoded.map(({ key, payload }) => ({ ...common, key, payload, freshMs: applyJitter(ttlMs, jitter) })),
    );
  }

  async delete(key: string): Promise<void> {
    checkKey(key);
    this.#memo?.set(key, absent);
    this.#request.pending.delete(this.#region.prefix + key);
    await this.#parts.tiers.delete(this.#region, key);
  }

  async deleteByTag(tag: string): Promise<void> {
    const [checked = ""] = checkTags([tag]);
    this.#clearMemo();
    await this.#parts.tiers.deleteByTag(checked);
  }

  async clear(): Promise<void> {
    this.#clearMemo();
    await this.#parts.tiers.clear(this.#region);
  }

  async has(key: string): Promise<boolean> {
    return (await this.get(key)) !== undefined;
  }

  async getMany<T>(keys: readonly string[]): Promise<(T | undefined)[]> {
    return Promise.all(keys.map((key) => this.get<T>(key)));
  }

  namespace(name: string): CacheView {
    if (typeof name !== "string" || !namespaceName.test(name))
      throw new TypeError("a cache namespace is 1 to 64 letters, digits, _ and -");
    const { scope, path } = this.#region;
    return this.#view(scope, path === "" ? name : `${path}.${name}`);
  }

  forUser(principal: string | undefined = this.#request.auth?.principal): CacheView {
    if (principal === undefined || principal === "")
      throw new TypeError("cache.forUser() needs a signed-in user; mount guard() or authenticate() before it");
    if (typeof principal !== "string")
      throw optionError("cache.forUser()", `takes auth.principal, a non-empty string, not ${kindOf(principal)}`);
    return this.#view(`user:${this.#parts.keys.holder(principal, this.#request.issuers)}`, this.#region.path);
  }

  forTenant(tenant: Identifier | undefined = this.#parts.tenantOf(this.#request)): CacheView {
    if (tenant === undefined || tenant === "")
      throw new TypeError("cache.forTenant() needs a signed-in user whose token names a tenant: see cache.tenantClaim");
    const text = checkIdentifying("cache.forTenant()", tenant);
    return this.#view(`tenant:${this.#parts.keys.holder(text, this.#request.issuers)}`, this.#region.path);
  }

  /** Undefined where the cache has no memo. */
  get #memo(): Map<string, MemoCell> | undefined {
    return (this.#memoCells ??= this.#request.memoOf(this.#region));
  }

  #view(scope: string, path: string): CacheView {
    return new CacheView(this.#parts, this.#request, this.#parts.regions.at(scope, path));
  }

  /** A fresh entry in this process. */
  #readLocal(key: string): CachedEntry | undefined {
    const { local } = this.#parts;
    if (local === undefined || typeof key !== "string") return undefined;
    const now = steadyNow();
    const entry = local.get(this.#region, key, now);
    return entry !== undefined && now < entry.freshUntil ? entry : undefined;
  }

  #answerFrom(key: string, entry: CachedEntry): Promise<unknown> {
    this.#region.statistics.count("local");
    const promise = Promise.resolve(entry.read());
    // A negative entry is a hit, too.
    this.#memo?.set(key, { promise, isHit: true });
    return promise;
  }

  #readStore(key: string): Promise<unknown> {
    if (!isKey(key)) return Promise.reject(new TypeError(badKey));
    const memo = this.#memo;
    const cell: MemoCell | undefined = memo === undefined ? undefined : { promise: absent.promise, isHit: undefined };
    const promise = this.#parts.tiers.read(this.#region, key, noTags, useFresh, cell);
    if (cell === undefined) return promise;
    cell.promise = promise;
    memo?.set(key, cell);
    return promise;
  }

  async #resolve<T>(options: GetOrSetOptions, factory: Factory<T>): Promise<unknown> {
    checkGetOrSet(options, factory);
    checkKey(options.key);
    const request = this.#requestOf(options, factory);
    const { pending } = this.#request;
    const name = this.#region.prefix + request.key;
    const pendingCall = request.force ? undefined : pending.get(name);
    if (pendingCall !== undefined) return pendingCall;
    const call = this.#resolveOnce(request).finally(() => {
      if (pending.get(name) === call) pending.delete(name);
    });
    // Outside requests calls share only the run of the factory.
    if (this.#memo !== undefined) pending.set(name, call);
    return call;
  }

  async #resolveOnce(request: GetOrSetRequest): Promise<unknown> {
    const { key, force, policy } = request;
    const before = this.#memo?.get(key);
    if (!force && before !== undefined && before.isHit === undefined) await before.promise;
    if (!force && before?.isHit === true) return before.promise;
    // A read that was a miss has not looked for an entry in its grace.
    const isMissing = before?.isHit === false && policy.graceMs === 0;
    const value = await this.#parts.getOrSet.resolve(request, isMissing);
    // A write or a deletion by this request meanwhile is newer.
    if (value !== undefined && this.#memo?.get(key) === before)
      this.#memo?.set(key, { promise: Promise.resolve(value), isHit: true });
    return value;
  }

  #requestOf<T>(options: GetOrSetOptions, factory: Factory<T>): GetOrSetRequest {
    const { key, forceFresh = false, signal } = options;
    return {
      region: this.#region,
      key,
      tags: checkTags(options.tags),
      policy: resolveCachePolicy("", options, this.#parts.policy),
      factory: factory as (context: FactoryContext) => unknown,
      force: forceFresh,
      requestSignal: this.#request.signal,
      signal,
      checkPayload: (payload) => this.#checkSharing(options, key, payload),
      onTooLarge: (size) => this.#parts.oversizeWarning.warn(this.#region.statistics.namespace, size),
    };
  }

  #checkSharing({ shared }: CacheSetOptions, key: string, payload: string): void {
    const { sharedUserWarning: warning } = this.#parts;
    if (warning.isSilent || shared === true || this.#region.scope !== sharedScope) return;
    const auth = this.#request.auth;
    if (auth !== undefined) warning.check(auth, this.#region.path, key, payload);
  }

  #clearMemo(): void {
    this.#request.clear();
  }
}

function checkSize(payload: string, maxValueSize: number): void {
  if (payload.length <= maxValueSize) return;
  const message = `a cached value of ${payload.length} UTF-16 units is larger than cache.maxValueSize, ${maxValueSize}`;
  throw Object.assign(new RangeError(message), { code: "cache_value_too_large" });
}

const badKey = "a cache key is a non-empty string";

function isKey(key: unknown): key is string {
  return typeof key === "string" && key !== "";
}

function checkKey(key: unknown): asserts key is string {
  if (!isKey(key)) throw new TypeError(badKey);
}

const noTags: readonly string[] = [];

/** The value of an entry that is fresh. It tells the memo of the request, where there is one. */
function useFresh(entry: CachedEntry | undefined, { statistics }: Region, cell: MemoCell | undefined): unknown {
  const isHit = entry !== undefined && steadyNow() < entry.freshUntil;
  statistics.count(isHit ? "store" : "miss");
  if (cell !== undefined) cell.isHit = isHit;
  return isHit ? entry.read() : undefined;
}
const maxTags = 64;

function checkTags(tags: readonly string[] | undefined): readonly string[] {
  if (tags === undefined) return noTags;
  const isValid = isList(tags) && tags.length <= maxTags && tags.every((tag) => typeof tag === "string" && tag !== "");
  if (!isValid) throw new TypeError(`tags are a list of at most ${maxTags} non-empty strings`);
  return tags.length < 2 ? tags : [...new Set(tags)];
}

/** The memo of one key: the value that the request has read or written. */
export interface MemoCell {
  promise: Promise<unknown>;
  /** Undefined until the read has ended. */
  isHit: boolean | undefined;
}

/** The sender of a request as its gates know it now: that may change with every check. */
export interface RequestSender {
  /** The user whom handlers see, as its gate knows it. */
  readonly shown: {
    readonly facts: { readonly auth: Auth | undefined };
    readonly verified: Pick<VerifiedToken, "issuers"> | undefined;
  };
}

/** The state that all views of one request share: user, signal, memo. Cheap to create, since most requests do not read. */
export class RequestScope {
  readonly #sender: RequestSender | undefined;
  readonly #source: { readonly signal: AbortSignal } | undefined;
  readonly #hasMemo: boolean;
  #memos: Map<string, Map<string, MemoCell>> | undefined;
  #pending: Map<string, Promise<unknown>> | undefined;

  /** Without a sender it stands for calls outside requests: nobody is signed in. */
  constructor(
    sender: RequestSender | undefined,
    source: { readonly signal: AbortSignal } | undefined,
    hasMemo: boolean,
  ) {
    this.#sender = sender;
    this.#source = source;
    this.#hasMemo = hasMemo;
  }

  get auth(): Auth | undefined {
    return this.#sender?.shown.facts.auth;
  }

  /** The issuers of the gate that verified the token; undefined without a token. */
  get issuers(): IssuerScope | undefined {
    return this.#sender?.shown.verified?.issuers;
  }

  /** Aborted when the request ends. */
  get signal(): AbortSignal | undefined {
    return this.#source?.signal;
  }

  /** Pending calls of getOrSet, by the prefix of the region and the key. */
  get pending(): Map<string, Promise<unknown>> {
    return (this.#pending ??= new Map());
  }

  /** The memo of a region, by key; undefined where the cache has no memo. */
  memoOf({ prefix }: Region): Map<string, MemoCell> | undefined {
    if (!this.#hasMemo) return undefined;
    this.#memos ??= new Map();
    const known = this.#memos.get(prefix);
    if (known !== undefined) return known;
    const made = new Map<string, MemoCell>();
    this.#memos.set(prefix, made);
    return made;
  }

  /** Clears the memo of all regions. */
  clear(): void {
    for (const memo of this.#memos?.values() ?? []) memo.clear();
    this.#pending?.clear();
  }
}
