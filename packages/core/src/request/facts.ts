import type { Auth } from "../auth/claims.js";
import type { RequestCache } from "../cache/cache-types.js";
import type { Quota } from "../http/quota.js";
import type { LoginAttempt } from "../login/attempt.js";

/**
 * The facts that the checks of a gate have found out about a request so far. Functions of the application get it as an
 * argument; handlers find its members on the request or the context.
 */
export interface Facts {
  /** The user and the claims of the token; undefined for an anonymous request. */
  readonly auth: Auth | undefined;
  /** The cache of this request; undefined before `guard()` or `requestCache()`. */
  readonly cache: RequestCache | undefined;
  /** The state of every rate limit that was applied to this request. */
  readonly quotas: readonly Quota[];
  /** The sign-in attempt that `throttleLogin()` let through; undefined before it. */
  readonly loginAttempt: LoginAttempt | undefined;
}

/** The facts as the state of a request writes them. */
export type WritableFacts = { -readonly [Name in keyof Facts]: Facts[Name] };

/** The facts at a gate after the first one: identity is its own, the rest is that of the first gate. */
export class FurtherFacts implements WritableFacts {
  auth: Auth | undefined = undefined;
  loginAttempt: LoginAttempt | undefined = undefined;
  readonly #first: WritableFacts;

  constructor(first: WritableFacts) {
    this.#first = first;
  }

  get cache(): RequestCache | undefined {
    return this.#first.cache;
  }

  set cache(cache: RequestCache | undefined) {
    this.#first.cache = cache;
  }

  get quotas(): readonly Quota[] {
    return this.#first.quotas;
  }

  set quotas(quotas: readonly Quota[]) {
    this.#first.quotas = quotas;
  }
}
