/**
 * A value was not made within `hardTimeout`; Express and Koa answer 503. Its factory is slow, or hangs, or asks for a value
 * that waits for its own.
 */
export class CacheTimeout extends Error {
  override readonly name = "CacheTimeout";
  readonly code = "cache_timeout";
  readonly status = 503;
  readonly statusCode = 503;
  readonly expose = true;
  readonly headers: Readonly<Record<string, string>> = { "Retry-After": "1" };

  constructor(ms: number) {
    super(`a cached value was not made within ${ms} ms`);
  }
}
