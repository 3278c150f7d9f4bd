import { RateLimiterRedis } from "rate-limiter-flexible";
import type { RateLimiterRes } from "rate-limiter-flexible";
import type { CounterState } from "../store/ports/decisions.js";

/** The state of one counter, as rate-limiter-flexible decides it. */
export interface FixedWindowState {
  readonly admitted: boolean;
  readonly remaining: number;
  readonly resetMs: number;
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
export class FixedWindows {
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
