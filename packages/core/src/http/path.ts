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

/**
 * Tests requests against a condition. A path that could mean one thing here and another to a router (encoded slashes or
 * dots, dot segments, empty segments, backslashes) matches nothing: where the condition frees from a check, it stays on.
 */
export function compileCondition(option: string, condition: RouteCondition): (exchange: Exchange) => boolean {
  checkObject(option, condition, ["path", "method"]);
  const { path, method } = condition;
  if (path === undefined && method === undefined) throw optionError(option, "needs a path, a method or both");
  const paths = path === undefined ? undefined : asList(path).map((one) => compilePath(`${option}.path`, one));
  const methods =
    method === undefined ? undefined : new Set(asList(method).map((one) => compileMethod(`${option}.method`, one)));
  return function matches({ method: asked, url }) {
    if (methods?.has(asked) === false) return false;
    if (paths === undefined) return true;
    const plain = plainPath(url);
    return plain !== undefined && paths.some((test) => test(plain));
  };
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

function asList<T>(value: T | readonly T[]): readonly T[] {
  return Array.isArray(value) ? (value as readonly T[]) : [value as T];
}
