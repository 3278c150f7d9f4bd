import { createHash } from "node:crypto";
import type { Exchange } from "../../http/exchange.js";

/**
 * Request fields from which frameworks and applications make up who they are: links, redirects, methods. They choose the
 * response whether it says so or not, so that nobody can leave a response made of their own in the place of all others.
 */
const impliedFields = [
  ...["host", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-prefix", "forwarded"],
  ...[
    "x-original-url",
    "x-rewrite-url",
    "x-original-host",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
  ],
] as const;

/** The address of what a request asks for: path and query, of which perhaps only some parameters are wanted. */
export function targetOf(url: string, wanted?: ReadonlySet<string>): string {
  const [target = ""] = url.split("#", 1);
  const start = target.indexOf("?");
  if (start === -1) return target;
  const parameters = target.slice(start + 1).split("&");
  const query = sortedQuery(wanted === undefined ? parameters : parameters.filter((one) => wanted.has(nameOf(one))));
  return query === "" ? target.slice(0, start) : `${target.slice(0, start)}?${query}`;
}

function nameOf(parameter: string): string {
  const [name = ""] = parameter.split("=", 1);
  return name;
}

/** A name without brackets and escapes, which parsers of nested values read by their order. */
const plainName = /^[A-Za-z0-9_.~-]+$/;

/** The parameters by name; those of one name keep their order, and a query with odd names is left alone. */
function sortedQuery(parameters: readonly string[]): string {
  if (parameters.length < 2 || !parameters.every((one) => plainName.test(nameOf(one)))) return parameters.join("&");
  return [...parameters].sort((a, b) => compare(nameOf(a), nameOf(b))).join("&");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Everything by which a response is chosen before any `Vary` is known. */
export function primaryKey(exchange: Pick<Exchange, "header">, target: string, partition: string): string {
  let implied = "";
  for (const name of impliedFields) {
    const value = exchange.header(name);
    if (value !== undefined) implied += `${name}:${escape(value)}\n`;
  }
  return digest(`${escape(partition)}\n${escape(target)}\n${implied}`);
}

/** The same with the values of the fields that `Vary` names, as far as blanks and repeated lines do not matter. */
export function variantKey(primary: string, vary: readonly string[], exchange: Pick<Exchange, "header">): string {
  return vary.length === 0 ? primary : digest(`${primary}\n${selection(vary, exchange)}`);
}

/** What the request says in these fields (RFC 9111 4.1). */
export function selection(vary: readonly string[], exchange: Pick<Exchange, "header">): string {
  return vary.map((name) => `${name}${normalize(exchange.header(name))}`).join("\n");
}

/** An absent field is not an empty one. */
function normalize(value: string | undefined): string {
  if (value === undefined) return "";
  return `:${value
    .split(",")
    .map((member) => member.trim().replace(/[ \t]+/g, " "))
    .join(",")}`;
}

/** No text can pretend to be the next line. */
function escape(text: string): string {
  return text.includes("\n") || text.includes("\\") ? text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n") : text;
}

/** 144 bits of SHA-256: short, and in the alphabet of plain identifiers. */
function digest(text: string): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, 24);
}
