import type { Duration } from "../lib/duration.js";
import { durationMs } from "../lib/duration.js";
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  checkString,
  optionError,
  rangeError,
  strings,
} from "../lib/validate.js";
import type { CodecChoice } from "./codec.js";

/** How long a value is good, and what happens when it is not. Of the gate, and of one call. */
export interface CachePolicy {
  /** How long a value is fresh. @default "5m" */
  readonly ttl?: Duration | undefined;
  /** How long after that it is kept, to be used if no new one is to be had (stale-if-error, RFC 5861 4). @default none */
  readonly grace?: Duration | undefined;
  /** Who could have an old value waits for a new one so long; it is then made in the background. @default none */
  readonly timeout?: Duration | undefined;
  /** Nobody waits longer: then a `CacheTimeout` (503), and the factory's signal is aborted. @default "30s" */
  readonly hardTimeout?: Duration | undefined;
  /** Answer from the grace at once, and make a new value in the background (RFC 5861 3). @default false */
  readonly swr?: boolean | undefined;
  /** Make a new value in the background when this part of `ttl` has gone by: 0.01 to 0.99. @default never */
  readonly earlyRefresh?: number | undefined;
  /** Shortens each `ttl` by up to this part at random, so that what was made together does not end together: 0 to 0.5. @default 0 */
  readonly jitter?: number | undefined;
  /** How long it is remembered that a factory found nothing (undefined or null). @default undefined is not kept, null is for `ttl` */
  readonly negativeTtl?: Duration | undefined;
}

export interface LocalCacheOptions {
  /** A value in process is used for so long without asking Redis, unless its namespace is tracked. @default "5s" */
  readonly ttl?: Duration | undefined;
  /** @default 5_000 */
  readonly entries?: number | undefined;
  /** Roughly. @default 33_554_432 (32 MiB) */
  readonly bytes?: number | undefined;
  /** Every read gets a value of its own, which it may change, and which takes as long as reading it. @default false: frozen */
  readonly copies?: boolean | undefined;
}

export interface CacheOptions extends CachePolicy {
  /** Remember within a request what it has read. @default true */
  readonly memo?: boolean | undefined;
  /** The tier in this process; `false` for none. */
  readonly local?: LocalCacheOptions | false | undefined;
  /** `false` keeps values in this process alone. @default true: in the gate's Redis */
  readonly redis?: boolean | undefined;
  /** Namespaces whose every change Redis tells all processes, or `true` for all. @default [] */
  readonly tracked?: boolean | readonly string[] | undefined;
  /** @default "json" */
  readonly codec?: CodecChoice | undefined;
  /** Longest encoded value, in UTF-16 units. @default 1_048_576 */
  readonly maxValueSize?: number | undefined;
  /**
   * The claim (or its path, as `"org.id"`) that says which tenant a user belongs to, for `forTenant()`: text or an integer.
   * A token with another value is refused.
   * @default none
   */
  readonly tenantClaim?: string | undefined;
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
  checkObject("cache", options, [...policyNames, ...otherNames]);
  const { memo = true, local = {}, redis = true, tracked = [], codec = "json", maxValueSize = 2 ** 20 } = options;
  const { tenantClaim } = options;
  checkBoolean("cache.memo", memo);
  checkBoolean("cache.redis", redis);
  checkInteger("cache.maxValueSize", maxValueSize, 1, 2 ** 28);
  if (tenantClaim !== undefined) checkString("cache.tenantClaim", tenantClaim);
  return {
    policy: resolveCachePolicy("cache.", options, defaults),
    memo,
    redis,
    maxValueSize,
    tenantClaim,
    local: local === false ? undefined : resolveLocal(local),
    copies: local !== false && local.copies === true,
    tracked: resolveTracked(tracked),
    codec: resolveCodec(codec),
  };
}

/** The policy of a gate or of one call, on top of another. */
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
    throw optionError(`${prefix}swr`, 'answers with values past their ttl, so say for how long: grace: "1m"');
  if (timeout !== undefined && graceMs === 0)
    throw optionError(`${prefix}timeout`, 'is for who could have an old value: add grace: "1m", or use hardTimeout');
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

/** Names of namespaces, with those within them. One that another one covers is left out. */
function resolveTracked(tracked: boolean | readonly string[]): true | readonly string[] {
  if (typeof tracked === "boolean") return tracked ? true : [];
  if (Array.isArray(tracked) && tracked.length === 0) return [];
  const names = strings("cache.tracked", tracked);
  for (const name of names) {
    if (!/^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64})*$/.test(name))
      throw optionError("cache.tracked", 'takes names of namespaces, such as ["rates", "catalogue.prices"]');
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
