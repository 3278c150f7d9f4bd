import type { Duration } from "../lib/duration.js";
import { durationMs } from "../lib/duration.js";
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  isList,
  optionError,
  stringsOrNone,
} from "../lib/validate.js";
import type { Of } from "../limits/policy.js";
import type { CredentialRules } from "./credentials.js";
import type { QueryRules } from "./target-uri.js";

/** Options of `gate.cacheResponse()`, which caches the responses of the handlers behind it. */
export interface ResponseCacheOptions<Raw = unknown> {
  /**
   * How long a response is fresh that does not state it by `Cache-Control: max-age`, `s-maxage`, or `Expires`.
   * @default such a response is not stored
   */
  readonly ttl?: Duration | undefined;
  /**
   * `"everyone"`: clients share responses, as in any shared cache. `"user"`: each user has responses of their own, one for each
   * set of claims in the user's tokens; anonymous requests go on to the handler.
   * @default "everyone"
   */
  readonly per?: "everyone" | "user" | undefined;
  /** Tags of the responses, for `gate.responses.purge()`; or a function that returns them. @default none */
  readonly tags?: readonly string[] | Of<readonly string[], Raw> | undefined;
  /** A further part of the key, such as the tenant. A request for which it is undefined goes on to the handler. @default none */
  readonly partition?: Of<string | undefined, Raw> | undefined;
  /** Returns true for a request that must go on to the handler. @default never */
  readonly skip?: Of<boolean, Raw> | undefined;
  /**
   * The only query parameters that are part of the key, by their decoded names; `sort: true` if the order of different names
   * does not matter. If a name can be read in two ways, as `q[]` or `q.x`, the whole query is part of the key.
   * @default all parameters, in the order sent
   */
  readonly query?: readonly string[] | QueryOptions | undefined;
  /**
   * Request headers that count as credentials, besides Authorization, the headers and cookies by which the gate identifies
   * clients, and well-known headers such as `X-Api-Key` and `X-Forwarded-User`. A request with credentials stores and gets
   * only a response that states that it may be shared (RFC 9111 3.5). @default these headers and cookies
   */
  readonly credentials?: CredentialOptions | undefined;
  /** How long a stale response is used while one request makes a new one, unless the response states it (RFC 5861 3). @default never */
  readonly staleWhileRevalidate?: Duration | undefined;
  /** How long a stale response is used instead of a server error, unless the response states it (RFC 5861 4). @default never */
  readonly staleIfError?: Duration | undefined;
  /**
   * How long requests with the same key wait for the response to the first one; once its body is sent in parts, for 100 ms
   * at most. `false`: each request goes on to the handler.
   * @default "5s"
   */
  readonly wait?: Duration | false | undefined;
  /** The maximum size of a stored body, in bytes. @default 1_048_576 */
  readonly maxSize?: number | undefined;
  /** The entity tag that a response without one gets; `false` for none. @default "weak" */
  readonly etag?: "weak" | "strong" | false | undefined;
  /**
   * `false`: each request asks the store, and keeps nothing in this process: a purge by another process is seen at once. The
   * bounds of the tier are those of the gate. @default true
   */
  readonly local?: boolean | undefined;
  /**
   * `"honour"`: a request may ask for more or less freshness by `Cache-Control` (RFC 9111 5.2.1), and reaches the handler with
   * `Range` or `Upgrade`. `"ignore"`: it may not, and the cache evaluates `If-Match`. @default "honour"
   */
  readonly requestDirectives?: "honour" | "ignore" | undefined;
  /** The name of the cache in `Cache-Status` (RFC 9211); `false` for no such field. @default "portcullis" */
  readonly cacheStatus?: string | false | undefined;
}

