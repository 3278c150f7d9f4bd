import { serializeCookie } from "../http/cookies.js";
import { checkObject, checkString } from "../lib/validate.js";
import type { AttemptResult } from "../store/ports/logins.js";
import { StoreFault } from "../store/ports/fault.js";
import type { DeviceTokens } from "./device-token.js";
import { normalizeAccount } from "./account-name.js";

/** Options of `succeed()`. */
export interface SucceedOptions {
  /**
   * The name of the account in your database, if the request may name it differently. The known address, the device and the
   * reset of failures then belong to that account. @default the account that the request names
   */
  readonly account?: string | undefined;
}

/**
 * A login attempt that the throttle has let through, for the handler of the login route. A success must be reported, by
 * `succeed()`, `deviceCookie()`, `deviceToken()` or `tokens.issue({ attempt })`. The first report counts. No method rejects for
 * a fault of the store.
 */
export interface LoginAttempt {
  /**
   * True if there were so many attempts for the account, from all addresses, that a password alone is not enough: ask for a
   * second factor, a code by mail, or a challenge that programs fail. Only with `onAccountLimit: "step-up"`.
   */
  readonly stepUp: boolean;
  /** True if the device token shows that this account has signed in on this device before. */
  readonly trustedDevice: boolean;
  /** Reports that the password was right: resets the failures of this account at this address or device. */
  succeed(options?: SucceedOptions): Promise<void>;
  /** Reports that the password was wrong, or that no account has the name. */
  fail(): Promise<void>;
  /** Reports that no password was checked: takes the attempt back. */
  cancel(): Promise<void>;
  /** Reports that a fault prevented the sign-in: takes the attempt back from the account. It still counts for the address. */
  interrupt(): Promise<void>;
  /** A token by which `throttleLogin({ device })` recognises this device. Reports that the password was right. */
  deviceToken(): string;
  /** The same token as the value of a `Set-Cookie` field: `__Host-`, Secure, HttpOnly, SameSite=Strict. */
  deviceCookie(): string;
}

/** The parts of an attempt. */
export interface AttemptParts {
  /** The name in the request, normalized. */
  readonly account: string;
  readonly stepUp: boolean;
  readonly trustedDevice: boolean;
  /** Issues device tokens, as text or cookies. Undefined if no device is trusted. */
  readonly device: { readonly tokens: DeviceTokens; readonly cookie: string; readonly lifetimeMs: number } | undefined;
  /** Records the result of the attempt, for the account that has signed in. The first call counts. */
  readonly resolve: (result: AttemptResult, account: string) => Promise<void>;
}

export function createAttempt({ account, stepUp, trustedDevice, device, resolve }: AttemptParts): LoginAttempt {
  let signedIn = account;

  function issueToken(): { token: string; cookie: string; lifetimeMs: number } {
    if (device === undefined) throw new TypeError("a device token needs the option device of throttleLogin()");
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
 * Runs the handlers behind the throttle. If they reject with a fault of the store, the attempt is taken back, whatever status
 * the error handler of the application sends.
 */
export async function watchAttempt<T>(attempt: LoginAttempt, next: () => Promise<T>): Promise<T> {
  try {
    return await next();
  } catch (error) {
    if (error instanceof StoreFault) void attempt.interrupt();
    throw error;
  }
}

/** The name in the database. It is used as it is if it cannot be normalized. */
function readAccount(options: SucceedOptions): string | undefined {
  checkObject("succeed()", options, ["account"]);
  if (options.account === undefined) return undefined;
  checkString("succeed().account", options.account);
  return normalizeAccount(options.account) ?? options.account;
}
