import { checkObject, checkString, kindOf, optionError } from "../lib/validate.js";
import type { Exchange } from "./exchange.js";

/** Which requests a condition means; all given members must match. */
export interface RouteCondition {
  /** An exact path, `"/public/*"` for everything below one, a regular expression, or several. Without the query. */
  readonly path?: string | RegExp | readonly (string | RegExp)[] | undefined;
  /** A method, or several. */
  readonly method?: string | readonly string[] | undefined;
}

type PathTest = (path: string) => boolean;

/** Tests an exchange against a condition. */
export type ConditionTest = (exchange: Pick<Exchange, "method" | "url">) => boolean;

/**
 * The narrow reading of a condition, for what frees from a check: the exact spelling only. A path that could mean one thing
 * here and another to a router, a proxy or a file server matches nothing ({@link isExact}).
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
 * The wide reading of a condition, for what applies a check: every spelling by which a router may find the route. Case and
 * a trailing slash do not matter, HEAD is GET, and a path that nobody can read for sure ({@link isReadable}) matches.
 * Nor does the case of a method: HTTP/2 carries `post`, and Express looks for the handler of a method in lower case.
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
  checkObject(option, condition, ["path", "method"]);
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
 * A readable path in lower case: as it is and decoded, each also without path parameters and what a second parser would
 * take for a query, and each with and without a slash at its end.
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
    return function test(asked) {
      // A global or sticky expression goes on from where it stopped, and would answer differently the next time.
      expression.lastIndex = 0;
      return expression.test(asked);
    };
  }
  if (typeof path !== "string" || !path.startsWith("/")) {
    throw optionError(option, `must start with "/" or be a regular expression, not ${kindOf(path)}`);
  }
  if (path.replace(/\/\*$/, "").includes("*"))
    throw optionError(option, 'may have "*" only at its end, as "/public/*"');
  if (!path.endsWith("/*")) return (asked) => asked === path;
  const parent = path.slice(0, -1);
  return (asked) => asked.startsWith(parent);
}

function compileMethod(option: string, method: unknown): string {
  checkString(option, method);
  return method.toUpperCase();
}

/** The path up to the query. A fragment has no place in a request, so `#` is left for {@link isReadable} to find. */
function pathOf(url: string): string {
  const end = url.indexOf("?");
  return end === -1 ? url : url.slice(0, end);
}

/**
 * An absolute path of visible ASCII (RFC 3986 has no other), without the fragment that only clients use and the backslash
 * that some parsers take for a slash. Parsers trim blanks, U+00A0 and U+FEFF among them, off the ends.
 */
const absolutePath = /^\/[\x21\x22\x24-\x5b\x5d-\x7e]*$/;
/** Empty segments and dot segments (RFC 3986 3.3), also with path parameters, as in `..;`. */
const oddSegment = /\/(?:[/;]|\.{1,2}(?:[/;]|$))/;
/** Encoded dots, slashes and backslashes, and control characters. */
const oddEncoding = /%(?:2[ef]|5c|7f|[01][0-9a-f])/i;
/** In what was decoded once, this was encoded twice, however its percent sign and its digits were written. */
const encoded = /%[0-9a-f]{2}/i;

/** Does everybody who parses this path find the same segments in it? */
function isReadable(path: string): boolean {
  if (!absolutePath.test(path) || oddSegment.test(path)) return false;
  if (!path.includes("%")) return true;
  if (oddEncoding.test(path)) return false;
  const decoded = decode(path);
  // Undefined: no UTF-8, as over-long encodings of a slash are none (RFC 3629 3).
  if (decoded === undefined) return false;
  const folded = decoded.normalize("NFKC");
  if (encoded.test(folded)) return false;
  return !/[\\\p{Cc}]/u.test(folded) && !oddSegment.test(decoded) && !oddSegment.test(folded);
}

/** Has a readable path no path parameters, and no encoded character that would divide it if it were decoded first? */
function isExact(path: string): boolean {
  if (path.includes(";")) return false;
  if (!path.includes("%")) return true;
  const folded = decode(path)?.normalize("NFKC") ?? "";
  return divisionsOf(folded) === divisionsOf(path.replace(/%../g, ""));
}

/** The characters that may mean more than themselves. */
function divisionsOf(text: string): string {
  return text.replace(/[^/\\.;?#%]/g, "");
}

function decode(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}

/** One or several, as a list of the gate's own. */
function asList<T>(value: T | readonly T[]): readonly T[] {
  return Array.isArray(value) ? [...(value as readonly T[])] : [value as T];
}
