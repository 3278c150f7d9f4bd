import type { ServerResponse } from "node:http";
import type { Denied, Reply } from "./verdict.js";

/** The target of the bytes: the response, or its original functions behind an interceptor. */
interface Writer {
  write(chunk: unknown, encoding?: unknown, done?: unknown): boolean;
  end(chunk?: unknown, encoding?: unknown, done?: unknown): unknown;
}

type Answer = Pick<Denied | Reply, "status" | "headers" | "body" | "form" | "removed">;

/**
 * Writes an answer to a response of node:http, in one piece or in parts as its handler did: compressing middleware and Node's
 * framing of the body depend on that.
 */
export function writeAnswer(
  res: ServerResponse,
  { status, headers, body, form, removed = [] }: Answer,
  writer: Writer = res,
): void {
  res.statusCode = status;
  for (const name of removed) if (res.hasHeader(name)) res.removeHeader(name);
  for (const [name, value] of headers) res.setHeader(name, value);
  const inParts = form === "parts" || form === "stream";
  if (!inParts) return void writer.end(body);
  if (body.length > 0) writer.write(body);
  writer.end();
}
