import type { Exchange, Facts } from "../http/exchange.js";
import type { ConditionTest } from "../http/path.js";
import type { Duration } from "../lib/duration.js";
import type { Algorithm, Consumption, CountingMode } from "../store/ports/decisions.js";
import type { AddressList } from "./address-list.js";
import type { FixedWindows } from "./fixed-window.js";
import type { Denied } from "../http/verdict.js";
import { deny } from "../http/verdict.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { rangeError } from "../lib/validate.js";

/** Redis and JavaScript count exactly up to here. */
export const maxCount = 1_000_000_000_000;
export const longestWindowSeconds: number = 24 * 86_400;

/** A token bucket counts in units of one request divided by the window's milliseconds: all of it below 2^52. */
const maxUnits = 2 ** 52;

/** A function of the application's request and of what is known about it. */
export type Of<T, Raw> = (raw: Raw, facts: Facts) => T | Promise<T>;

/** Whom a policy counts by: one part of its partition key. */
export type PartitionPart<Raw> =
  "ip" | "user" | { readonly header: string } | { readonly claim: string } | Of<string, Raw>;

/** Which responses count. Those that the client did not wait for count always. */
export type CountOnly = "failures" | "successes";

/** What a response really cost: a function of the request, what is known about it, and the status (0 if none was sent). */
export type Settle<Raw> = (raw: Raw, facts: Facts, status: number) => number | undefined | Promise<number | undefined>;

/** A rate-limit policy, resolved. */
export interface Policy<Raw> {
  readonly name: string;
  readonly algorithm: Algorithm;
  /** Never empty. */
  readonly per: readonly PartitionPart<Raw>[];
  readonly limit: number | Of<number, Raw>;
  readonly burst: number | Of<number, Raw> | undefined;
  readonly windowSeconds: number | Of<Duration, Raw>;
  readonly cost: number | Of<number, Raw>;
  readonly skip: Of<boolean, Raw> | undefined;
  readonly when: ConditionTest | undefined;
  readonly allow: AddressList | undefined;
  readonly deny: AddressList | undefined;
  readonly countOnly: CountOnly | undefined;
  readonly settle: Settle<Raw> | undefined;
  /** Longest wait for the handler when the response is over. At most the window, where that is known. */
  readonly releaseAfterMs: number;
  readonly shadow: boolean;
  readonly onStoreError: "local" | "allow" | "deny";
  readonly precision: "exact" | "leased";
  /** Undefined for a plain fixed window. */
  readonly rule: CountingMode | undefined;
  readonly windows: FixedWindows;
  /** Needs no function of the application, so that its charges can be made at once, and kept. */
  readonly isPlain: boolean;
}

/** A policy as it applies to one request. */
export interface AppliedPolicy<Raw> {
  readonly policy: Policy<Raw>;
  readonly charge: Consumption;
}

/** Does it count by the client's address alone? Such policies are asked first, also for requests with bad tokens. */
export function countsAddresses<Raw>({ per }: Policy<Raw>): boolean {
  return per.length === 1 && per[0] === "ip";
}

/** Is there something to do when the request is done? */
export function settlesLater<Raw>({ algorithm, countOnly, settle }: Policy<Raw>): boolean {
  return algorithm === "concurrency" || countOnly !== undefined || settle !== undefined;
}

/** The headers by which policies tell clients apart, in lower case. */
export function headersOf<Raw>(policies: readonly Policy<Raw>[]): readonly string[] {
  return policies.flatMap(({ per }) => per.flatMap((part) => (hasHeader(part) ? [part.header] : [])));
}

function hasHeader<Raw>(part: PartitionPart<Raw>): part is { readonly header: string } {
  return typeof part === "object" && "header" in part;
}

/** The refusal of an address that one of these policies does not accept; nothing is counted for it. */
export function findBlocked<Raw>(
  policies: readonly Policy<Raw>[],
  exchange: Exchange<Raw>,
  telemetry: Telemetry,
): Denied | undefined {
  let denial: Denied | undefined;
  for (const policy of policies) {
    if (policy.when?.(exchange) === false || policy.deny?.has(exchange.ip) !== true) continue;
    const { name, algorithm, shadow } = policy;
    telemetry.limited({ quota: { policy: name, algorithm, shadow }, blocked: true });
    if (!shadow) denial ??= deny("blocked", { cause: "the address is on a deny list" });
  }
  return denial;
}

export function checkCount(policy: string, what: "limit" | "burst" | "cost" | "settle", value: unknown): number {
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= maxCount) return value as number;
  throw new RangeError(
    `portcullis: the ${what} function of limit "${policy}" must return a whole number from 0 to ${maxCount}`,
  );
}

/** A bucket that is too large for its window would not be counted exactly. */
export function checkBucket(policy: string, burst: number, windowSeconds: number): void {
  const most = Math.floor(maxUnits / (windowSeconds * 1000));
  if (burst > most) {
    throw rangeError(`the burst of limit "${policy}"`, `must be at most ${most} for its window, or its window shorter`);
  }
}
