import { RateLimiterRedis } from "rate-limiter-flexible";
import type { RateLimiterRes } from "rate-limiter-flexible";
import type { DenialDetail } from "../http/denial-detail.js";
import type { Quota } from "../http/quota.js";
import { rateLimitFields, retryAfter } from "../http/fields.js";
import type { RateLimitFormat } from "../http/fields.js";
import type { Denied } from "../http/verdict.js";
import { deny } from "../http/verdict.js";
import type { Consumption, CounterState } from "../store/ports/decisions.js";
import { exceeds } from "../store/ports/decisions.js";
import type { AppliedPolicy, FixedWindowDecision, FixedWindowState, Policy } from "./policy.js";

/** The quota of a request after its decision. */
export function quotaAfter<Raw>({ policy, consumption }: AppliedPolicy<Raw>, counter: CounterState): Quota {
  const { admitted, remaining, resetMs } = stateOf(policy, consumption, counter);
  return {
    policy: policy.name,
    algorithm: policy.algorithm,
    limit: consumption.limit,
    windowSeconds: consumption.windowSeconds,
    remaining,
    resetSeconds: Math.max(0, Math.ceil(resetMs / 1000)),
    exceeded: !admitted,
    shadow: policy.shadow,
  };
}

function stateOf<Raw>(
  { algorithm, windows }: Policy<Raw>,
  consumption: Consumption,
  counter: CounterState,
): FixedWindowState {
  if (algorithm === "fixed-window")
    return windows.stateAfter(consumption.key, consumption.limit, consumption.cost, counter);
  const { limit, burst = limit } = consumption;
  const remaining = Math.max(0, (limit === 0 ? 0 : burst) - counter.consumed);
  return { admitted: !exceeds(consumption, counter), remaining, resetMs: counter.resetMs };
}

/** The rate-limit header fields, without policies in shadow. */
export function quotaFields(
  format: RateLimitFormat,
  quotas: readonly Quota[],
  now: () => number,
): ReturnType<typeof rateLimitFields> {
  const shown = quotas.some(isShadow) ? quotas.filter((quota) => !isShadow(quota)) : quotas;
  return rateLimitFields(format, shown, format === "legacy" ? now() : 0);
}

/** Names the client of a policy in logs. */
export interface ClientNames {
  /** The kind of the client, and a digest that tells it apart. */
  nameOf<Raw>(applied: AppliedPolicy<Raw>): string;
}

/**
 * The refusal (429) for exhausted policies; undefined if none is exhausted. `blockedBy`: those that block the client, because
 * it went on after refusals. `policies` are the policies before the decision. Without `names` this process has counted, since
 * the store is down.
 */
export function denyExhausted<Raw>(
  quotas: readonly Quota[],
  blockedBy: readonly Quota[],
  format: RateLimitFormat,
  now: () => number,
  policies: readonly AppliedPolicy<Raw>[],
  names?: ClientNames,
): Denied | undefined {
  return quotas.some(isViolated) ? refuseExhausted(quotas, blockedBy, format, now, policies, names) : undefined;
}

/** A function of its own: one that makes a closure allocates its variables at each call. */
function refuseExhausted<Raw>(
  quotas: readonly Quota[],
  blockedBy: readonly Quota[],
  format: RateLimitFormat,
  now: () => number,
  policies: readonly AppliedPolicy<Raw>[],
  names: ClientNames | undefined,
): Denied {
  const violated = quotas.filter(isViolated);
  return deny(blockedBy.length > 0 ? "abuse_detected" : refusalOf(violated), {
    cause: "a rate limit is exhausted",
    detail: () => describeExhausted(violated, blockedBy, policies, names),
    headers: [
      ...quotaFields(format, quotas, now),
      retryAfter(Math.max(...violated.map(({ resetSeconds }) => resetSeconds))),
    ],
    violatedPolicies: violated.map(({ policy }) => policy),
    quotas,
  });
}

/** The policy for which the client must wait longest comes first. */
function describeExhausted<Raw>(
  violated: readonly Quota[],
  blockedBy: readonly Quota[],
  policies: readonly AppliedPolicy<Raw>[],
  names: ClientNames | undefined,
): DenialDetail {
  const byWait = violated.toSorted((one, other) => other.resetSeconds - one.resetSeconds);
  const policy = byWait.map((quota) => quota.policy).join(", ");
  const [first] = byWait;
  const applied = policies.find((one) => one.policy.name === first?.policy);
  const blocked = first !== undefined && blockedBy.includes(first) ? "the client is blocked" : undefined;
  return {
    policy,
    key: applied === undefined ? undefined : names?.nameOf(applied),
    limit: first?.limit,
    windowSeconds: first?.windowSeconds,
    retryAfterSeconds: first?.resetSeconds,
    reason: blocked ?? (names === undefined ? "the store is down, and this process counts" : undefined),
  };
}

/** Does the policy refuse the request? */
export function isViolated({ exceeded, shadow }: Quota): boolean {
  return exceeded && !shadow;
}

function isShadow({ shadow }: Quota): boolean {
  return shadow;
}

function refusalOf(violated: readonly Quota[]): "concurrency_exceeded" | "quota_exceeded" {
  const inFlight = violated.every(({ algorithm }) => algorithm === "concurrency");
  return inFlight ? "concurrency_exceeded" : "quota_exceeded";
}

/**
 * The step of rate-limiter-flexible from a raw result to a decision. Its Redis limiter calls the step after its own script.
 * Here the raw result comes from the one script call that serves all concurrent requests.
 */
class FixedWindowLimiter extends RateLimiterRedis {
  declare _getRateLimiterRes: (
    key: string,
    points: number,
    result: [consumed: number, ttlMs: number],
  ) => RateLimiterRes;

  constructor(points: number) {
    // The store knows the end of the window, so the duration does not matter here.
    super({ storeClient: {}, points, duration: 1, keyPrefix: "" });
  }

  stateAfter(key: string, cost: number, { consumed, resetMs }: CounterState): FixedWindowState {
    const { consumedPoints, remainingPoints, msBeforeNext } = this._getRateLimiterRes(key, cost, [consumed, resetMs]);
    return { admitted: consumedPoints <= this.points, remaining: remainingPoints, resetMs: msBeforeNext };
  }
}

/** Limiters kept for one policy. A limit by function has few distinct values. */
const maxLimiters = 256;

/** The fixed windows of one policy: one limiter for each value of its limit. */
export class FixedWindows implements FixedWindowDecision {
  readonly #limiters = new Map<number, FixedWindowLimiter>();

  stateAfter(key: string, limit: number, cost: number, counter: CounterState): FixedWindowState {
    let limiter = this.#limiters.get(limit);
    if (limiter === undefined) {
      limiter = new FixedWindowLimiter(limit);
      if (this.#limiters.size < maxLimiters) this.#limiters.set(limit, limiter);
    }
    return limiter.stateAfter(key, cost, counter);
  }
}
