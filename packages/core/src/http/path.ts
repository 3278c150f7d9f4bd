import { checkObject, checkString, kindOf, optionError } from "../lib/validate.js";
import type { Exchange } from "./exchange.js";

/** The requests that a condition matches: all given members must match. */
export interface RouteCondition {
  /** An exact path, `"/public/*"` for everything below a path, a regular expression, or a list of these. Without the query. */
  readonly path?: string | RegExp | readonly (string | RegExp)[] | undefined;
  /** A method, or a list of methods. */
  readonly method?: string | readonly string[] | undefined;
}

type PathTest = (path: string) => boolean;

/** Tests an exchange against a condition. */
export type ConditionTest = (exchange: Pick<Exchange, "method" | "url">) => boolean;

/**
 * The narrow reading of a condition, for `unless()`: it matches the exact spelling only. A path that a router, a proxy or a file
 * server could read differently does not match ({@link isExact}).
 */
export function compileCondition(option: string, condition: RouteCondition): ConditionTest {
  const { paths, methods } = readCondition(option, condition);
  const tests = paths?.map((path) => compilePath(`${option}.path`, path));
  return function matches({ method, url }) {
    if (methods?.has(method) === false) return false;
    if (tests === undefined) return true;
    const path = pathOf(url);
    return isReadable(path) && isExact(path) && tests.some((test) => test(path));
  };
}

/**
 * The wide reading of a condition, for `when()`: it matches every spelling by which a router may find the route. Case and a
 * trailing slash do not matter, HEAD matches GET, and an ambiguous path ({@link isReadable}) matches. The case of a method does
 * not matter either: HTTP/2 carries `post`, and Express looks for the handler of a method in lower case.
 */
export function compileWideCondition(option: string, condition: RouteCondition): ConditionTest {
  const { paths, methods } = readCondition(option, condition);
  if (paths?.length === 0 || methods?.size === 0) throw optionError(option, "would never apply: a list is empty");
  const tests = paths?.map((path) => compilePath(`${option}.path`, widen(path)));
  return function matches({ method, url }) {
    if (methods !== undefined && !isAmong(methods, method)) return false;
    if (tests === undefined) return true;
    const path = pathOf(url);
    return !isReadable(path) || spellings(path).some((spelling) => tests.some((test) => test(spelling)));
  };
}

function isAmong(methods: ReadonlySet<string>, method: string): boolean {
  if (methods.has(method)) return true;
  const usual = method.toUpperCase();
  return methods.has(usual) || (usual === "HEAD" && methods.has("GET"));
}

interface ReadCondition {
  readonly paths: readonly (string | RegExp)[] | undefined;
  readonly methods: ReadonlySet<string> | undefined;
}

function readCondition(option: string, condition: RouteCondition): ReadCondition {
  checkObject(option, condition, ["path", "method"], '{ path: "/public/*" }');
  const { path, method } = condition;
  if (path === undefined && method === undefined) throw optionError(option, "needs a path, a method or both");
  return {
    paths: path === undefined ? undefined : asList(path),
    methods:
      method === undefined ? undefined : new Set(asList(method).map((one) => compileMethod(`${option}.method`, one))),
  };
}

function widen(path: string | RegExp): string | RegExp {
  if (typeof path === "string") return path.toLowerCase();
  return path instanceof RegExp && !path.flags.includes("i") ? new RegExp(path.source, `${path.flags}i`) : path;
}

/**
 * The spellings of a readable path in lower case: raw and decoded; both also without path parameters and without the part that a
 * second parser would take for a query; all with and without a slash at the end.
 */
