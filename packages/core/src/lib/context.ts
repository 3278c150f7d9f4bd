import { AsyncLocalStorage } from "node:async_hooks";

/**
 * Calls a function outside of every request. Work that requests share, such as one round trip for many of them, would otherwise
 * run in the asynchronous context of the request that happened to be first.
 */
export const outsideRequests: (call: () => void) => void = AsyncLocalStorage.snapshot();
