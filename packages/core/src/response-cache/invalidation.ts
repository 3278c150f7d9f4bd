import type { Exchange } from "../http/exchange.js";
import type { Interceptor } from "../http/interceptor.js";
import { fieldText } from "../http/response-fields.js";
import { checkObject, checkOneOf } from "../lib/validate.js";
import type { ResponseStore } from "./response-store.js";
import { tagNamed, tagOfPath, tagOfTarget } from "./tags.js";

/**
 * Purges the responses that a successful unsafe request made out of date (RFC 9111 4.4): those of its path with any query,
 * since one list may have many queries, and those of `Location` and `Content-Location` on this host.
 */
export function invalidateAfter<Raw>(exchange: Exchange<Raw>, purge: (tag: string) => void): Interceptor {
  return {
    hidden: [],
    maxBytes: 0,
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
 * The path and query of a reference, relative to the request; undefined for another host. Behind a proxy its scheme, and so
 * its default port, may differ from those of the request.
 */
function targetOfReference(
  reference: string | undefined,
  exchange: Pick<Exchange, "url" | "header">,
): string | undefined {
  if (reference === undefined) return undefined;
  const authority = exchange.header(":authority") ?? exchange.header("host") ?? "localhost";
  // Text, not URL resolution: a path may begin with two slashes and is a path all the same.
  const from = `http://${authority}${pathOf(exchange.url)}`;
  if (!URL.canParse(reference, from)) return undefined;
  const to = new URL(reference, from);
  const own = `${to.protocol}//${authority}`;
  return URL.canParse(own) && new URL(own).host === to.host ? `${to.pathname}${to.search}` : undefined;
}

/** The path and query of a target, which may be absolute (RFC 9112 3.2.2). */
function pathOf(url: string): string {
  const path = url.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, "");
  return path.startsWith("/") ? path : `/${path}`;
}

/** Options of `purgePath()`. */
export interface PurgePathOptions {
  /**
   * The query strings of the path that are purged. `"any"`: all; a query in the given path is ignored. `"exact"`: those with
   * the same parameters, in any order and spelling. A cache with the option `query` compares the parameters that it keeps.
   * @default "any"
   */
  readonly query?: "any" | "exact" | undefined;
}

/** Purges stored responses. */
export interface Responses {
  /**
   * Purges every response with one of these tags, in all processes, also responses that handlers are making now. It deletes
   * the values of `req.cache` with these tags, too: both share their tags, so `deleteByTag` purges responses. Rejects with
   * a StoreFault if the store missed it; this process then treats the responses as gone, and repeats the purge until the store
   * has it. A purge is also repeated if the store returns within a minute, since it may be another store by then.
   */
  purge(...tags: string[]): Promise<void>;
  /**
   * Purges every response for a path, such as `"/orders/7"`, with any query, as an unsafe request to the path does. Spellings
   * that a router may treat alike are one path: upper and lower case, a slash at the end, escapes. Rejects like `purge`.
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
