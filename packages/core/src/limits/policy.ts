import type { Exchange } from "../http/exchange.js";
import type { Facts } from "../request/facts.js";
import type { ConditionTest } from "../http/path.js";
import type { Duration } from "../lib/duration.js";
import type { Algorithm, Consumption, ConsumptionNote, CounterState, CountingMode } from "../store/ports/decisions.js";
import type { AddressList } from "./address-list.js";
import type { Denied } from "../http/verdict.js";
import { deny } from "../http/verdict.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { TopKeyEntry } from "./top-keys.js";
import { rangeError } from "../lib/validate.js";

/** The largest limit and cost. Redis and JavaScript count exactly up to it. */
export const maxCount = 1_000_000_000_000;
export const maxWindowSeconds: number = 24 * 86_400;

/** A token bucket counts in units of one request divided by the milliseconds of the window. Its total stays below 2^52. */
const maxUnits = 2 ** 52;

/** A function of the application: of the request and the facts about it. */
export type Of<T, Raw> = (raw: Raw, facts: Facts) => T | Promise<T>;

/** One part of the partition key of a policy: whom it counts. */
export type PartitionPart<Raw, Claim = string> =
  "ip" | "user" | { readonly header: string } | { readonly claim: Claim } | Of<string, Raw>;

/** Which responses count. A response that broke off counts always. */
export type CountOnly = "failures" | "successes";

/** The actual cost of a request: a function of the request, its facts, and the status of the response (0 if none was sent). */
export type Settle<Raw> = (raw: Raw, facts: Facts, status: number) => number | undefined | Promise<number | undefined>;

/** The state of one counter, as rate-limiter-flexible decides it. */
export interface FixedWindowState {
  readonly admitted: boolean;
  readonly remaining: number;
  readonly resetMs: number;
}

/** Decides about counters of fixed windows. */
export interface FixedWindowDecision {
  stateAfter(key: string, limit: number, cost: number, counter: CounterState): FixedWindowState;
}

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
  readonly mode: CountingMode | undefined;
  readonly windows: FixedWindowDecision;
  /** Calls no function of the application, so that its consumptions are made at once and cached. */
  readonly isPlain: boolean;
}

/** A policy as it applies to one request. */
export interface AppliedPolicy<Raw> {
  readonly policy: Policy<Raw>;
  readonly consumption: Consumption;
}

/**
 * A policy as it applies to all requests of one client. It is its own consumption with its note, and the entry of the client
 * among the busiest: with many clients, each object that a request reads is a miss of the processor's caches.
 */
export class KeptPolicy<Raw> implements AppliedPolicy<Raw>, Consumption, ConsumptionNote, TopKeyEntry {
  readonly policy: Policy<Raw>;
  readonly key: string;
  readonly limit: number;
  readonly windowSeconds: number;
  readonly cost: number;
  readonly mode: CountingMode | undefined;
  readonly burst: number | undefined;
  readonly blockKey: string | undefined;
  readonly leased: true | undefined;
  readonly refusesUnreadable: true | undefined;
  readonly note: ConsumptionNote | undefined;
  lease: object | undefined = undefined;
  readonly owner: string | undefined;
  /** This policy as a list, for requests to which no other applies. */
  readonly alone: readonly [KeptPolicy<Raw>] = [this];
  /** The client in the table of the busiest clients, when it was last found there; nearly always this object. */
  topKey: TopKeyEntry | undefined = undefined;
  points = 0;
  place = -1;
  readonly partition: string;
  client: string | undefined = undefined;

  constructor({ policy, consumption }: AppliedPolicy<Raw>, partition: string) {
    this.policy = policy;
    this.key = consumption.key;
    this.limit = consumption.limit;
    this.windowSeconds = consumption.windowSeconds;
    this.cost = consumption.cost;
    this.mode = consumption.mode;
    this.burst = consumption.burst;
    this.blockKey = consumption.blockKey;
    this.leased = consumption.leased;
    this.refusesUnreadable = consumption.refusesUnreadable;
    this.note = consumption.note === undefined ? undefined : this;
    this.owner = consumption.owner;
    this.partition = partition;
  }

  get consumption(): Consumption {
    return this;
  }
}

export function consumptionsOf<Raw>(applied: readonly AppliedPolicy<Raw>[]): readonly Consumption[] {
  const [first] = applied;
  if (first instanceof KeptPolicy && applied.length === 1) return first.alone;
  return applied.map(({ consumption }) => consumption);
}

/** Does the policy count by address alone? Such policies are asked first, also for requests with bad tokens. */
export function countsAddresses<Raw>({ per }: Policy<Raw>): boolean {
  return per.length === 1 && per[0] === "ip";
}

/** Must its consumptions be corrected when the request is done? */
export function needsCorrection<Raw>({ algorithm, countOnly, settle }: Policy<Raw>): boolean {
  return algorithm === "concurrency" || countOnly !== undefined || settle !== undefined;
}

/** The headers by which policies count, in lower case. */
export function headersOf<Raw>(policies: readonly Policy<Raw>[]): readonly string[] {
  return policies.flatMap(({ per }) => per.flatMap((part) => (hasHeader(part) ? [part.header] : [])));
}

/** Does this part count by a header? */
export function hasHeader<Raw>(part: PartitionPart<Raw>): part is { readonly header: string } {
  return typeof part === "object" && "header" in part;
}

/** The refusal (403) of an address on a deny list; it counts nothing. */
export function findBlocked<Raw>(
  policies: readonly Policy<Raw>[],
  exchange: Exchange<Raw>,
  telemetry: Pick<Telemetry, "limited">,
): Denied | undefined {
  let denial: Denied | undefined;
  for (const policy of policies) {
    if (policy.when?.(exchange) === false || policy.deny?.has(exchange.ip) !== true) continue;
    const { name, algorithm, shadow } = policy;
    telemetry.limited({ quota: { policy: name, algorithm, shadow }, blocked: true });
    if (!shadow)
      denial ??= deny("blocked", { cause: "the address is on a deny list", detail: () => ({ policy: name }) });
  }
  return denial;
}

export function checkCount(policy: string, what: "limit" | "burst" | "cost" | "settle", value: unknown): number {
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= maxCount) return value as number;
  throw new RangeError(
    `portcullis: the ${what} function of limit "${policy}" must return a whole number from 0 to ${maxCount}`,
  );
}

/** Refuses a bucket that is too large for its window to be counted exactly. */
export function checkBucket(policy: string, burst: number, windowSeconds: number): void {
  const maxBurst = Math.floor(maxUnits / (windowSeconds * 1000));
  if (burst > maxBurst) {
    throw rangeError(
      `the burst of limit "${policy}"`,
      `must be at most ${maxBurst} for its window, or its window shorter`,
    );
  }
}
