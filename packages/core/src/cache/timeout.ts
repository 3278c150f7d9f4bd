import { OutageError } from "../lib/outage.js";

/**
 * A value was not made within `hardTimeout`; Express and Koa answer 503. Its factory is slow, or hangs, or asks for a value
 * that waits for its own.
 */
export class CacheTimeout extends OutageError {
  override readonly name = "CacheTimeout";
  readonly code = "cache_timeout";

  constructor(ms: number) {
    super(`a cached value was not made within ${ms} ms`);
  }
}
