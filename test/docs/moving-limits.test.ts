import { expectEveryOption } from "./moving.js";

const document = "docs/migrate-rate-limits.md";

/** Every option of the limiters that people come from, as their own documents and types list them. */
const peers: Readonly<Record<string, readonly string[]>> = {
  "express-rate-limit": [
    ...["windowMs", "limit", "max", "message", "statusCode", "handler", "legacyHeaders", "standardHeaders", "headers"],
    ...["draft_polli_ratelimit_headers", "identifier", "retryAfter", "requestPropertyName", "skipFailedRequests"],
    ...["skipSuccessfulRequests", "requestWasSuccessful", "keyGenerator", "ipv6Subnet", "skip", "store", "validate"],
    ...["passOnStoreError", "logger", "ipKeyGenerator", "resetKey", "getKey", "req.rateLimit"],
  ],
  "koa-ratelimit": [
    ...["driver", "db", "duration", "max", "id", "namespace", "headers", "remaining", "reset", "total"],
    ...["disableHeader", "whitelist", "blacklist", "throw", "errorMessage", "status", "onLimited"],
    "ctx.state.rateLimit",
  ],
  "@fastify/rate-limit": [
    ...["global", "max", "ban", "timeWindow", "hook", "cache", "allowList", "redis", "store", "nameSpace"],
    ...["continueExceeding", "skipOnError", "keyGenerator", "ipv6Subnet", "errorResponseBuilder", "enableDraftSpec"],
    ...["addHeaders", "addHeadersOnExceeding", "onExceeding", "onExceeded", "onBanReach", "groupId"],
    ...["exponentialBackoff", "config.rateLimit", "fastify.createRateLimit"],
  ],
};

describe("moving from another rate limiter", () => {
  for (const [library, options] of Object.entries(peers)) {
    it(`${library}: has an entry for every option`, () => {
      expectEveryOption(document, library, options);
    });
  }
});
