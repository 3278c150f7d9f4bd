import { rateLimitFields, retryAfter } from "../http/fields.js";
import type { RateLimitFormat, RateLimitItem } from "../http/fields.js";
import type { Denied } from "../http/verdict.js";
import { deny } from "../http/verdict.js";
import type { Tally } from "../store/ports.js";
import type { AppliedPolicy } from "./policy.js";

/** The state of one policy after this request, as handlers see it. */
export interface Quota extends RateLimitItem {
  readonly policy: string;
  /** Requests (or units of cost) per window. */
  readonly limit: number;
  readonly windowSeconds: number;
  readonly remaining: number;
  /** Seconds until the window ends. */
  readonly resetSeconds: number;
}

/** One policy after the decision. */
export interface Settled {
  readonly quota: Quota;
  readonly admitted: boolean;
}

export function settleQuota<Raw>({ policy, charge }: AppliedPolicy<Raw>, tally: Tally): Settled {
  const { admitted, remaining, resetMs } = policy.windows.settle(charge.key, charge.limit, charge.cost, tally);
  const quota: Quota = {
    policy: policy.name,
    limit: charge.limit,
    windowSeconds: policy.windowSeconds,
    remaining,
    resetSeconds: Math.max(0, Math.ceil(resetMs / 1000)),
  };
  return { quota, admitted };
}

/** The refusal of the policies that are exhausted; undefined if none is. */
export function denyExhausted(settled: readonly Settled[], format: RateLimitFormat, nowMs: number): Denied | undefined {
  const violated = settled.filter(({ admitted }) => !admitted).map(({ quota }) => quota);
  if (violated.length === 0) return undefined;
  const fields = rateLimitFields(
    format,
    settled.map(({ quota }) => quota),
    nowMs,
  );
  return deny("quota_exceeded", {
    cause: "a rate limit is exhausted",
    headers: [...fields, retryAfter(Math.max(...violated.map(({ resetSeconds }) => resetSeconds)))],
    violatedPolicies: violated.map(({ policy }) => policy),
  });
}
