import { createHash } from "node:crypto";
import type { Exchange } from "../http/exchange.js";
import { memoize } from "../lib/memoize.js";

/**
 * The text of the cache key without `Vary` (RFC 9111 2): partition, target, and the names of the fields that change the target.
 */
export function keyText(
  exchange: Pick<Exchange, "header" | "secure">,
  target: string,
  partition: string,
  targetFields: readonly string[],
): string {
  let text = `${escape(partition)}\n${escape(target)}\n`;
  if (exchange.secure === true) text += "secure\n";
  for (const name of targetFields) text += `${name}=${escape(exchange.header(name) ?? "")}\n`;
  return text;
}

/** The cache key with the values of the fields that `Vary` names (RFC 9111 4.1). */
export function variantKey(primary: string, vary: readonly string[], exchange: Pick<Exchange, "header">): string {
  return vary.length === 0 ? primary : digest(`${primary}\n${selection(vary, exchange)}`);
}

/** The values of these request fields (RFC 9111 4.1). */
export function selection(vary: readonly string[], exchange: Pick<Exchange, "header">): string {
  return vary.map((name) => `${name}${normalize(name, exchange.header(name))}`).join("\n");
}

/** Lists in which blanks around a comma have no meaning (RFC 9110 12.5). Other fields are compared as they are. */
const negotiation: ReadonlySet<string> = new Set(["accept", "accept-charset", "accept-encoding", "accept-language"]);

/** An absent field differs from an empty one. A value with a quoted string is compared as it is: its blanks may matter. */
function normalize(name: string, value: string | undefined): string {
  if (value === undefined) return "";
  if (!negotiation.has(name) || value.includes('"')) return `:${value}`;
  return `:${value.split(",").map(trimBlanks).join(",")}`;
}

/** Removes the blanks of HTTP; `trim()` would remove more characters. */
function trimBlanks(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && isBlank(text[start])) start += 1;
  while (end > start && isBlank(text[end - 1])) end -= 1;
  return text.slice(start, end);
}

function isBlank(character: string | undefined): boolean {
  return character === " " || character === "\t";
}

/** Escapes line feeds, so that no text looks like the next line. */
function escape(text: string): string {
  return text.includes("\n") || text.includes("\\") ? text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n") : text;
}

/** The digest of a key that all clients share: most requests are for few of them. */
export const sharedDigest: (text: string) => string = memoize(digest);

/** 144 bits of SHA-256: short, and in the alphabet of plain identifiers. */
export function digest(text: string): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, 24);
}
