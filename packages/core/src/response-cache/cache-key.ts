import { createHash } from "node:crypto";
import type { Exchange } from "../http/exchange.js";
import { isWellKnownCredential } from "./credentials.js";
import { isTargetField } from "./target-uri.js";

/** Everything by which a response is chosen before any `Vary` is known. */
export function primaryKey(
  exchange: Pick<Exchange, "header" | "headerNames" | "secure">,
  target: string,
  partition: string,
): string {
  let implied = exchange.secure === true ? "secure\n" : "";
  // X-Forwarded-User and its like say who is asking: a response that may be shared is one for all of them.
  const names = exchange.headerNames.filter((name) => isTargetField(name) && !isWellKnownCredential(name));
  for (const name of names.sort()) implied += `${name}=${escape(exchange.header(name) ?? "")}\n`;
  return digest(`${escape(partition)}\n${escape(target)}\n${implied}`);
}

/** The same with the values of the fields that `Vary` names. */
export function variantKey(primary: string, vary: readonly string[], exchange: Pick<Exchange, "header">): string {
  return vary.length === 0 ? primary : digest(`${primary}\n${selection(vary, exchange)}`);
}

/** What the request says in these fields (RFC 9111 4.1). */
export function selection(vary: readonly string[], exchange: Pick<Exchange, "header">): string {
  return vary.map((name) => `${name}${normalize(name, exchange.header(name))}`).join("\n");
}

/** Lists in which blanks around a comma mean nothing (RFC 9110 12.5). Other fields are compared as they are. */
const negotiation: ReadonlySet<string> = new Set(["accept", "accept-charset", "accept-encoding", "accept-language"]);

/** An absent field is not an empty one. A quoted string may have commas and blanks that belong to it. */
function normalize(name: string, value: string | undefined): string {
  if (value === undefined) return "";
  if (!negotiation.has(name) || value.includes('"')) return `:${value}`;
  return `:${value.split(",").map(trimBlanks).join(",")}`;
}

/** Blanks of HTTP alone: `trim()` takes more. */
function trimBlanks(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && isBlank(text[start])) start += 1;
  while (end > start && isBlank(text[end - 1])) end -= 1;
  return text.slice(start, end);
}

function isBlank(character: string | undefined): boolean {
  return character === " " || character === "\t";
}

/** No text can pretend to be the next line. */
function escape(text: string): string {
  return text.includes("\n") || text.includes("\\") ? text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n") : text;
}

/** 144 bits of SHA-256: short, and in the alphabet of plain identifiers. */
function digest(text: string): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, 24);
}
