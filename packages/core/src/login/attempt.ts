import { serializeCookie } from "../http/cookies.js";
import { checkObject, checkString } from "../lib/validate.js";
import type { AttemptResult } from "../store/ports/logins.js";
import { StoreFault } from "../store/ports/decisions.js";
import type { DeviceTokens } from "./device-token.js";
import { normalizeAccount } from "./account-name.js";

export interface SucceedOptions {
  /**
   * The name of the account in your database, if it may be another than the request names: what is remembered of the sign-in
   * then belongs to that account. @default the account that the request names
   */
  readonly account?: string | undefined;
}

/**
 * One attempt to sign in that the throttle has let through, as the handler of the login route finds it. A success must be
 * said: by `succeed()`, `deviceCookie()`, `deviceToken()`, or `tokens.issue({ attempt })`. Of the calls that say what became
 * of it the first counts; none rejects for a fault of the store.
 */
export interface LoginAttempt {
  /**
   * True if the account has been tried so often, by whomever, that a password alone should not do: ask for a second factor, a
   * code by mail, or a challenge that programs fail. Only with `onAccountLimit: "step-up"`.
   */
  readonly stepUp: boolean;
  /** Has this account signed in on this device before, as its device token says? */
  readonly trustedDevice: boolean;
  /** The password was right: forgets the failures at this place. */
  succeed(options?: SucceedOptions): Promise<void>;
  /** The password was wrong, or nobody has that name. */
  fail(): Promise<void>;
  /** No password was looked at: takes the attempt back. */
  cancel(): Promise<void>;
  /** A fault kept the sign-in from being completed: takes the attempt back from the account; the address has counted it. */
  interrupt(): Promise<void>;
  /** A token by which `throttleLogin({ device })` knows this device again. Says that the password was right. */
  deviceToken(): string;
  /** The same as the value of a Set-Cookie field: `__Host-`, Secure, HttpOnly, SameSite=Strict. */
  deviceCookie(): string;
}

/** What an attempt is made of. */
export interface AttemptParts {
  /** The name in the request, normalized. */
  readonly account: string;
  readonly stepUp: boolean;
  readonly trustedDevice: boolean;
  /** Makes device tokens, and cookies of them; undefined if no device is trusted. */
  readonly device: { readonly tokens: DeviceTokens; readonly cookie: string; readonly lifetimeMs: number } | undefined;
  /** Settles the attempt, for the account that has signed in. The first call counts. */
  readonly resolve: (result: AttemptResult, account: string) => Promise<void>;
}

export function createAttempt({ account, stepUp, trustedDevice, device, resolve }: AttemptParts): LoginAttempt {
  let signedIn = account;

  function issueToken(): { token: string; cookie: string; lifetimeMs: number } {
    if (device === undefined) throw new TypeError("throttleLogin() trusts no device: give it the option device");
    void resolve("succeeded", signedIn);
    return { ...device, token: device.tokens.issue(signedIn) };
  }

  return {
    stepUp,
    trustedDevice,
    succeed(options = {}) {
      signedIn = readAccount(options) ?? signedIn;
      return resolve("succeeded", signedIn);
    },
    fail: () => resolve("failed", account),
    cancel: () => resolve("unchecked", account),
    interrupt: () => resolve("interrupted", account),
    deviceToken: () => issueToken().token,
    deviceCookie() {
      const { token, cookie, lifetimeMs } = issueToken();
      const maxAgeSeconds = lifetimeMs / 1000;
      return serializeCookie(cookie, token, { path: "/", maxAgeSeconds, sameSite: "Strict", secure: true });
    },
  };
}

/**
 * Runs what is behind the throttle. A fault of the store that comes out of it takes the attempt back, whatever status the
 * application's error handler gives the response.
 */
export async function watchAttempt<T>(attempt: LoginAttempt, next: () => Promise<T>): Promise<T> {
  try {
    return await next();
  } catch (error) {
    if (error instanceof StoreFault) void attempt.interrupt();
    throw error;
  }
}

/** A name in the database is taken as it is if it is none that could be typed. */
function readAccount(options: SucceedOptions): string | undefined {
  checkObject("succeed()", options, ["account"]);
  if (options.account === undefined) return undefined;
  checkString("succeed().account", options.account);
  return normalizeAccount(options.account) ?? options.account;
}
