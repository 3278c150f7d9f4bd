import type { OutgoingHttpHeaders } from "node:http";
import { bodyFields } from "../http/interception.js";
import type { Header } from "../http/verdict.js";
import type { Directives } from "./cache-control.js";

/** What of a response and its request decides whether it may be stored. */
export interface Candidate {
  readonly status: number;
  readonly directives: Directives;
  readonly vary: readonly string[];
  readonly setsCookie: boolean;
  /** Did the request carry credentials? */
  readonly hasCredentials: boolean;
  readonly hasCookies: boolean;
  /** False for a view of one user's own. */
  readonly shared: boolean;
  readonly explicit: boolean;
}

/** Final codes whose meaning this cache knows (RFC 9111 5.2.2.3) and that no failure has: those below 500, and no 206 or 304. */
export const storableStatuses: readonly number[] = [
  ...[200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414],
];

/** Those that may be kept although the response does not say how long (RFC 9110 15.1). */
const heuristicallyCacheable: ReadonlySet<number> = new Set([200, 203, 204, 300, 301, 308, 404, 405, 410, 414]);

/** Media types of what goes on for as long as somebody listens. */
const endlessTypes: ReadonlySet<string> = new Set(["text/event-stream", "multipart/x-mixed-replace"]);

/** Does this Content-Type announce a body without an end? */
export function isEndless(contentType: string | undefined): boolean {
  const [type = ""] = (contentType ?? "").split(";", 1);
  return endlessTypes.has(type.trim().toLowerCase());
}

/**
 * May a shared cache, or that of one user, store this (RFC 9111 3)? `statuses` are those it knows. A response without a
 * lifetime is asked about elsewhere.
 */
export function isStorable(candidate: Candidate, statuses: ReadonlySet<number>): boolean {
  const { status, directives, shared, explicit } = candidate;
  if (!statuses.has(status) || (!explicit && !heuristicallyCacheable.has(status))) return false;
  if (forbidsStoring(candidate, isPublic(directives))) return false;
  return !shared || mayServe(candidate, { open: mayBeShared(directives), explicit });
}

/** Does a response say that it must not be stored? `forEveryone`: it says that it is the same for all. */
export function forbidsStoring(
  { directives, vary, setsCookie, shared }: Pick<Candidate, "directives" | "vary" | "setsCookie" | "shared">,
  isPublicResponse: boolean,
): boolean {
  // With must-understand, no-store is for caches that do not know the status (RFC 9111 5.2.2.3).
  if (directives.has("no-store") && !directives.has("must-understand")) return true;
  // It would have to be made again for every use.
  if (directives.has("no-cache")) return true;
  if (vary.includes("*")) return true;
  if (!shared) return setsCookie;
  return directives.has("private") || (setsCookie && !isPublicResponse);
}

/** Says that it is the same for all (RFC 9111 5.2.2.9 and 5.2.2.10). */
export function isPublic(directives: Directives): boolean {
  return directives.has("public") || directives.has("s-maxage");
}

/** May a response to a request with credentials be shared (RFC 9111 3.5)? */
export function mayBeShared(directives: Directives): boolean {
  return isPublic(directives) || directives.has("must-revalidate");
}

/**
 * A request with credentials leaves and gets only what says of itself that it may be shared. One with cookies leaves and gets
 * only what says at least how long it is good: a session that the gate knows nothing of may be in them.
 */
export function mayServe(
  { hasCredentials, hasCookies }: Pick<Candidate, "hasCredentials" | "hasCookies">,
  { open, explicit }: { readonly open: boolean; readonly explicit: boolean },
): boolean {
  return open || (!hasCredentials && (explicit || !hasCookies));
}

/** Is it only for who asked that this is not stored? */
export function isWithheldForCredentials(candidate: Candidate, statuses: ReadonlySet<number>): boolean {
  const anonymous = { ...candidate, hasCredentials: false, hasCookies: false };
  return !isStorable(candidate, statuses) && isStorable(anonymous, statuses);
}

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
