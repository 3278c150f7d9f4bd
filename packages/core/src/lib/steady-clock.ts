import { monotonicNow } from "./real-timers.js";
import { performance } from "node:perf_hooks";

const { timeOrigin } = performance;
let seenDate: DateConstructor | undefined;
let isReal = true;

/**
 * Is the global `Date` that of the engine? Fake timers of Jest, Vitest, Sinon and Node replace it by a function of their own,
 * perhaps before this module is imported.
 */
function isRealDate(): boolean {
  if (Date !== seenDate) {
    seenDate = Date;
    // Some wrap their function in a Proxy, which looks like native code, and mark it.
    const { isFake } = Date as { isFake?: unknown };
    isReal = isFake !== true && Function.prototype.toString.call(Date).includes("[native code]");
  }
  return isReal;
}

/** Do fake timers of a test move the time of this process? */
export function isTimeFake(): boolean {
  return !isRealDate();
}

/** Unix milliseconds of the wall clock, for the times of tokens. It is read at each call, since a test may replace it. */
export function wallNow(): number {
  return Date.now();
}

/**
 * Unix milliseconds by a monotonic clock: the wall clock at the start of the process plus the elapsed time. A change of the wall
 * clock, by NTP or an operator, does not affect it. Use it for what this process keeps for a time, never for times of another
 * process or a token. If fake timers replace `Date`, it follows them, so that tests can move limits and cached values.
 */
export function steadyNow(): number {
  return isRealDate() ? timeOrigin + monotonicNow() : Date.now();
}

/** A clock as lru-cache takes it. To lru-cache the time 0, at which fake timers may begin, is no time. */
export function lruClock(now: () => number): { readonly now: () => number } {
  return { now: () => now() + 1 };
}
