/** Why a request went on to the handler (RFC 9211 2.2). */
export type Forward = "bypass" | "method" | "uri-miss" | "vary-miss" | "miss" | "request" | "stale" | "partial";

export interface Handling {
  /** Absent: it was answered from the cache. */
  readonly forwarded?: Forward | undefined;
  /** What the handler said, where the client gets something else. */
  readonly forwardStatus?: number | undefined;
  readonly stored?: boolean | undefined;
  /** It waited for what another request got. */
  readonly collapsed?: boolean | undefined;
  /** For whoever looks for the reason; without quotes and backslashes. */
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
