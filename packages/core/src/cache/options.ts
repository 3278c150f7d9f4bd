import type { ClaimPath } from "../auth/identifying-claim.js";
import { resolveClaimPath } from "../auth/identifying-claim.js";
import type { Duration } from "../lib/duration.js";
import { durationMs } from "../lib/duration.js";
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  optionError,
  rangeError,
  strings,
} from "../lib/validate.js";
import type { CodecChoice } from "./entry.js";

/** How long a value is used, and what happens afterwards. The gate has a policy, and a call may change parts of it. */
export interface CachePolicy {
  /** How long a value is fresh. @default "5m" */
  readonly ttl?: Duration | undefined;
  /** Keep a value for this time after `ttl`, and use it if the factory fails (stale-if-error, RFC 5861 4). @default none */
  readonly grace?: Duration | undefined;
  /** Soft timeout: if a stale value exists, return it after this time and let the factory finish in the background. @default none */
  readonly timeout?: Duration | undefined;
  /** Hard timeout: reject with a `CacheTimeout` (503) after this time. The factory's signal is aborted when no call waits. @default "30s" */
  readonly hardTimeout?: Duration | undefined;
  /** Return a stale value in its grace at once, and make a new one in the background (RFC 5861 3). @default false */
  readonly swr?: boolean | undefined;
  /** Make a new value in the background after this part of `ttl`: 0.01 to 0.99. @default never */
  readonly earlyRefresh?: number | undefined;
  /** Shorten each `ttl` at random by up to this part, 0 to 0.5, so that entries stored together do not expire together. @default 0 */
  readonly jitter?: number | undefined;
  /** How long undefined or null from a factory is kept. @default undefined is not kept, null is kept for `ttl` */
  readonly negativeTtl?: Duration | undefined;
}

/** Options of the cache in this process. */
export interface LocalCacheOptions {
  /** How long a value in process is used without asking Redis. A tracked namespace needs no such limit. @default "5s" */
  readonly ttl?: Duration | undefined;
  /** Maximum number of entries. @default 5_000 */
  readonly entries?: number | undefined;
  /** Maximum size of all entries, roughly. @default 33_554_432 (32 MiB) */
  readonly bytes?: number | undefined;
  /** `true`: each read decodes a copy, which the caller may change. `false`: reads share a frozen value. @default false */
  readonly copies?: boolean | undefined;
}

/** Options of the cache. */
export interface CacheOptions extends CachePolicy {
  /** The memo: a request reads each key once. @default true */
  readonly memo?: boolean | undefined;
  /** The tier in this process; `false` for none. */
  readonly local?: LocalCacheOptions | false | undefined;
  /** `true`: values are in the gate's Redis. `false`: they are in this process only. @default true */
  readonly redis?: boolean | undefined;
  /** Namespaces whose changes Redis reports to all processes at once; `true` for all. @default [] */
  readonly tracked?: boolean | readonly string[] | undefined;
  /** How values become text. @default "json" */
  readonly codec?: CodecChoice | undefined;
  /** Maximum length of an encoded value, in UTF-16 units. @default 1_048_576 */
  readonly maxValueSize?: number | undefined;
  /**
   * The claim that names the tenant of a user, for `forTenant()`: a name, or a path as `"org.id"`. Its value is text or an
   * integer; a token with another value is refused.
   * @default none
   */
  readonly tenantClaim?: ClaimPath | undefined;
}

export interface ResolvedCachePolicy {
  readonly ttlMs: number;
  readonly graceMs: number;
  readonly timeoutMs: number | undefined;
  readonly hardTimeoutMs: number;
  readonly swr: boolean;
  readonly earlyRefresh: number | undefined;
  readonly jitter: number;
  readonly negativeTtlMs: number | undefined;
}

export interface ResolvedCache {
  readonly policy: ResolvedCachePolicy;
  readonly memo: boolean;
  readonly local: { readonly ttlMs: number; readonly entries: number; readonly bytes: number } | undefined;
  readonly copies: boolean;
  readonly redis: boolean;
  readonly tracked: true | readonly string[];
  readonly codec: CodecChoice;
  readonly maxValueSize: number;
  readonly tenantClaim: string | undefined;
}

const policyNames = ["ttl", "grace", "timeout", "hardTimeout", "swr", "earlyRefresh", "jitter", "negativeTtl"];
const otherNames = ["memo", "local", "redis", "tracked", "codec", "maxValueSize", "tenantClaim"];

const defaults: ResolvedCachePolicy = {
  ttlMs: 300_000,
  graceMs: 0,
  timeoutMs: undefined,
  hardTimeoutMs: 30_000,
  swr: false,
  earlyRefresh: undefined,
  jitter: 0,
  negativeTtlMs: undefined,
};

export function resolveCache(options: CacheOptions): ResolvedCache {
  const example = '{ ttl: "5m" } (without it, the defaults hold)';
  checkObject("cache", options, [...policyNames, ...otherNames], example);
  const { memo = true, local = {}, redis = true, tracked = [], codec = "json", maxValueSize = 2 ** 20 } = options;
  const { tenantClaim } = options;
  checkBoolean("cache.memo", memo);
  checkBoolean("cache.redis", redis);
  checkInteger("cache.maxValueSize", maxValueSize, 1, 2 ** 28);
  return {
    policy: resolveCachePolicy("cache.", options, defaults),
    memo,
    redis,
    maxValueSize,
    tenantClaim: tenantClaim === undefined ? undefined : resolveClaimPath("cache.tenantClaim", tenantClaim),
    local: local === false ? undefined : resolveLocal(local),
    copies: local !== false && local.copies === true,
    tracked: resolveTracked(tracked),
    codec: resolveCodec(codec),
  };
}

