import type { Directives } from "./directives.js";
import { secondsOf } from "./directives.js";
import type { Freshness } from "./freshness.js";

/**
 * What a request may get of a stored response: `fresh`; `stale`, because it says that it takes that; `revalidate`, the stale
 * copy while another request makes a new one; `forward`, nothing.
 */
export type Reuse = "fresh" | "stale" | "revalidate" | "forward";

type Stored = Pick<Freshness, "lifetime" | "staleWhileRevalidate" | "mustRevalidate">;

/** Whether a stored response of this age, in seconds, answers a request (RFC 9111 4.2 and 5.2.1). */
export function decideReuse(stored: Stored, age: number, request: Directives): Reuse {
  if (request.has("no-cache") || request.has("no-store")) return "forward";
  const maxAge = secondsOf(request, "max-age", 0);
  if (maxAge !== undefined && age > maxAge) return "forward";
  const left = stored.lifetime - age;
  // A response whose lifetime is over to the second is stale (RFC 9111 4.2).
  if (left > 0 && left >= (secondsOf(request, "min-fresh", 0) ?? 0)) return "fresh";
  if (left > 0 || request.has("min-fresh")) return "forward";
  // Without a number any staleness is welcome.
  const maxStale = request.get("max-stale") === "" ? Infinity : secondsOf(request, "max-stale", 0);
  if (maxStale !== undefined && !stored.mustRevalidate && -left <= maxStale) return "stale";
  return -left < stored.staleWhileRevalidate ? "revalidate" : "forward";
}

/** May a stored response of this age stand in for a server error (RFC 5861 4)? */
export function mayServeOnError(stored: Pick<Freshness, "lifetime" | "staleIfError">, age: number): boolean {
  return age < stored.lifetime + stored.staleIfError;
}

/** Seconds that are left of its freshness, as `Cache-Status` tells them (RFC 9211 2.4). */
export function secondsLeft({ lifetime }: Pick<Freshness, "lifetime">, age: number): number {
  return Math.floor(lifetime - age);
}
