import type { OutgoingHttpHeaders } from "node:http";
import { bodyFields } from "../http/interception.js";
import type { Header } from "../http/verdict.js";

/**
 * Fields of one exchange and not of its representation: of the connection (RFC 9110 7.6.1), of who asked, and of the moment.
 * They are neither stored nor replayed.
 */
const unstoredFields: ReadonlySet<string> = new Set([
  ...["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"],
  ...["proxy-authenticate", "proxy-authentication-info", "proxy-authorization", "authentication-info"],
  ...["set-cookie", "set-cookie2", "clear-site-data", "www-authenticate", "dpop-nonce", "retry-after"],
  ...["age", "cache-status", "content-length", "date", "server-timing", "x-request-id", "x-correlation-id"],
]);

const unstoredFamilies = /^(?:x-)?ratelimit(?:-|$)|^access-control-/;

/**
 * The fields of a response to store: those that its handler gave it. What stood there before is not the handler's: whoever
 * set it sets it again on every response.
 */
export function fieldsToStore(headers: OutgoingHttpHeaders, before: OutgoingHttpHeaders): Header[] {
  const nominated = new Set(listMembers(fieldText(headers.connection)));
  const fields: Header[] = [];
  for (const [name, value] of Object.entries(headers)) {
    const text = fieldText(value);
    if (text === undefined || unstoredFields.has(name) || nominated.has(name) || unstoredFamilies.test(name)) continue;
    if (text !== fieldText(before[name])) fields.push([name, text]);
  }
  return fields;
}

/** Fields in lower case that the handler removed. */
export function removedFields(headers: OutgoingHttpHeaders, before: OutgoingHttpHeaders): string[] {
  return Object.keys(before).filter((name) => headers[name] === undefined);
}

/** The fields of a 304 (RFC 9110 15.4.5): those of the response, but for those about a body. */
export function notModifiedFields(fields: readonly Header[]): Header[] {
  return fields.filter(([name]) => !bodyFields.includes(name));
}

export function fieldText(value: number | string | readonly string[] | undefined): string | undefined {
  return typeof value === "object" ? value.join(", ") : value === undefined ? undefined : String(value);
}

/** The members of a comma-separated list of names, in lower case and without empty ones. */
export function listMembers(field: string | undefined): string[] {
  return (field ?? "")
    .split(",")
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== "");
}
