import type { Identifier } from "../auth/identifying-claim.js";
import { checkIdentifying } from "../auth/identifying-claim.js";
import { resolveCachePolicy } from "./options.js";
import { isList, kindOf, optionError } from "../lib/validate.js";
import type { CachedEntry } from "./cached-entry.js";
import type { CacheParts } from "./cache-parts.js";
import type { FactoryContext } from "./factory-runner.js";
import { applyJitter } from "./factory-runner.js";
import type { GetOrSetRequest } from "./get-or-set.js";
import type { Region } from "./regions.js";
import { sharedScope } from "./regions.js";
import type { MemoCell, RequestScope } from "./request-scope.js";
import type { CacheSetOptions, GateCache, GetOrSetOptions, RequestCache } from "./cache-types.js";

type Factory<T> = (context: FactoryContext<T>) => T | Promise<T>;

const namespaceName = /^[A-Za-z0-9_-]{1,64}$/;
const absent: MemoCell = { promise: Promise.resolve(undefined), isHit: false };

/**
 * A view of the cache. What memo or process can answer is answered synchronously, at the cost of a promise at most: keep
 * `get` and `getOrSet` free of closures and of `async`.
 */
export class CacheView implements RequestCache, GateCache {
  readonly #service: CacheParts;
  readonly #request: RequestScope;
  readonly #region: Region;
  /** What this request remembers of this place; made when it is first asked. */
  #memoCells: Map<string, MemoCell> | undefined;

  constructor(service: CacheParts, request: RequestScope, region: Region) {
    this.#service = service;
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

  getOrSet<T>(options: GetOrSetOptions, factory: Factory<T>): Promise<T> {
    const { key, forceFresh, earlyRefresh } = options;
    if (forceFresh !== true) {
      const cell = this.#memo?.get(key);
      if (cell?.isHit === true) {
        this.#region.statistics.count("memo");
        return cell.promise as Promise<T>;
      }
      const entry = cell === undefined ? this.#readLocal(key) : undefined;
      if (entry !== undefined) {
        if (earlyRefresh !== undefined || this.#service.refreshesEarly) {
          this.#service.getOrSet.refreshEarly(entry, this.#requestOf(options, factory));
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
    const { ttlMs, graceMs, jitter } = resolveCachePolicy("", options, this.#service.policy);
    const tags = checkTags(options.tags);
    const { codecs } = this.#service.cache;
    const encoded = Array.from(entries, ([key, value]) => {
      checkKey(key);
      const payload = codecs.encode(value);
      this.#service.checkSize(payload);
      return { key, value, payload };
    });
    for (const { key, value, payload } of encoded) {
      this.#checkSharing(options, key, payload);
      this.#memo?.set(key, { promise: Promise.resolve(value), isHit: value !== undefined });
    }
    const common = { letter: codecs.letter, graceMs, tags };
    await this.#service.writer.write(
      this.#region,
      encoded.map(({ key, payload }) => ({ ...common, key, payload, freshMs: applyJitter(ttlMs, jitter) })),
    );
  }

  async delete(key: string): Promise<void> {
    checkKey(key);
    this.#memo?.set(key, absent);
    this.#request.pending.delete(this.#region.prefix + key);
    await this.#service.cache.delete(this.#region, key);
  }

  async deleteByTag(tag: string): Promise<void> {
    const [checked = ""] = checkTags([tag]);
    this.#clearMemo();
    await this.#service.cache.deleteByTag(checked);
  }

  async clear(): Promise<void> {
    this.#clearMemo();
    await this.#service.cache.clear(this.#region);
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
    return this.#view(`user:${this.#service.cache.keys.holder(principal, this.#request.issuers)}`, this.#region.path);
  }

  forTenant(tenant: Identifier | undefined = this.#service.tenantOf(this.#request)): CacheView {
    if (tenant === undefined || tenant === "")
      throw new TypeError("cache.forTenant() needs a signed-in user whose token names a tenant: see cache.tenantClaim");
    const text = checkIdentifying("cache.forTenant()", tenant);
    return this.#view(`tenant:${this.#service.cache.keys.holder(text, this.#request.issuers)}`, this.#region.path);
  }

  /** Undefined where nothing is remembered. */
  get #memo(): Map<string, MemoCell> | undefined {
    return (this.#memoCells ??= this.#request.memoOf(this.#region));
  }

  #view(scope: string, path: string): CacheView {
    return new CacheView(this.#service, this.#request, this.#service.cache.regions.at(scope, path));
  }

  /** What this process has, if it is fresh. */
  #readLocal(key: string): CachedEntry | undefined {
    const { local } = this.#service.cache;
    if (local === undefined || typeof key !== "string") return undefined;
    const now = performance.now();
    const entry = local.get(this.#region, key, now);
    return entry !== undefined && now < entry.freshUntil ? entry : undefined;
  }

  #answerFrom(key: string, entry: CachedEntry): Promise<unknown> {
    this.#region.statistics.count("local");
    const promise = Promise.resolve(entry.read());
    // An answer that there is nothing is one too.
    this.#memo?.set(key, { promise, isHit: true });
    return promise;
  }

  #readStore(key: string): Promise<unknown> {
    if (!isKey(key)) return Promise.reject(new TypeError(badKey));
    const { statistics } = this.#region;
    const memo = this.#memo;
    let cell: MemoCell | undefined;
    const promise = this.#service.cache.fetch(this.#region, key).then((entry) => {
      const isHit = entry !== undefined && performance.now() < entry.freshUntil;
      statistics.count(isHit ? "store" : "miss");
      if (cell !== undefined) cell.isHit = isHit;
      return isHit ? entry.read() : undefined;
    });
    if (memo !== undefined) {
      cell = { promise, isHit: undefined };
      memo.set(key, cell);
    }
    return promise;
  }