/** A policy whose missing parts come from `base`. */
export function resolveCachePolicy(
  prefix: string,
  options: CachePolicy,
  base: ResolvedCachePolicy,
): ResolvedCachePolicy {
  const { ttl, grace, timeout, hardTimeout, swr = base.swr, earlyRefresh, jitter, negativeTtl } = options;
  const ms = (name: string, value: Duration | undefined): number | undefined =>
    value === undefined ? undefined : durationMs(prefix + name, value);
  if (options.swr !== undefined) checkBoolean(`${prefix}swr`, swr);
  if (earlyRefresh !== undefined) checkPart(`${prefix}earlyRefresh`, earlyRefresh, 0.01, 0.99);
  if (jitter !== undefined) checkPart(`${prefix}jitter`, jitter, 0, 0.5);
  const graceMs = ms("grace", grace) ?? base.graceMs;
  if (options.swr === true && graceMs === 0)
    throw optionError(`${prefix}swr`, 'returns stale values: add the time for which they may be used, as grace: "1m"');
  if (timeout !== undefined && graceMs === 0)
    throw optionError(`${prefix}timeout`, 'returns a stale value after this time: add grace: "1m", or use hardTimeout');
  return {
    ttlMs: ms("ttl", ttl) ?? base.ttlMs,
    graceMs,
    timeoutMs: ms("timeout", timeout) ?? base.timeoutMs,
    hardTimeoutMs: ms("hardTimeout", hardTimeout) ?? base.hardTimeoutMs,
    swr,
    earlyRefresh: earlyRefresh ?? base.earlyRefresh,
    jitter: jitter ?? base.jitter,
    negativeTtlMs: ms("negativeTtl", negativeTtl) ?? base.negativeTtlMs,
  };
}

const setNames = ["ttl", "grace", "jitter", "tags", "shared"];
const getOrSetNames = [...policyNames, "key", "tags", "shared", "forceFresh", "signal"];

/** Checks the shape of a call of `set()` or `setMany()`. */
export function checkSet(options: unknown): void {
  if (typeof options === "number" || typeof options === "string")
    throw optionError("cache.set()", `takes its options as an object: set(key, value, { ttl: "5m" })`);
  checkObject("cache.set()", options, setNames);
}

/** Checks the shape of a call of `getOrSet()`, whose key and factory other libraries take one after the other. */
export function checkGetOrSet(options: unknown, factory: unknown): void {
  const shape = 'getOrSet({ key: "users:42", ttl: "5m" }, () => load())';
  if (typeof options !== "object" || options === null)
    throw optionError("getOrSet()", `takes an object with the key, and a function that makes the value: ${shape}`);
  checkObject("getOrSet()", options, getOrSetNames);
  if (typeof factory !== "function")
    throw optionError("getOrSet()", `needs a function that makes the value as its second argument: ${shape}`);
}

function checkPart(option: string, value: unknown, min: number, max: number): void {
  if (typeof value !== "number" || !(value >= min && value <= max))
    throw rangeError(option, `must be a number from ${min} to ${max}`);
}

function resolveLocal(options: LocalCacheOptions): NonNullable<ResolvedCache["local"]> {
  checkObject("cache.local", options, ["ttl", "entries", "bytes", "copies"]);
  const { ttl = "5s", entries = 5_000, bytes = 2 ** 25, copies = false } = options;
  checkInteger("cache.local.entries", entries, 1, 10_000_000);
  checkInteger("cache.local.bytes", bytes, 1024, 2 ** 40);
  checkBoolean("cache.local.copies", copies);
  return { ttlMs: durationMs("cache.local.ttl", ttl, 3_600_000), entries, bytes };
}

/** Names of namespaces. A name within another one is left out. */
function resolveTracked(tracked: boolean | readonly string[]): true | readonly string[] {
  if (typeof tracked === "boolean") return tracked ? true : [];
  if (Array.isArray(tracked) && tracked.length === 0) return [];
  const names = strings("cache.tracked", tracked);
  for (const name of names) {
    if (!/^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64})*$/.test(name))
      throw optionError("cache.tracked", 'must be names of namespaces, such as ["rates", "catalogue.prices"]');
  }
  return [...new Set(names)].filter((name) => !names.some((other) => name.startsWith(`${other}.`)));
}

function resolveCodec(codec: unknown): CodecChoice {
  if (typeof codec !== "object") {
    checkOneOf("cache.codec", codec, ["json", "structured"]);
    return codec;
  }
  checkObject("cache.codec", codec, ["encode", "decode"]);
  const { encode, decode } = codec as { encode?: unknown; decode?: unknown };
  checkFunction("cache.codec.encode", encode);
  checkFunction("cache.codec.decode", decode);
  return { encode: encode as (value: unknown) => string, decode: decode as (text: string) => unknown };
}