function spellings(path: string): string[] {
  const plain = path.toLowerCase();
  if (!/[%;]/.test(plain)) return withAndWithoutSlash(plain);
  const decoded = decodeURIComponent(plain).toLowerCase();
  const all = [plain, decoded, decoded.normalize("NFKC").toLowerCase()].flatMap((text) => [
    text,
    text.replace(/[?#].*$/s, "").replace(/;[^/]*/g, ""),
  ]);
  return [...new Set(all)].flatMap((text) => withAndWithoutSlash(text.trimEnd()));
}

function withAndWithoutSlash(path: string): string[] {
  const bare = path.replace(/\/$/, "");
  return [bare === "" ? "/" : bare, `${bare}/`];
}

function compilePath(option: string, path: unknown): PathTest {
  if (path instanceof RegExp) {
    const expression = new RegExp(path.source, path.flags);
    return function test(requested) {
      // A global or sticky expression continues after its last match, so it would answer differently the next time.
      expression.lastIndex = 0;
      return expression.test(requested);
    };
  }
  if (typeof path !== "string" || !path.startsWith("/")) {
    throw optionError(option, `must start with "/" or be a regular expression, not ${kindOf(path)}`);
  }
  if (path.replace(/\/\*$/, "").includes("*"))
    throw optionError(option, 'may have "*" only at its end, as "/public/*"');
  if (/\/:[A-Za-z_]/.test(path))
    throw optionError(option, 'has no parameters such as "/:id"; write "/users/*", or a regular expression');
  if (!path.endsWith("/*")) return (requested) => requested === path;
  const parent = path.slice(0, -1);
  return (requested) => requested.startsWith(parent);
}

function compileMethod(option: string, method: unknown): string {
  checkString(option, method);
  return method.toUpperCase();
}

/** The path up to the query. A request has no fragment, so `#` is kept, and {@link isReadable} refuses it. */
function pathOf(url: string): string {
  const end = url.indexOf("?");
  return end === -1 ? url : url.slice(0, end);
}

/**
 * An absolute path of visible ASCII (RFC 3986 allows no other characters), without `#`, which begins a fragment, and without the
 * backslash, which some parsers take for a slash. Parsers trim blanks, such as U+00A0 and U+FEFF, at the ends.
 */
const absolutePath = /^\/[\x21\x22\x24-\x5b\x5d-\x7e]*$/;
/** Empty segments and dot segments (RFC 3986 3.3), also with path parameters, as in `..;`. */
const oddSegment = /\/(?:[/;]|\.{1,2}(?:[/;]|$))/;
/** Encoded dots, slashes and backslashes, and control characters. */
const oddEncoding = /%(?:2[ef]|5c|7f|[01][0-9a-f])/i;
/** An escape in decoded text: it was encoded twice. */
const encoded = /%[0-9a-f]{2}/i;

/** Does every parser find the same segments in this path? */
function isReadable(path: string): boolean {
  if (!absolutePath.test(path) || oddSegment.test(path)) return false;
  if (!path.includes("%")) return true;
  if (oddEncoding.test(path)) return false;
  const decoded = decode(path);
  // Undefined means invalid UTF-8, such as an over-long encoding of a slash (RFC 3629 3).
  if (decoded === undefined) return false;
  const folded = decoded.normalize("NFKC");
  if (encoded.test(folded)) return false;
  return !/[\\\p{Cc}]/u.test(folded) && !oddSegment.test(decoded) && !oddSegment.test(folded);
}

/** Has a readable path no path parameters, and no encoded character that would be a delimiter after decoding? */
function isExact(path: string): boolean {
  if (path.includes(";")) return false;
  if (!path.includes("%")) return true;
  const folded = decode(path)?.normalize("NFKC") ?? "";
  return delimitersOf(folded) === delimitersOf(path.replace(/%../g, ""));
}

/** The delimiters of a path. */
function delimitersOf(text: string): string {
  return text.replace(/[^/\\.;?#%]/g, "");
}

function decode(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}

/** A copy of a list, or a list of one value. */
function asList<T>(value: T | readonly T[]): readonly T[] {
  return Array.isArray(value) ? [...(value as readonly T[])] : [value as T];
}
