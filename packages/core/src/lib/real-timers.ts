import { performance } from "node:perf_hooks";
import * as timers from "node:timers";
import * as promises from "node:timers/promises";

/*
 * The timers and the monotonic clock of Node, read at import. Fake timers of a test replace the globals later, so they neither
 * stop nor hurry what waits here for Redis, an issuer or a client. Times that a test may move are those of `steadyNow()` and
 * `wallNow()`.
 */

/** Milliseconds of the monotonic clock. */
export const monotonicNow: () => number = performance.now.bind(performance);
export const setTimeout: typeof timers.setTimeout = timers.setTimeout;
export const clearTimeout: typeof timers.clearTimeout = timers.clearTimeout;
export const setInterval: typeof timers.setInterval = timers.setInterval;
export const clearInterval: typeof timers.clearInterval = timers.clearInterval;
/** Resolves after this time. */
export const pause: typeof promises.setTimeout = promises.setTimeout;
export const setImmediate: typeof timers.setImmediate = timers.setImmediate;
export const queueMicrotask: typeof globalThis.queueMicrotask = globalThis.queueMicrotask;
export const nextTick: typeof process.nextTick = process.nextTick.bind(process);
