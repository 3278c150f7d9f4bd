import { bodyFields } from "../http/interception.js";
import type { Header } from "../http/verdict.js";
import type { Directives } from "./cache-control.js";

/** The properties of a response and its request that decide whether it may be stored. */
export interface Candidate {
  readonly status: number;
  readonly directives: Directives;
  readonly vary: readonly string[];
  readonly setsCookie: boolean;
  /** True if the request has credentials. */
  readonly hasCredentials: boolean;
  readonly hasCookies: boolean;
  /** False for a cache with one response for each user. */
  readonly shared: boolean;
  readonly explicit: boolean;
}

/** Final status codes that this cache understands (RFC 9111 3) and stores: no 206, no 304, no server error. */
export const storableStatuses: readonly number[] = [
  ...[200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414],
];

/** Status codes that may be stored without a stated lifetime (RFC 9110 15.1). */
const heuristicallyCacheable: ReadonlySet<number> = new Set([200, 203, 204, 300, 301, 308, 404, 405, 410, 414]);

/** Media types of bodies that last as long as the connection. */
const endlessTypes: ReadonlySet<string> = new Set(["text/event-stream", "multipart/x-mixed-replace"]);

/** True if this Content-Type announces a body without an end. */
export function isEndless(contentType: string | undefined): boolean {
  const [type = ""] = (contentType ?? "").split(";", 1);
  return endlessTypes.has(type.trim().toLowerCase());
}

/**
 * True if a shared cache, or the cache of one user, may store the response (RFC 9111 3). `statuses` are the status codes that
 * the cache understands. The lifetime is checked elsewhere.
 */
export function isStorable(candidate: Candidate, statuses: ReadonlySet<number>): boolean {
  const { status, directives, shared, explicit } = candidate;
  if (!statuses.has(status) || (!explicit && !heuristicallyCacheable.has(status))) return false;
  if (forbidsStoring(candidate, isPublic(directives))) return false;
  return !shared || mayServe(candidate, { open: mayBeShared(directives), explicit });
}

/** True if a response states that it must not be stored. `isPublicResponse`: it states that it is public. */
export function forbidsStoring(
  { directives, vary, setsCookie, shared }: Pick<Candidate, "directives" | "vary" | "setsCookie" | "shared">,
  isPublicResponse: boolean,
): boolean {
  // With must-understand, no-store is for caches that do not know the status (RFC 9111 5.2.2.3).
  if (directives.has("no-store") && !directives.has("must-understand")) return true;
  // Each use would need a request to the handler (RFC 9111 5.2.2.4).
  if (directives.has("no-cache")) return true;
  if (vary.includes("*")) return true;
  if (!shared) return setsCookie;
  return directives.has("private") || (setsCookie && !isPublicResponse);
}

/** True for a response that states that all clients may get it (RFC 9111 5.2.2.9 and 5.2.2.10). */
export function isPublic(directives: Directives): boolean {
  return directives.has("public") || directives.has("s-maxage");
}

/** True if a response to a request with credentials may be shared (RFC 9111 3.5). */
export function mayBeShared(directives: Directives): boolean {
  return isPublic(directives) || directives.has("must-revalidate");
}

/**
 * True if a request may store a response, or get it. With credentials, the response must state that it may be shared. With
 * cookies, it must state at least its lifetime: the cookies may hold a session that the gate does not know.
 */
export function mayServe(
  { hasCredentials, hasCookies }: Pick<Candidate, "hasCredentials" | "hasCookies">,
  { open, explicit }: { readonly open: boolean; readonly explicit: boolean },
): boolean {
  return open || (!hasCredentials && (explicit || !hasCookies));
}

/** True if the response is not stored only because of the credentials or cookies of the request. */
export function isWithheldForCredentials(candidate: Candidate, statuses: ReadonlySet<number>): boolean {
  const anonymous = { ...candidate, hasCredentials: false, hasCookies: false };
  return !isStorable(candidate, statuses) && isStorable(anonymous, statuses);
}

/** The fields of a 304 (RFC 9110 15.4.5): those of the response, except the fields about a body. */
export function notModifiedFields(fields: readonly Header[]): Header[] {
  return fields.filter(([name]) => !bodyFields.includes(name));
}
