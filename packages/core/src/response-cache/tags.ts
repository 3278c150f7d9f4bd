import { memoize } from "../lib/memoize.js";

/** The prefix of the tag of a path. */
export const pathPrefix = "path ";

/** The tag of all responses for one path, with any query. */
export function tagOfPath(target: string): string {
  return `${pathPrefix}${foldPath(split(target).path)}`;
}

/** The tag of all responses for one path and query; order and spelling of the parameters do not matter. */
export function tagOfTarget(target: string): string {
  const { path, query } = split(target);
  return `target ${foldPath(path)}?${foldQuery(query)}`;
}

/** The tags of the target of a request. */
export const tagsOfTarget: (target: string) => readonly [path: string, target: string] = memoize((target) => [
  tagOfPath(target),
  tagOfTarget(target),
]);

/** The tag for a name that the application gave. */
export function tagNamed(name: string): string {
  return `tag ${name}`;
}

/** The name that the application gave a tag; undefined for a tag of a path or a target. */
export function tagName(tag: string): string | undefined {
  return tag.startsWith("tag ") ? tag.slice(4) : undefined;
}

function split(target: string): { readonly path: string; readonly query: string } {
  const [whole = ""] = target.split("#", 1);
  const start = whole.indexOf("?");
  return start === -1 ? { path: whole, query: "" } : { path: whole.slice(0, start), query: whole.slice(start + 1) };
}

/** Paths with one spelling only. */
const folded = /^(?:\/[a-z0-9_~-][a-z0-9._~-]*)+$/;

/**
 * More combining marks in a row than any text has (UAX 15 13): normalization takes the square of their number. It turns the
 * halfwidth sound marks into combining marks.
 */
const longMarks = /([\p{M}\uff9e\uff9f]{30})[\p{M}\uff9e\uff9f]+/gu;

/**
 * One spelling of all paths that routers and file servers may treat alike: they may ignore case, a slash at the end, escapes,
 * empty segments and dot segments. Two resources may share a spelling; a purge of one purges the other, too.
 */
function foldPath(path: string): string {
  if (folded.test(path)) return path;
  const own = path.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, "");
  const segments: string[] = [];
  const decoded = decode(own).replace(longMarks, "$1").normalize("NFKC");
  for (const segment of decoded.toLowerCase().split(/[/\\]/)) {
    if (segment === "..") segments.pop();
    else if (segment !== "" && segment !== ".") segments.push(segment);
  }
  return `/${segments.join("/")}`;
}

/** One spelling of all queries that parsers read alike: `+` is a blank, and an absent value is an empty one. */
function foldQuery(query: string): string {
  const parameters = query.replaceAll("+", " ").split("&").map(decode);
  return parameters
    .map((parameter) => (parameter.endsWith("=") ? parameter.slice(0, -1) : parameter))
    .filter((parameter) => parameter !== "")
    .sort()
    .join("&");
}

const percent = 0x25;

/**
 * Decodes every escape, also beside malformed ones; bytes that are not UTF-8 become U+FFFD. `decodeURIComponent` would throw at
 * each malformed escape, and each throw costs as much as decoding a whole target.
 */
function decode(text: string): string {
  if (!text.includes("%")) return text;
  const bytes = Buffer.from(text);
  let size = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    const escaped = byte === percent ? 16 * hexDigit(bytes[at + 1]) + hexDigit(bytes[at + 2]) : NaN;
    if (!Number.isNaN(escaped)) at += 2;
    bytes[size] = Number.isNaN(escaped) ? byte : escaped;
    size += 1;
  }
  return bytes.toString("utf8", 0, size);
}

/** The value of a hexadecimal digit by its character code; NaN for any other character. */
function hexDigit(code = 0): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = code | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : NaN;
}
