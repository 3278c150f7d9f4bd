import type { IncomingMessage, ServerResponse } from "node:http";
import { wholeOf } from "./chunks.js";

/** Returns the entity tag for a body; undefined for none. Text is UTF-8. */
export type TagMaker = (body: string | Uint8Array) => string | undefined;

/**
 * Gives a response with status 200 the entity tag of its body, if it has none and is sent in one piece. It costs less than an
 * interception, and does nothing else. `heldBody` returns the body that a framework does not write because the method is HEAD.
 */
export function tagBeforeEnd(
  req: IncomingMessage,
  res: ServerResponse,
  makeTag: TagMaker,
  heldBody: () => Uint8Array | undefined,
): void {
  const end = res.end.bind(res) as (chunk?: unknown, encoding?: unknown, done?: unknown) => ServerResponse;
  res.end = function taggedEnd(chunk?: unknown, encoding?: unknown, done?: unknown) {
    if (!res.headersSent && res.statusCode === 200 && !res.hasHeader("etag")) {
      const isUtf8 = typeof chunk === "string" && (typeof encoding !== "string" || /^utf-?8$/i.test(encoding));
      const written = isUtf8 ? chunk : wholeOf(chunk, encoding, req.httpVersionMajor === 1);
      const body = req.method === "HEAD" ? (heldBody() ?? written) : written;
      const tag = body === undefined ? undefined : makeTag(body);
      if (tag !== undefined) res.setHeader("ETag", tag);
    }
    return end(chunk, encoding, done);
  };
}
