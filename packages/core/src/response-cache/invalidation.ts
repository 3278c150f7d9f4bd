import type { Exchange } from "../http/exchange.js";
import type { Interceptor } from "../http/interception.js";
import { checkObject, checkOneOf } from "../lib/validate.js";
import type { ResponseStore } from "./response-store.js";
import { fieldText } from "./storing.js";
import { tagNamed, tagOfPath, tagOfTarget } from "./tags.js";

/**
 * Ends the responses that an unsafe request made out of date, if it succeeded (RFC 9111 4.4): those of its own path with any
 * query, since a list may have many, and of the paths in `Location` and `Content-Location`, if they are of this host.
 */
export function invalidateAfter<Raw>(exchange: Exchange<Raw>, purge: (tag: string) => void): Interceptor {
  return {
    hidden: [],
    mostBytes: 0,
    beginsUnsent: true,
    begin({ status, fields }) {
      if (status >= 200 && status <= 399) {
        const others = [fields.location, fields["content-location"]].map((to) =>
          targetOfReference(fieldText(to), exchange),
        );
        const urls = [pathOf(exchange.url), ...others].filter((url) => url !== undefined);
        for (const tag of new Set(urls.map(tagOfPath))) purge(tag);
      }
      return "pass";
    },
    headSent: () => undefined,
    complete: () => undefined,
  };
}

/**
 * Path and query of a reference, relative to the request; undefined if it leads to another host. Behind a proxy its scheme
 * may be another one than that of the request, and with it the port that goes without saying.
 */
function targetOfReference(
  reference: string | undefined,
  exchange: Pick<Exchange, "url" | "header">,
): string | undefined {
  if (reference === undefined) return undefined;
  const authority = exchange.header(":authority") ?? exchange.header("host") ?? "localhost";
  // Not by URL resolution: a path may begin with two slashes, and is none the less a path.
  const from = `http://${authority}${pathOf(exchange.url)}`;
  if (!URL.canParse(reference, from)) return undefined;
  const to = new URL(reference, from);
  const own = `${to.protocol}//${authority}`;
  return URL.canParse(own) && new URL(own).host === to.host ? `${to.pathname}${to.search}` : undefined;
}

/** Path and query of a target, which may be absolute (RFC 9112 3.2.2). */
function pathOf(url: string): string {
  const path = url.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, "");
  return path.startsWith("/") ? path : `/${path}`;
}

export interface PurgePathOptions {
  /**
   * Which query strings of the path: `"any"`, whatever the path given says after `?`; or `"exact"`, those with the same
   * parameters in any order and spelling. For a cache with the option `query`, that is the parameters that make a difference.
   * @default "any"
   */
  readonly query?: "any" | "exact" | undefined;
}

/** Ends stored responses before their time. */
export interface Responses {
  /**
   * Ends every response with one of these tags, in every process, also those that handlers are making right now; and every
   * value of the cache with it, as `deleteByTag` of the cache ends responses: a tag is one for both. Rejects with
   * a StoreFault if the store missed it; this process then treats them as gone, and repeats it until the store has it. It is
   * repeated too when the store comes back within a minute, since it may be another one by then.
   */
  purge(...tags: string[]): Promise<void>;
  /**
   * Ends every response for a path, as `"/orders/7"`, with any query, as an unsafe request to it does. Spellings by which
   * a router finds the same count as one: upper and lower case, a slash at the end, escapes. Rejects as `purge` does.
   */
  purgePath(path: string, options?: PurgePathOptions): Promise<void>;
}

export function openResponses(store: ResponseStore): Responses {
  return {
    async purge(...tags) {
      for (const tag of tags)
        if (typeof tag !== "string" || tag === "") throw new TypeError("a tag is a non-empty string");
      await Promise.all(tags.map((tag) => store.purge(tagNamed(tag))));
    },
    async purgePath(path, options = {}) {
      checkObject("purgePath()", options, ["query"]);
      const { query = "any" } = options;
      checkOneOf("purgePath().query", query, ["any", "exact"]);
      if (typeof path !== "string" || !path.startsWith("/")) throw new TypeError('a path starts with "/"');
      await store.purge(query === "any" ? tagOfPath(path) : tagOfTarget(path));
    },
  };
}
