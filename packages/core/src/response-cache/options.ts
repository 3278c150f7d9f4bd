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

/** How `gate.cacheResponse()` keeps the responses of the handlers behind it. */
export interface ResponseCacheOptions<Raw = unknown> {
  /**
   * How long responses are fresh that do not say so themselves (`Cache-Control: max-age`, `s-maxage`, or `Expires`).
   * @default such responses are not stored
   */
  readonly ttl?: Duration | undefined;
  /**
   * Who may get a response that was made for somebody else: `"everyone"`, as in any shared cache, or nobody: `"user"` keeps
   * one for each user, and for each set of claims in the user's tokens; anonymous requests then pass by.
   * @default "everyone"
   */
  readonly per?: "everyone" | "user" | undefined;
  /** Tags to end responses by, with `gate.responses.purge()`; or a function. @default none */
  readonly tags?: readonly string[] | Of<readonly string[], Raw> | undefined;
  /** A further part of the key, such as the tenant; requests for which it is undefined pass by. @default none */
  readonly partition?: Of<string | undefined, Raw> | undefined;
  /** True lets a request pass by the cache. @default never */
  readonly skip?: Of<boolean, Raw> | undefined;
  /**
   * The only query parameters that make a difference, by their decoded names; `sort: true` if the order of different names
   * makes none either. A query in which a name may be read in two ways, as `q[]` and `q.x`, chooses as a whole.
   * @default all of them, in the order as sent
   */
  readonly query?: readonly string[] | QueryOptions | undefined;
  /**
   * Which request headers count as credentials, besides Authorization, the headers and cookies that the gate itself tells
   * clients apart by, and the well-known ones such as `X-Api-Key` and `X-Forwarded-User`. A request with credentials
   * leaves and gets only a response that says that it may be shared (RFC 9111 3.5). @default those alone
   */
  readonly credentials?: CredentialOptions | undefined;
  /** How long a stale response serves others while one request makes a new one, if it does not say (RFC 5861). @default never */
  readonly staleWhileRevalidate?: Duration | undefined;
  /** How long a stale response stands in for a server error, if it does not say (RFC 5861). @default never */
  readonly staleIfError?: Duration | undefined;
  /**
   * How long requests for one thing wait for the first of them to answer; once its response goes out in parts, 100 ms at
   * most. `false`: each asks the handler.
   * @default "5s"
   */
  readonly wait?: Duration | false | undefined;
  /** Larger bodies are not stored; bytes. @default 1_048_576 */
  readonly maxSize?: number | undefined;
  /** The entity tag of responses that have none; `false` for none. @default "weak" */
  readonly etag?: "weak" | "strong" | false | undefined;
  /**
   * Whether a request may ask for more or less freshness by `Cache-Control` (RFC 9111 5.2.1), and for more than the stored
   * response by `Range` or `Upgrade`. With `"ignore"`, `If-Match` is judged by the stored response. @default "honour"
   */
  readonly requestDirectives?: "honour" | "ignore" | undefined;
  /** How the cache calls itself in `Cache-Status` (RFC 9211); `false` leaves the field out. @default "portcullis" */
  readonly cacheStatus?: string | false | undefined;
}

/** Which query parameters choose a response, and how. */
export interface QueryOptions {
  /** The only parameters that make a difference, by their decoded names. @default all of them */
  readonly only?: readonly string[] | undefined;
  /** True: the order of parameters with different names makes no difference. @default false */
  readonly sort?: boolean | undefined;
}

/** Request headers that count as credentials, or do not. */
export interface CredentialOptions {
  /** More headers in which a client, or a proxy in front, says who is asking, such as `"X-Staff-Id"`. @default none */
  readonly add?: readonly string[] | undefined;
  /** Headers that are no credentials here, although they would count, such as `"X-User-Country"`. @default none */
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
  /** 0: nobody waits. */
  readonly waitMs: number;
  readonly maxSize: number;
  readonly etag: "weak" | "strong" | false;
  readonly honoursRequests: boolean;
  readonly cacheStatus: string | false;
}

const known = [
  ...["ttl", "per", "tags", "partition", "skip", "query", "staleWhileRevalidate", "staleIfError", "wait", "maxSize"],
  ...["etag", "requestDirectives", "cacheStatus", "credentials"],
];

/** More would not fit into one value of the store. */
const maxBodyBytes = 64 * 2 ** 20;

export function resolveResponseCache<Raw>(options: ResponseCacheOptions<Raw>): ResolvedResponseCache<Raw> {
  const name = "cacheResponse()";
  checkObject(name, options, known);
  const { ttl, per = "everyone", tags = [], partition, skip, query, wait = "5s", maxSize = 1_048_576 } = options;
  const { etag = "weak", requestDirectives = "honour", cacheStatus = "portcullis", credentials = {} } = options;
  checkOneOf(`${name}.per`, per, ["everyone", "user"]);
  if (typeof tags !== "function") stringsOrNone(`${name}.tags`, tags);
  if (typeof tags === "string") throw optionError(`${name}.tags`, 'must be a list such as ["orders"], or a function');
  if (partition !== undefined) checkFunction(`${name}.partition`, partition);
  if (skip !== undefined) checkFunction(`${name}.skip`, skip);
  checkInteger(`${name}.maxSize`, maxSize, 1, maxBodyBytes);
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
  // Nothing frees a cache from them (RFC 9111 3.5); a response may.
  for (const name of ["authorization", "cookie"])
    if (except.has(name))
      throw optionError(`${option}.except`, `must not have "${name}"; let the response say public or s-maxage instead`);
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
