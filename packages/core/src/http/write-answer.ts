import type { IncomingMessage, ServerResponse } from "node:http";
import type { Writer } from "./stream-body.js";
import { isStreamBody, openOn } from "./stream-body.js";
import type { Denied, Reply } from "./verdict.js";

type Answer = Pick<Denied | Reply, "status" | "headers" | "body" | "form" | "removed">;

/**
 * Writes an answer to a response of node:http, in one piece or in parts as its handler did: compressing middleware and Node's
 * framing of the body depend on that. A stream body is opened, and ends later.
 */
export function writeAnswer(
  res: ServerResponse,
  { status, headers, body, form, removed = [] }: Answer,
  writer: Writer = res,
): void {
  res.statusCode = status;
  for (const name of removed) if (res.hasHeader(name)) res.removeHeader(name);
  for (const [name, value] of headers) res.setHeader(name, value);
  if (isStreamBody(body)) return openOn(res, writer, body);
  if (endsWithHead(res)) return void writer.end();
  const inParts = form === "parts" || form === "stream";
  if (!inParts) return void writer.end(body);
  if (body.length > 0) writer.write(body);
  writer.end();
}

/** In HTTP/2 the head ends a response that has no body, and Node reports even an empty write after it as an error. */
function endsWithHead({ req, statusCode }: ServerResponse): boolean {
  if ((req as IncomingMessage | undefined)?.httpVersionMajor !== 2) return false;
  return req.method === "HEAD" || statusCode === 204 || statusCode === 205 || statusCode === 304;
}
