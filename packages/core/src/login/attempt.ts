/**
 * One attempt to sign in that the throttle has let through, as the handler of the login route finds it. Nothing has to be
 * called: the status of the response tells whether it succeeded (2xx) or failed. A login that answers otherwise, such as by a
 * redirect, calls `succeed()`.
 */
export interface LoginAttempt {
  /**
   * True if the account has been tried so often, by whomever, that a password alone should not do: ask for a second factor, a
   * code by mail, or a challenge that programs fail. Only with `onAccountLimit: "step-up"`.
   */
  readonly stepUp: boolean;
  /** Has this account signed in on this device before, as its device token says? */
  readonly trustedDevice: boolean;
  /** The password was right: forgets the failures at this place. The first of these calls counts; none rejects. */
  succeed(): Promise<void>;
  /** The password was wrong, or nobody has that name. */
  fail(): Promise<void>;
  /** No password was looked at: takes the attempt back. */
  cancel(): Promise<void>;
  /** A token by which `throttleLogin({ device })` knows this device again; call it only after a sign-in that succeeded. */
  deviceToken(): string;
  /** The same as the value of a Set-Cookie field: `__Host-`, Secure, HttpOnly, SameSite=Strict. */
  deviceCookie(): string;
}
