import type { Auth, LoginAttempt, Quota, RequestCache } from "@portcullis/core";

export * from "./unaugmented.js";

declare global {
  // Express lets middleware declare the properties of a request in this way.
  // eslint-disable-next-line @typescript-eslint/no-namespace -- Express declares its types in one
  namespace Express {
    interface Request {
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
}
