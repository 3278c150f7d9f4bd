import { isUtf8 } from "node:buffer";
import { validateHeaderName, validateHeaderValue } from "node:http";
import type { BodyForm, Header, Reply } from "../http/verdict.js";
import { bodyForms } from "../http/verdict.js";

/** A response as its handler made it, or what is left of one whose body was not kept. */
export interface KeptResponse {
  readonly status: number;
  readonly fields: readonly Header[];
  /** Undefined: the request was completed, and its response is too large to be kept. */
  readonly body: Uint8Array | undefined;
  readonly form: BodyForm;
  /** True if the handler stated the length of the body. */
  readonly sized: boolean;
  /** Fields that were set before the handler, and that the handler removed; in lower case. */
  readonly removed: readonly string[];
}

const prefix = "i1:";

/** The text of a response: a line of JSON, then the body, as text or in base64. */
export function encodeKept({ body, ...head }: KeptResponse): string {
  if (body === undefined) return `${prefix}{}\n`;
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const isText = isUtf8(bytes);
  const line = JSON.stringify({ ...head, size: bytes.length, isText });
  return `${prefix}${line}\n${bytes.toString(isText ? "utf8" : "base64")}`;
}

/**
 * The reply that a text stands for; `"completed"` for a request without a kept response; undefined for a text that is foreign,
 * corrupt, cut off, or of another version.
 */
export function decodeKept(text: string): Reply | "completed" | undefined {
  if (!text.startsWith(prefix)) return undefined;
  const end = text.indexOf("\n");
  try {
    const head = JSON.parse(text.slice(prefix.length, end)) as Readonly<Record<string, unknown>>;
    return head.status === undefined ? "completed" : readReply(head, text.slice(end + 1));
  } catch {
    return undefined;
  }
}

function readReply(head: Readonly<Record<string, unknown>>, text: string): Reply | undefined {
  const { status, fields, form, sized, removed, size, isText } = head;
  if (typeof status !== "number" || !Number.isInteger(status) || status < 200 || status > 499) return undefined;
  const known = bodyForms.find((one) => one === form);
  if (known === undefined || typeof sized !== "boolean" || typeof isText !== "boolean") return undefined;
  if (!isTexts(removed) || !Array.isArray(fields)) return undefined;
  const headers: Header[] = [];
  for (const field of fields as readonly unknown[]) {
    if (!isTexts(field)) return undefined;
    const [name = "", value = ""] = field;
    validateHeaderName(name);
    validateHeaderValue(name, value);
    headers.push([name, value]);
  }
  const body = Buffer.from(text, isText ? "utf8" : "base64");
  if (body.byteLength !== size) return undefined;
  // As from the handler: Node frames the body by it, and compressing middleware decides by it.
  if (sized && status !== 204) headers.push(["content-length", String(size)]);
  headers.push(["idempotency-replayed", "?1"]);
  return { allowed: false, status, headers, body, form: known, removed };
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}
