import type { Directives } from "./cache-control.js";
import { readSeconds, secondsOf } from "./cache-control.js";
import { readDate } from "./http-date.js";

/** What a response says about its age and how long it may be used; all in seconds. */
export interface Freshness {
  /** How old it was when it was stored (RFC 9111 4.2.3). */
  readonly initialAge: number;
  /** How old it may become and still be fresh (RFC 9111 4.2.1). */
  readonly lifetime: number;
  /** Did the response say so itself? */
  readonly explicit: boolean;
  /** After that, how long others get it while one makes a new one (RFC 5861 3). */
  readonly staleWhileRevalidate: number;
  /** After that, how long it stands in for a server error (RFC 5861 4). */
  readonly staleIfError: number;
  /** It must not be used once it is stale, whatever a request says. */
  readonly mustRevalidate: boolean;
}

/** Where the response says nothing; seconds. */
export interface FreshnessDefaults {
  /** Undefined: such responses are not stored. */
  readonly lifetime: number | undefined;
  readonly staleWhileRevalidate: number;
  readonly staleIfError: number;
}

/** Fields of a response by their lower-case names. */
export type FieldReader = (name: string) => string | undefined;

/** Undefined if neither the response nor a default says how long it is fresh. Times are Unix milliseconds. */
export function freshnessOf(
  field: FieldReader,
  directives: Directives,
  defaults: FreshnessDefaults,
  { requestMs, nowMs, shared }: { readonly requestMs: number; readonly nowMs: number; readonly shared: boolean },
): Freshness | undefined {
  const explicit = explicitLifetime(field, directives, nowMs, shared);
  const lifetime = explicit ?? defaults.lifetime;
  if (lifetime === undefined) return undefined;
  const mustRevalidate =
    directives.has("must-revalidate") || (shared && (directives.has("proxy-revalidate") || directives.has("s-maxage")));
  const stale = (name: string, byDefault: number): number =>
    directives.has("must-revalidate") || (shared && directives.has("proxy-revalidate"))
      ? 0
      : (secondsOf(directives, name, 0) ?? (mustRevalidate ? 0 : byDefault));
  return {
    initialAge: initialAge(field, requestMs, nowMs),
    lifetime,
    explicit: explicit !== undefined,
    staleWhileRevalidate: stale("stale-while-revalidate", defaults.staleWhileRevalidate),
    staleIfError: stale("stale-if-error", defaults.staleIfError),
    mustRevalidate,
  };
}

/** The first of these that is there, also if it is bad: then the response is stale from the start. */
function explicitLifetime(
  field: FieldReader,
  directives: Directives,
  nowMs: number,
  shared: boolean,
): number | undefined {
  const maxAge = (shared ? secondsOf(directives, "s-maxage", 0) : undefined) ?? secondsOf(directives, "max-age", 0);
  if (maxAge !== undefined) return maxAge;
  const expires = field("expires");
  if (expires === undefined) return undefined;
  const until = readDate(expires, nowMs);
  return until === undefined ? 0 : Math.max(0, (until - (readDate(field("date"), nowMs) ?? nowMs)) / 1000);
}

/** By the response's own Date and Age, if it came from elsewhere, and the time it took (RFC 9111 4.2.3). */
function initialAge(field: FieldReader, requestMs: number, nowMs: number): number {
  const date = readDate(field("date"), nowMs) ?? nowMs;
  const [first = ""] = (field("age") ?? "").split(",", 1);
  const age = readSeconds(first.trim()) ?? 0;
  return Math.max(0, (nowMs - date) / 1000, age + (nowMs - requestMs) / 1000);
}

/** One moment by two clocks; milliseconds. */
export interface ClockReading {
  /** Unix milliseconds by the clock of the process. */
  readonly processMs: number;
  /** By the clock of the store, which all processes share. */
  readonly storeMs: number;
}

/**
 * Seconds since it was made, by the clock that says more. One that went back makes nothing younger than it was, and neither
 * does one that is behind that of the process that stored it.
 */
export function currentAge(initialAge: number, stored: ClockReading, now: ClockReading): number {
  const elapsedMs = Math.max(0, now.processMs - stored.processMs, now.storeMs - stored.storeMs);
  return initialAge + elapsedMs / 1000;
}

/** How long a response is worth keeping. */
export function usefulSeconds({ initialAge, lifetime, staleWhileRevalidate, staleIfError }: Freshness): number {
  return lifetime - initialAge + Math.max(staleWhileRevalidate, staleIfError);
}

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
