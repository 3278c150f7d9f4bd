import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import type { Body } from "../http/body.js";

/** The header field and the digest of a request (draft-ietf-httpapi-idempotency-key-header-07, 2.1 and 2.4). */

const maxKeyLength = 255;

/** A string of RFC 9651 3.3.3, with parameters that are ignored. */
const quoted =
  /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"(?:; *[a-z*][a-z0-9_.*-]*(?:=[\x21\x23-\x2b\x2d-\x3a\x3c-\x7e]+)?)*$/;
/** Without quotes, as many clients send it. A comma separates the values of repeated fields. */
const bare = /^[\x21\x23-\x2b\x2d-\x7e]+$/;

/** Reads the text of a key: 1 to 255 printable ASCII characters. Undefined for anything else. */
export function readKey(field: string): string | undefined {
  // Twice the length, for a text of escapes, and some parameters.
  if (field.length > 4 * maxKeyLength) return undefined;
  const text = field.trim();
  const inner = quoted.exec(text)?.[1]?.replace(/\\(["\\])/g, "$1");
  const key = inner ?? (bare.test(text) ? text : undefined);
  return key === undefined || key === "" || key.length > maxKeyLength ? undefined : key;
}

export interface RequestHead {
  readonly method: string;
  /** Path and query as the client sent them. */
  readonly url: string;
  readonly contentType: string | undefined;
}

/**
 * The fingerprint of a request; undefined if its parsed body is too large. Bytes are taken as they are. A parsed value is taken
 * in a canonical form, in which the order of members does not matter.
 */
export function fingerprintOf(
  { method, url, contentType = "" }: RequestHead,
  body: Extract<Body, { readonly kind: "parsed" | "bytes" }>,
  maxBytes: number,
): string | undefined {
  const hash = createHash("sha256");
  if (body.kind === "bytes") return hash.update(headOf("bytes", contentType)).update(body.bytes).digest("base64url");
  // Its parameters, such as the boundary of a form, tell how to parse the body.
  const [type = ""] = contentType.split(";", 1);
  hash.update(headOf("parsed", type.trim().toLowerCase()));
  return addValue(hash, body.value, maxBytes) ? hash.digest("base64url") : undefined;

  function headOf(kind: string, mediaType: string): string {
    return `${JSON.stringify([kind, method, url, mediaType])}\n`;
  }
}

/** Adds a value in a canonical form, without recursion: the depth of a body is chosen by its client. */
function addValue(hash: Hash, root: unknown, maxBytes: number): boolean {
  const open: { readonly value: unknown; readonly isText?: boolean }[] = [{ value: root }];
  let left = maxBytes;

  function add(text: string | Uint8Array): void {
    hash.update(text);
    left -= text.length;
  }

  for (let next = open.pop(); next !== undefined && left >= 0; next = open.pop()) {
    const { value } = next;
    if (next.isText === true) add(value as string);
    else if (value instanceof Uint8Array) {
      add(`b${value.byteLength}:`);
      add(value);
    } else if (Array.isArray(value)) {
      add(`[${value.length}:`);
      for (let index = value.length - 1; index >= 0; index -= 1) open.push({ value: value[index] as unknown });
    } else if (typeof value === "object" && value !== null) {
      const members = Object.entries(plainOf(value)).sort(([a], [b]) => (a < b ? -1 : 1));
      add(`{${members.length}:`);
      for (const [name, member] of members.reverse())
        open.push({ value: member }, { value: `${JSON.stringify(name)}:`, isText: true });
    } else add(`${typeof value}:${JSON.stringify(String(value))},`);
  }
  return left >= 0;
}

/** The members of a value, also of one that keeps them elsewhere, such as a date or a map. */
function plainOf(value: object): object {
  if (value instanceof Map) return Object.fromEntries(value as Map<string, unknown>);
  if (value instanceof URLSearchParams) return { text: value.toString() };
  if (value instanceof Date) return { time: value.getTime() };
  return value;
}
