import { checkObject, checkString, kindOf, optionError } from "../options/validate.js";
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
 * here and another to a router (encoded slashes or dots, dot segments, empty segments, backslashes) matches nothing.
 */
export function compileCondition(option: string, condition: RouteCondition): ConditionTest {
  const { paths, methods } = readCondition(option, condition);
  const tests = paths?.map((path) => compilePath(`${option}.path`, path));
  return function matches({ method, url }) {
    if (methods?.has(method) === false) return false;
    if (tests === undefined) return true;
    const path = plainPath(url);
    return path !== undefined && tests.some((test) => test(path));
  };
}

/**
 * The wide reading of a condition, for what applies a check: every spelling by which a router may find the route. Case and
 * a trailing slash do not matter, HEAD is GET, and a path that can be read in two ways matches.
 */
export function compileWideCondition(option: string, condition: RouteCondition): ConditionTest {
  const { paths, methods } = readCondition(option, condition);
  if (paths?.length === 0 || methods?.size === 0) throw optionError(option, "would never apply: a list is empty");
  const tests = paths?.map((path) => compilePath(`${option}.path`, widen(path)));
  return function matches({ method, url }) {
    if (methods?.has(method) === false && !(method === "HEAD" && methods.has("GET"))) return false;
    if (tests === undefined) return true;
    const path = plainPath(url);
    return path === undefined || spellings(path).some((spelling) => tests.some((test) => test(spelling)));
  };
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

/** The path in lower case, as it is and decoded, with and without a slash at its end. */
function spellings(path: string): string[] {
  const bare = path.toLowerCase().replace(/\/$/, "");
  return [bare, decode(bare)].flatMap((spelling) => [spelling === "" ? "/" : spelling, `${spelling}/`]);
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path).toLowerCase();
  } catch {
    return path;
  }
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

/** The path without query, if it can be read in one way only. */
function plainPath(url: string): string | undefined {
  const end = url.search(/[?#]/);
  const path = end === -1 ? url : url.slice(0, end);
  return /^\/(?!\/)/.test(path) && !/\/\/|\\|\/\.{1,2}(?:\/|$)|%(?:2[ef]|5c)/i.test(path) ? path : undefined;
}

/** One or several, as a list of the gate's own. */
function asList<T>(value: T | readonly T[]): readonly T[] {
  return Array.isArray(value) ? [...(value as readonly T[])] : [value as T];
}
