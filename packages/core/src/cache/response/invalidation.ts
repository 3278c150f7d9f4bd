import type { Exchange } from "../../http/exchange.js";
import type { Interceptor } from "../../http/interception.js";
import { targetOf } from "./request-key.js";
import { textOf } from "./stored-fields.js";
import { tagOfTarget } from "./tags.js";

/**
 * Ends the responses that an unsafe request made out of date, if it succeeded (RFC 9111 4.4): those of its own address, and
 * of the addresses in `Location` and `Content-Location`, if they are of this host. Responses are stored by the
 * parameters that are `wanted`, or by the whole query; undefined is all.
 */
export function invalidateAfter<Raw>(
  exchange: Exchange<Raw>,
  wanted: ReadonlySet<string> | undefined,
  purge: (tag: string) => void,
): Interceptor {
  return {
    hidden: [],
    mostBytes: 0,
    beginsUnsent: true,
    begin({ status, fields }) {
      if (status >= 200 && status <= 399) {
        const others = [fields.location, fields["content-location"]].map((to) => addressOf(textOf(to), exchange));
        const urls = [exchange.url, ...others].filter((url) => url !== undefined);
        const targets = new Set(urls.flatMap((url) => [targetOf(url), targetOf(url, wanted)]));
        for (const target of targets) purge(tagOfTarget(target));
      }
      return "pass";
    },
    headSent: () => undefined,
    complete: () => undefined,
  };
}

/** Path and query of a reference, relative to the request; undefined if it leads to another host. */
function addressOf(reference: string | undefined, exchange: Pick<Exchange, "url" | "header">): string | undefined {
  const base = `http://${exchange.header("host") ?? "localhost"}`;
  if (reference === undefined || !URL.canParse(exchange.url, base)) return undefined;
  const from = new URL(exchange.url, base);
  if (!URL.canParse(reference, from.href)) return undefined;
  const to = new URL(reference, from);
  return to.host === from.host ? `${to.pathname}${to.search}` : undefined;
}
