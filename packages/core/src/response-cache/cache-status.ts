/** The reason why a request went on to the handler (RFC 9211 2.2). */
export type Forward = "bypass" | "method" | "uri-miss" | "vary-miss" | "miss" | "request" | "stale" | "partial";

/** How the cache handled a request (RFC 9211 2). */
export interface Handling {
  /** Absent: the cache answered. */
  readonly forwarded?: Forward | undefined;
  /** The status of the handler, where the client gets another response. */
  readonly forwardStatus?: number | undefined;
  readonly stored?: boolean | undefined;
  /** It was answered with the response to another request. */
  readonly collapsed?: boolean | undefined;
  /** A text for people; without quotes and backslashes. */
  readonly detail?: string | undefined;
  /** Seconds until it is stale. */
  readonly ttl?: number | undefined;
}

/** One member of a `Cache-Status` field (RFC 9211). */
export function cacheStatus(
  name: string,
  { forwarded, forwardStatus, stored, collapsed, ttl, detail }: Handling,
): string {
  let text = forwarded === undefined ? `${name}; hit` : `${name}; fwd=${forwarded}`;
  if (forwardStatus !== undefined) text += `; fwd-status=${forwardStatus}`;
  if (stored === true) text += "; stored";
  if (collapsed === true) text += "; collapsed";
  if (ttl !== undefined) text += `; ttl=${ttl}`;
  return detail === undefined ? text : `${text}; detail="${detail}"`;
}