  async #resolve<T>(options: GetOrSetOptions, factory: Factory<T>): Promise<unknown> {
    checkKey(options.key);
    const request = this.#requestOf(options, factory);
    const { pending } = this.#request;
    const name = this.#region.prefix + request.key;
    const pendingCall = request.force ? undefined : pending.get(name);
    if (pendingCall !== undefined) return pendingCall;
    const call = this.#resolveOnce(request).finally(() => {
      if (pending.get(name) === call) pending.delete(name);
    });
    // Outside requests each call is one of its own, and only their making is shared.
    if (this.#memo !== undefined) pending.set(name, call);
    return call;
  }

  async #resolveOnce(request: GetOrSetRequest): Promise<unknown> {
    const { key, force, policy } = request;
    const before = this.#memo?.get(key);
    if (!force && before !== undefined && before.isHit === undefined) await before.promise;
    if (!force && before?.isHit === true) return before.promise;
    // A read that found nothing has not looked for what is in its grace.
    const isMissing = before?.isHit === false && policy.graceMs === 0;
    const value = await this.#service.getOrSet.resolve(request, isMissing);
    // What this request wrote or deleted meanwhile is newer.
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
      policy: resolveCachePolicy("", options, this.#service.policy),
      factory: factory as (context: FactoryContext) => unknown,
      force: forceFresh,
      requestSignal: this.#request.signal,
      signal,
      checkPayload: (payload) => this.#checkSharing(options, key, payload),
      onTooLarge: (size) => this.#service.warnOfSize(this.#region, size),
    };
  }

  #checkSharing({ shared }: CacheSetOptions, key: string, payload: string): void {
    const { warning } = this.#service;
    if (warning.isSilent || shared === true || this.#region.scope !== sharedScope) return;
    const auth = this.#request.auth;
    if (auth !== undefined) warning.check(auth, this.#region.path, key, payload);
  }

  /** Everything this request remembers may be gone. */
  #clearMemo(): void {
    this.#request.clear();
  }
}

const badKey = "a cache key is a non-empty string";

function isKey(key: unknown): key is string {
  return typeof key === "string" && key !== "";
}

function checkKey(key: unknown): asserts key is string {
  if (!isKey(key)) throw new TypeError(badKey);
}

const noTags: readonly string[] = [];
const maxTags = 64;

function checkTags(tags: readonly string[] | undefined): readonly string[] {
  if (tags === undefined) return noTags;
  const isValid = isList(tags) && tags.length <= maxTags && tags.every((tag) => typeof tag === "string" && tag !== "");
  if (!isValid) throw new TypeError(`tags are a list of at most ${maxTags} non-empty strings`);
  return tags.length < 2 ? tags : [...new Set(tags)];
}
