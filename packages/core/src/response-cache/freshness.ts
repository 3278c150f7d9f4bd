import type { Directives } from "./cache-control.js";
import { readSeconds, secondsOf } from "./cache-control.js";
import { readDate } from "../http/fields.js";

/** The age and the lifetimes of a response, in seconds. */
export interface Freshness {
  /** The age when it was stored (RFC 9111 4.2.3). */
  readonly initialAge: number;
  /** The age up to which it is fresh (RFC 9111 4.2.1). */
  readonly lifetime: number;
  /** True if the response states its lifetime. */
  readonly explicit: boolean;
  /** How long after that it is used while one request makes a new response (RFC 5861 3). */
  readonly staleWhileRevalidate: number;
  /** How long after that it is used instead of a server error (RFC 5861 4). */
  readonly staleIfError: number;
  /** A stale response must not be used, also if a request allows it (RFC 9111 5.2.2.2). */
  readonly mustRevalidate: boolean;
}

/** Values for a response that states none, in seconds. */
export interface FreshnessDefaults {
  /** Undefined: a response without a lifetime is not stored. */
  readonly lifetime: number | undefined;
  readonly staleWhileRevalidate: number;
  readonly staleIfError: number;
}

/** Fields of a response by their lower-case names. */
export type FieldReader = (name: string) => string | undefined;

/** The freshness of a response; undefined if neither the response nor a default states a lifetime. Times are Unix milliseconds. */
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

/** The lifetime by s-maxage, max-age or Expires, the first that is present. A malformed one is 0: the response is stale. */
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

/** The age by the Date and Age fields of the response, and by the time that it took (RFC 9111 4.2.3). */
function initialAge(field: FieldReader, requestMs: number, nowMs: number): number {
  const date = readDate(field("date"), nowMs) ?? nowMs;
  const [first = ""] = (field("age") ?? "").split(",", 1);
  const age = readSeconds(first.trim()) ?? 0;
  return Math.max(0, (nowMs - date) / 1000, age + (nowMs - requestMs) / 1000);
}

/** One time by two clocks, in milliseconds. */
export interface ClockReading {
  /** Unix milliseconds by the clock of the process. */
  readonly processMs: number;
  /** By the clock of the store, which all processes share. */
  readonly storeMs: number;
}

/**
 * The age in seconds, by the clock that shows the longer time. A clock that was set back makes no response younger; neither
 * does a clock behind that of the process that stored it.
 */
export function currentAge(initialAge: number, stored: ClockReading, now: ClockReading): number {
  const elapsedMs = Math.max(0, now.processMs - stored.processMs, now.storeMs - stored.storeMs);
  return initialAge + elapsedMs / 1000;
}

/** How long a response is kept, in seconds: while it is fresh, or may be used stale. */
export function usefulSeconds({ initialAge, lifetime, staleWhileRevalidate, staleIfError }: Freshness): number {
  return lifetime - initialAge + Math.max(staleWhileRevalidate, staleIfError);
}

/**
 * How a stored response may answer a request: `fresh`; `stale`, because the request allows it; `revalidate`, stale while
 * another request makes a new response; `forward`, not at all.
 */
export type Reuse = "fresh" | "stale" | "revalidate" | "forward";

type Stored = Pick<Freshness, "lifetime" | "staleWhileRevalidate" | "mustRevalidate">;

/** Whether a stored response of this age, in seconds, answers a request (RFC 9111 4.2 and 5.2.1). */
export function decideReuse(stored: Stored, age: number, request: Directives): Reuse {
  if (request.has("no-cache") || request.has("no-store")) return "forward";
  const maxAge = secondsOf(request, "max-age", 0);
  if (maxAge !== undefined && age > maxAge) return "forward";
  const left = stored.lifetime - age;
  // A response is stale when its age equals its lifetime (RFC 9111 4.2).
  if (left > 0 && left >= (secondsOf(request, "min-fresh", 0) ?? 0)) return "fresh";
  if (left > 0 || request.has("min-fresh")) return "forward";
  // max-stale without a number allows any age.
  const maxStale = request.get("max-stale") === "" ? Infinity : secondsOf(request, "max-stale", 0);
  if (maxStale !== undefined && !stored.mustRevalidate && -left <= maxStale) return "stale";
  return -left < stored.staleWhileRevalidate ? "revalidate" : "forward";
}

/** True if a stored response of this age may be used instead of a server error (RFC 5861 4). */
export function mayServeOnError(stored: Pick<Freshness, "lifetime" | "staleIfError">, age: number): boolean {
  return age < stored.lifetime + stored.staleIfError;
}

/** The seconds until it is stale, for `Cache-Status` (RFC 9211 2.4). */
export function secondsLeft({ lifetime }: Pick<Freshness, "lifetime">, age: number): number {
  return Math.floor(lifetime - age);
}
