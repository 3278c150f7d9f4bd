import type { OutgoingHttpHeaders } from "node:http";
import type { Header } from "./verdict.js";

/** The fields of a response that are stored, and sent with it again. */

/**
 * Fields that belong to one exchange: to its connection (RFC 9110 7.6.1), to its client, or to its time. They are neither
 * stored nor sent with a stored response (RFC 9111 3.1).
 */
const unstoredFields: ReadonlySet<string> = new Set([
  ...["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"],
  ...["proxy-authenticate", "proxy-authentication-info", "proxy-authorization", "authentication-info"],
  ...["set-cookie", "set-cookie2", "clear-site-data", "www-authenticate", "dpop-nonce", "retry-after"],
  ...["age", "cache-status", "content-length", "date", "server-timing", "x-request-id", "x-correlation-id"],
]);

const unstoredFamilies = /^(?:x-)?ratelimit(?:-|$)|^access-control-/;

/**
 * The fields of a response to store: those that its handler set. Middleware in front of it set the fields that were
 * there before, and sets them on each response again.
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

/** The names of fields that the handler removed, in lower case. */
export function removedFields(headers: OutgoingHttpHeaders, before: OutgoingHttpHeaders): string[] {
  return Object.keys(before).filter((name) => headers[name] === undefined);
}

/** The text of a field; several lines are joined. */
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
