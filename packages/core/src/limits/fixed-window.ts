import { RateLimiterRedis } from "rate-limiter-flexible";
import type { RateLimiterRes } from "rate-limiter-flexible";
import type { CounterState } from "../store/ports/decisions.js";

/** The state of one counter in rate-limiter-flexible's words; this file alone knows them. */
export interface FixedWindowState {
  readonly admitted: boolean;
  readonly remaining: number;
  readonly resetMs: number;
}

/**
 * rate-limiter-flexible's step from a store's raw result to a decision. Its Redis limiter calls this after its own script;
 * here the raw result comes from the one call that serves all concurrent requests, so that nothing else is asked.
 */
class FixedWindowLimiter extends RateLimiterRedis {
  declare _getRateLimiterRes: (
    key: string,
    points: number,
    result: [consumed: number, ttlMs: number],
  ) => RateLimiterRes;

  constructor(points: number) {
    // The store knows when the window ends, so that no duration of it is asked for here.
    super({ storeClient: {}, points, duration: 1, keyPrefix: "" });
  }

  settle(key: string, cost: number, { consumed, resetMs }: CounterState): FixedWindowState {
    const { consumedPoints, remainingPoints, msBeforeNext } = this._getRateLimiterRes(key, cost, [consumed, resetMs]);
    return { admitted: consumedPoints <= this.points, remaining: remainingPoints, resetMs: msBeforeNext };
  }
}

/** Limiters kept for one policy: a limit that follows the facts has few distinct values. */
const maxLimiters = 256;

/** The fixed windows of one policy, one limiter for each limit that it applies. */
export class FixedWindows {
  readonly #limiters = new Map<number, FixedWindowLimiter>();

  settle(key: string, limit: number, cost: number, tally: CounterState): FixedWindowState {
    let limiter = this.#limiters.get(limit);
    if (limiter === undefined) {
      limiter = new FixedWindowLimiter(limit);
      if (this.#limiters.size < maxLimiters) this.#limiters.set(limit, limiter);
    }
    return limiter.settle(key, cost, tally);
  }
}