/** The tier of responses in this process, which all caches of a gate share. */
export interface LocalResponseOptions {
  /** How long a response is used without asking the store: so long a purge may stay unknown if its message is lost. @default "5s" */
  readonly ttl?: Duration | undefined;
  /** Maximum number of responses. @default 5_000 */
  readonly entries?: number | undefined;
  /** Maximum size of all responses with their keys, roughly. @default 10_485_760 (10 MiB) */
  readonly bytes?: number | undefined;
}

/** Options of a gate about all its caches of responses. */
export interface ResponsesOptions {
  /** The tier in this process; `false` for none. */
  readonly local?: LocalResponseOptions | false | undefined;
}

export interface ResolvedResponses {
  readonly local: { readonly ttlMs: number; readonly entries: number; readonly bytes: number } | undefined;
}

export function resolveResponses(options: ResponsesOptions): ResolvedResponses {
  checkObject("responses", options, ["local"]);
  const { local = {} } = options;
  if (local === false) return { local: undefined };
  checkObject("responses.local", local, ["ttl", "entries", "bytes"]);
  const { ttl = "5s", entries = 5_000, bytes = 10 * 2 ** 20 } = local;
  checkInteger("responses.local.entries", entries, 1, 10_000_000);
  checkInteger("responses.local.bytes", bytes, 1024, 2 ** 40);
  return { local: { ttlMs: durationMs("responses.local.ttl", ttl, 3_600_000), entries, bytes } };
}

/** The query parameters that are part of the key. */
export interface QueryOptions {
  /** The decoded names of the only parameters that are part of the key. @default all parameters */
  readonly only?: readonly string[] | undefined;
  /** True: the order of parameters with different names does not matter. @default false */
  readonly sort?: boolean | undefined;
}

/** Changes to the request headers that count as credentials. */
export interface CredentialOptions {
  /** More headers with which a client or a proxy identifies the user, such as `"X-Staff-Id"`. @default none */
  readonly add?: readonly string[] | undefined;
  /** Headers that would count, but are no credentials here, such as `"X-User-Country"`. @default none */
  readonly except?: readonly string[] | undefined;
}

export interface ResolvedResponseCache<Raw> {
  readonly ttlSeconds: number | undefined;
  readonly per: "everyone" | "user";
  readonly tags: readonly string[] | Of<readonly string[], Raw>;
  readonly partition: Of<string | undefined, Raw> | undefined;
  readonly skip: Of<boolean, Raw> | undefined;
  readonly query: QueryRules | undefined;
  readonly credentials: CredentialRules;
  readonly staleWhileRevalidateSeconds: number;
  readonly staleIfErrorSeconds: number;
  /** 0: requests do not wait. */
  readonly waitMs: number;
  readonly maxSize: number;
  readonly etag: "weak" | "strong" | false;
  readonly local: boolean;
  readonly honoursRequests: boolean;
  readonly cacheStatus: string | false;
}

const known = [
  ...["ttl", "per", "tags", "partition", "skip", "query", "staleWhileRevalidate", "staleIfError", "wait", "maxSize"],
  ...["etag", "requestDirectives", "cacheStatus", "credentials", "local"],
];

/** A larger body would not fit into one value of the store. */
const maxBodyBytes = 64 * 2 ** 20;

