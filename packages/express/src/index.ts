import type { Auth, LoginAttempt, Quota, RequestCache } from "@portcullis/core";

export * from "./unaugmented.js";

declare global {
  // The way Express lets middleware say what it puts on a request.
  // eslint-disable-next-line @typescript-eslint/no-namespace
  namespace Express {
    interface Request {
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
}
