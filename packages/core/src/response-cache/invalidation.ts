import type { Exchange } from "../http/exchange.js";
import type { Interceptor } from "../http/interception.js";
import { fieldText } from "./stored-fields.js";
import { tagOfPath } from "./tags.js";

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