export function resolveResponseCache<Raw>(options: ResponseCacheOptions<Raw>): ResolvedResponseCache<Raw> {
  const name = "cacheResponse()";
  checkObject(name, options, known);
  const { ttl, per = "everyone", tags = [], partition, skip, query, wait = "5s", maxSize = 1_048_576 } = options;
  const { etag = "weak", requestDirectives = "honour", cacheStatus = "portcullis", credentials = {} } = options;
  const { local = true } = options;
  checkOneOf(`${name}.per`, per, ["everyone", "user"]);
  if (typeof tags !== "function") stringsOrNone(`${name}.tags`, tags);
  if (typeof tags === "string") throw optionError(`${name}.tags`, 'must be a list such as ["orders"], or a function');
  if (partition !== undefined) checkFunction(`${name}.partition`, partition);
  if (skip !== undefined) checkFunction(`${name}.skip`, skip);
  checkInteger(`${name}.maxSize`, maxSize, 1, maxBodyBytes);
  checkBoolean(`${name}.local`, local);
  if (etag !== false) checkOneOf(`${name}.etag`, etag, ["weak", "strong"]);
  checkOneOf(`${name}.requestDirectives`, requestDirectives, ["honour", "ignore"]);
  if (cacheStatus !== false) checkStatusName(`${name}.cacheStatus`, cacheStatus);
  const seconds = (option: "ttl" | "staleWhileRevalidate" | "staleIfError", value: Duration): number =>
    durationMs(`${name}.${option}`, value) / 1000;
  const { staleWhileRevalidate, staleIfError } = options;
  return {
    ttlSeconds: ttl === undefined ? undefined : seconds("ttl", ttl),
    per,
    tags: typeof tags === "function" ? tags : [...new Set(tags)],
    partition,
    skip,
    query: query === undefined ? undefined : resolveQuery(`${name}.query`, query),
    credentials: resolveCredentials(`${name}.credentials`, credentials),
    staleWhileRevalidateSeconds:
      staleWhileRevalidate === undefined ? 0 : seconds("staleWhileRevalidate", staleWhileRevalidate),
    staleIfErrorSeconds: staleIfError === undefined ? 0 : seconds("staleIfError", staleIfError),
    waitMs: wait === false ? 0 : durationMs(`${name}.wait`, wait),
    maxSize,
    etag,
    local,
    honoursRequests: requestDirectives === "honour",
    cacheStatus,
  };
}

function resolveQuery(option: string, query: unknown): QueryRules | undefined {
  if (isList(query)) return { only: new Set(stringsOrNone(option, query)), sort: false };
  if (typeof query === "string") throw optionError(option, `must be a list such as ["${query}"], or { only, sort }`);
  checkObject(option, query, ["only", "sort"]);
  const { only, sort = false } = query as QueryOptions;
  checkBoolean(`${option}.sort`, sort);
  if (only === undefined) return sort ? { only, sort } : undefined;
  if (!isList(only)) throw optionError(`${option}.only`, 'must be a list such as ["page"]');
  return { only: new Set(stringsOrNone(`${option}.only`, only)), sort };
}

function resolveCredentials(option: string, credentials: CredentialOptions): CredentialRules {
  checkObject(option, credentials, ["add", "except"]);
  const [add, except] = (["add", "except"] as const).map((list) =>
    fieldNames(`${option}.${list}`, credentials[list] ?? []),
  ) as [ReadonlySet<string>, ReadonlySet<string>];
  const both = [...add].find((name) => except.has(name));
  if (both !== undefined) throw optionError(option, `has "${both}" in add and in except; write it in one of them`);
  // Only a response may allow a cache to ignore them (RFC 9111 3.5).
  for (const name of ["authorization", "cookie"])
    if (except.has(name))
      throw optionError(`${option}.except`, `must not have "${name}"; set public or s-maxage on the response instead`);
  return { add, except };
}

/** Names of header fields (RFC 9110 5.1), in lower case. */
function fieldNames(option: string, names: readonly string[]): ReadonlySet<string> {
  if (!isList(names)) throw optionError(option, 'must be a list such as ["X-Staff-Id"]');
  const list = stringsOrNone(option, names);
  const wrong = list.find((name) => !/^[!#$%&'*+.^_`|~\w-]+$/.test(name));
  if (wrong !== undefined) throw optionError(option, "must be names of headers, such as X-Staff-Id");
  return new Set(list.map((name) => name.toLowerCase()));
}

/** A token of a structured field (RFC 9651 3.3.4). */
function checkStatusName(option: string, name: unknown): void {
  if (typeof name === "string" && /^[A-Za-z*][\w!#$%&'*+.^`|~:/-]{0,63}$/.test(name)) return;
  throw optionError(option, 'must be a name such as "portcullis": letters, digits and -, starting with a letter');
}
