import type { ServerResponse } from "node:http";
import type { Denied, Reply } from "./verdict.js";

/** What is written to: the response itself, or what it had before an interceptor changed it. */
interface Writer {
  write(chunk: unknown, encoding?: unknown, done?: unknown): boolean;
  end(chunk?: unknown, encoding?: unknown, done?: unknown): unknown;
}

type Answer = Pick<Denied | Reply, "status" | "headers" | "body" | "form" | "removed">;

/**
 * Writes an answer to a response of node:http, in as many pieces as its handler has: middleware that compresses decides by
 * that, and so does Node on how the body is framed.
 */
export function writeAnswer(
  res: ServerResponse,
  { status, headers, body, form, removed = [] }: Answer,
  writer: Writer = res,
): void {
  res.statusCode = status;
  for (const name of removed) if (res.hasHeader(name)) res.removeHeader(name);
  for (const [name, value] of headers) res.setHeader(name, value);
  const isInParts = form === "parts" || form === "stream";
  if (!isInParts) return void writer.end(body);
  if (body.length > 0) writer.write(body);
  writer.end();
}
