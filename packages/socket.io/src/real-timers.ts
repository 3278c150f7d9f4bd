import { performance } from "node:perf_hooks";
import * as timers from "node:timers";

// Read at import, so that fake timers of a test, which replace the globals later, do not stop a server.
export const monotonicNow: () => number = performance.now.bind(performance);
export const setTimeout: typeof timers.setTimeout = timers.setTimeout;
export const clearTimeout: typeof timers.clearTimeout = timers.clearTimeout;
export const setImmediate: typeof timers.setImmediate = timers.setImmediate;
