import type { Auth, LoginAttempt, Quota, RequestCache } from "@portcullis/core";

export * from "./unaugmented.js";

declare module "koa" {
  interface ExtendableContext {
    /** Who is asking; undefined for an anonymous request. Set by `guard()` and `authenticate()`. */
    auth?: Auth | undefined;
    /** The cache of this request. Set by `guard()` and `requestCache()`. */
    cache: RequestCache;
    /** The rate limits that apply to this request. Set by `guard()` and `limit()`. */
    quotas: readonly Quota[];
    /** The attempt to sign in. Set by `throttleLogin()`. */
    loginAttempt?: LoginAttempt | undefined;
  }
}
