import fc from "fast-check";
import type { ResponseCacheOptions } from "@portcullis/core";

/** How a handler answers. */
export const ways = [
  ...["json", "text", "bytes", "stream", "file", "chunks", "writeHead", "end"],
  ...["empty", "nothing", "throws"],
] as const;
export type Way = (typeof ways)[number];

/** By node:http alone, past the framework. */
export function isRaw(way: Way): boolean {
  return way === "chunks" || way === "writeHead" || way === "end";
}

/** Middleware in front of the cache, outermost first. */
export const fronts = ["fields", "compression", "conditional", "etag", "envelope", "late"] as const;
export type Front = (typeof fronts)[number];

/** The options of the caches under test. */
export const cacheOptions = {
  defaults: {},
  ttl: { ttl: "1m" },
  untagged: { ttl: "1m", etag: false },
  small: { ttl: "1m", maxSize: 64 },
} as const satisfies Record<string, ResponseCacheOptions>;
export type CacheName = keyof typeof cacheOptions;

export interface Asked {
  readonly method: "GET" | "HEAD";
  readonly query: string;
  readonly language: string | undefined;
  readonly encoding: string | undefined;
  readonly range: string | undefined;
  readonly control: string | undefined;
  readonly condition: "none" | "same" | "list" | "other" | "any" | "since" | "earlier" | "broken";
}

/** A handler, what stands in front of it, and what it is asked. The handler answers the same request always the same. */
export interface Scenario {
  readonly way: Way;
  readonly status: number;
  readonly fields: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  /** Answers by Accept-Language, and says so. */
  readonly varies: boolean;
  readonly fronts: readonly Front[];
  /** Compresses between the cache and the handler. */
  readonly compresses: boolean;
  /** A field that stood there before, which the handler takes away. */
  readonly removes: boolean;
  readonly cache: CacheName;
  readonly requests: readonly Asked[];
  /** The first requests are sent at once. */
  readonly together: boolean;
}

function rarely<T>(...values: T[]): fc.Arbitrary<T | undefined> {
  return fc.oneof(
    { weight: 9, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.constantFrom(...values) },
  );
}

/** Queries that one handler is asked with. */
const queryPools = [[""], [""], [""], ["?a=1&b=2", "?b=2&a=1"], ["", "?a[]=1&a[]=2", "?a=%20&&b", "?%61=1", "?a=1"]];

const askedOf = (queries: readonly string[]): fc.Arbitrary<Asked> =>
  fc.record({
    method: fc.constantFrom("GET", "GET", "GET", "HEAD"),
    query: fc.constantFrom(...queries),
    language: fc.constantFrom(undefined, undefined, "de", "en"),
    encoding: fc.constantFrom(undefined, "gzip", "identity"),
    range: rarely("bytes=0-3"),
    control: rarely("no-cache", "max-age=0", "no-store"),
    condition: fc.constantFrom("none", "none", "none", "same", "list", "other", "any", "since", "earlier", "broken"),
  });

const fields = fc.record(
  {
    "cache-control": fc.constantFrom(
      ...[
        "max-age=60",
        "max-age=60",
        "max-age=60",
        "max-age=60",
        "max-age=60",
        "public, max-age=60",
        "s-maxage=60",
        "max-age=60, must-revalidate",
      ],
      ...["private, max-age=60", "no-store", "no-cache", "max-age=0"],
    ),
    etag: fc.constantFrom('"v1"', 'W/"v1"'),
    "last-modified": fc.constant("Tue, 24 Nov 2026 10:00:00 GMT"),
    "content-type": fc.constantFrom("text/plain; charset=utf-8", "application/vnd.x+json", "text/html", "image/x-own"),
    "content-language": fc.constant("de"),
    "content-location": fc.constant("/elsewhere"),
    "content-disposition": fc.constant('attachment; filename="a.txt"'),
    "x-obs-text": fc.constant("\u00fc"),
    location: fc.constant("/elsewhere"),
    link: fc.constant<string[]>(["</a>; rel=a", "</b>; rel=b"]),
    "set-cookie": rarely(["a=1", "b=2"]),
    "x-request-id": fc.constant("7"),
    "x-front": fc.constantFrom("front", "own"),
    vary: fc.constantFrom("Origin", "Accept-Encoding"),
    expires: fc.constant("Thu, 18 Aug 2050 02:01:18 GMT"),
  },
  { requiredKeys: ["cache-control"] },
);

export const scenario: fc.Arbitrary<Scenario> = fc.record({
  way: fc.constantFrom(...ways),
  status: fc.constantFrom(...Array<200>(9).fill(200), 201, 203, 204, 301, 302, 304, 400, 404, 410, 500, 503),
  fields,
  text: fc.constantFrom("", "x", "a text of \u00fcmlauts", "long ".repeat(20)),
  varies: fc.boolean(),
  fronts: fc.subarray([...fronts], { minLength: 0 }),
  compresses: fc.boolean(),
  removes: fc.boolean(),
  cache: fc.constantFrom(...(Object.keys(cacheOptions) as CacheName[])),
  requests: fc
    .constantFrom(...queryPools)
    .chain((queries) => fc.array(askedOf(queries), { minLength: 2, maxLength: 4 })),
  together: fc.boolean(),
});
