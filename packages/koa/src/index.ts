import type { Auth, LoginAttempt, Quota, RequestCache } from "@portcullis/core";

export * from "./unaugmented.js";

declare module "koa" {
  interface ExtendableContext {
    /** The user and the claims of the token; undefined for an anonymous request. Set by `guard()` and `authenticate()`. */
    auth?: Auth | undefined;
    /** The cache of this request. Set by `guard()` and `requestCache()`. */
    cache: RequestCache;
    /** The state of the rate limits of this request. Set by `guard()` and `limit()`. */
    quotas: readonly Quota[];
    /** The sign-in attempt. Set by `throttleLogin()`. */
    loginAttempt?: LoginAttempt | undefined;
  }
}
