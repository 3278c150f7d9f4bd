import type { OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Header } from "./verdict.js";

/** Does Node take these arguments of `writeHead`? It refuses other statuses, and lists with a name and no value. */
export function isHead(status: unknown, rest: readonly unknown[]): boolean {
  const code = (status as number) | 0;
  const given = fieldsGiven(rest);
  const isOdd = Array.isArray(given) && !Array.isArray(given[0]) && given.length % 2 !== 0;
  return code >= 100 && code <= 999 && !isOdd;
}

/** As Node reads it: the fields are the second argument, also behind a reason that is undefined or null. */
function fieldsGiven([first, second]: readonly unknown[]): unknown {
  return typeof first === "string" ? second : (second ?? first);
}

/** Applies the arguments of `writeHead` to a response. */
export function applyHead(res: ServerResponse, status: number, rest: readonly unknown[]): void {
  res.statusCode = status;
  const [reason] = rest;
  if (typeof reason === "string") res.statusMessage = reason;
  const given = fieldsGiven(rest);
  if (Array.isArray(given)) {
    // HTTP/2 also accepts pairs.
    const list = (Array.isArray(given[0]) ? given.flat() : given) as readonly unknown[];
    for (let at = 0; at + 1 < list.length; at += 2) res.removeHeader(String(list[at]));
    for (let at = 0; at + 1 < list.length; at += 2) {
      const value = list[at + 1];
      res.appendHeader(String(list[at]), Array.isArray(value) ? value.map(String) : String(value));
    }
  } else if (typeof given === "object" && given !== null) {
    for (const [name, value] of Object.entries(given as OutgoingHttpHeaders)) {
      // Node throws for an undefined value.
      res.setHeader(name, value as OutgoingHttpHeader);
    }
  }
}

/** The fields of a response in an object without a prototype: a field may have the name of an inherited property. */
export function fieldsOf(res: Pick<ServerResponse, "getHeaders">): OutgoingHttpHeaders {
  return Object.assign(Object.create(null) as OutgoingHttpHeaders, res.getHeaders());
}

/** Sets fields on a response. Fields without a value are left out. */
export function setAll(
  res: ServerResponse,
  fields: Iterable<readonly [string, OutgoingHttpHeader | undefined] | Header>,
): void {
  for (const [name, value] of fields) if (value !== undefined) res.setHeader(name, value);
}
