import { availableParallelism } from "node:os";
import { checkCookieName } from "../http/cookies.js";
import type { DenyOptions } from "../http/verdict.js";
import type { Facts } from "../request/facts.js";
import type { Of } from "../limits/policy.js";
import { maxWindowSeconds } from "../limits/policy.js";
import type { Duration } from "../lib/duration.js";
import { durationMs } from "../lib/duration.js";
import { checkFunction, checkInteger, checkObject, checkOneOf, optionError } from "../lib/validate.js";

/** A number of attempts in a window, which starts with the first attempt. */
export interface AttemptLimitOptions {
  /** Maximum of attempts in a window. @default the limit in the table of docs/login.md */
  readonly limit?: number | undefined;
  /** Length of the window. @default the window in the table of docs/login.md */
  readonly window?: Duration | undefined;
}

/** Options of devices that a user has signed in on before. */
export interface LoginDeviceOptions<Raw = unknown> {
  /** The secret that signs device tokens: at least 32 bytes, the same for all processes. */
  readonly secret: string | Uint8Array;
  /** Lifetime of a device token. @default "90d" */
  readonly lifetime?: Duration | undefined;
  /** Name of the cookie with the token. The prefix `__Host-` limits it to this host and to https. @default "__Host-device" */
  readonly cookie?: string | undefined;
  /** Reads the token from another part of the request, such as a header. @default reads the cookie */
  readonly token?: Of<string | undefined, Raw> | undefined;
}

/** The result of an attempt. `unchecked`: no password was checked. Undefined: the rules of "said" apply. */
export type LoginVerdict = "succeeded" | "failed" | "unchecked" | undefined;

/** The rule for attempts whose result the handler does not report. */
export type LoginOutcome<Raw = unknown> =
  "said" | "status" | ((raw: Raw, facts: Facts, status: number) => LoginVerdict | Promise<LoginVerdict>);

/** Options of `throttleLogin()`. */
export interface ThrottleLoginOptions<Raw = unknown> extends DenyOptions {
  /** Returns the name of the account in the request, whether or not such an account exists. */
  readonly account: Of<unknown, Raw>;
  /** Name of the throttle. Throttles of one name share their counters. @default "login" */
  readonly name?: string | undefined;
  /** Limit for an account at one address, or on one trusted device. @default { limit: 5, window: "1m" } */
  readonly pair?: AttemptLimitOptions | undefined;
  /** Limit for an address, over all accounts. @default { limit: 30, window: "15m" } */
  readonly ip?: AttemptLimitOptions | undefined;
  /** Limit for an account, over all addresses at which it has not signed in before. @default { limit: 50, window: "1h" } */
  readonly accountLimit?: AttemptLimitOptions | undefined;
  /**
   * Policy when `accountLimit` is exhausted. `"delay"` lets one attempt pass in every `pace`. `"step-up"` lets all attempts pass
   * with `stepUp: true`: the handler must then ask for more than a password.
   * @default "delay"
   */
  readonly onAccountLimit?: "delay" | "step-up" | undefined;
  /** Minimum time between two attempts for an account whose limit is exhausted. @default "10s" */
  readonly pace?: Duration | undefined;
  /** Longest block of an account at an address. The first block lasts for the window of `pair`, each further one twice as long. @default "1h" */
  readonly longestBlock?: Duration | undefined;
  /** Gives each device on which an account has signed in before counters of its own. @default no device is trusted */
  readonly device?: LoginDeviceOptions<Raw> | undefined;
  /**
   * The result of an attempt that the handler does not report, by the status of the response. `"said"`: 400, 401, 403 and 422
   * are failures, and 5xx is a fault, which takes the attempt back from the account. After any other status the attempt stays
   * counted, so that the handler must report a success. `"status"`: the same, and 2xx is a success; use it only if no wrong
   * password is answered with 2xx. A function is called with every status, except for a response whose client has gone.
   * @default "said"
   */
  readonly outcome?: LoginOutcome<Raw> | undefined;
  /** Maximum number of sign-ins in progress in this process. Others wait up to 5 s. @default the number of CPUs, at most 4 */
  readonly parallel?: number | undefined;
  /** Policy while the store is down. `"local"`: this process counts, with half of each limit divided by `instances`. `"deny"`: 503. @default "local" */
  readonly onStoreError?: "local" | "deny" | undefined;
}

export interface ResolvedAttemptLimit {
  readonly limit: number;
  readonly windowMs: number;
}

export interface ResolvedLogin<Raw> {
  readonly account: Of<unknown, Raw>;
  readonly name: string;
  readonly pair: ResolvedAttemptLimit;
  readonly ip: ResolvedAttemptLimit;
  readonly accountLimit: ResolvedAttemptLimit;
  /** Undefined for step-up. */
  readonly paceMs: number | undefined;
  readonly longestBlockMs: number;
  readonly device:
    | {
        readonly secret: string | Uint8Array;
        readonly lifetimeMs: number;
        readonly cookie: string;
        readonly token: Of<string | undefined, Raw> | undefined;
      }
    | undefined;
  readonly outcome: LoginOutcome<Raw>;
  readonly parallel: number;
  readonly onStoreError: "local" | "deny";
}

/** The limits of a throttle, for its administration. */
export type ThrottleLimits = Pick<ResolvedLogin<never>, "pair" | "ip" | "accountLimit">;

const knownOptions = [
  ...["account", "name", "pair", "ip", "accountLimit", "onAccountLimit", "pace", "longestBlock", "device", "parallel"],
  ...["onStoreError", "onDeny", "outcome"],
];

export function resolveThrottleLogin<Raw>(options: ThrottleLoginOptions<Raw>): ResolvedLogin<Raw> {
  checkObject("throttleLogin()", options, knownOptions);
  const { account, pair, ip, accountLimit, onAccountLimit = "delay", pace, longestBlock = "1h", device } = options;
  const { parallel = Math.min(4, availableParallelism()), onStoreError = "local", outcome = "said" } = options;
  if (typeof account !== "function")
    throw optionError(
      "throttleLogin().account",
      "must be a function that returns the name of the account, such as (req) => req.body?.username",
    );
  checkOneOf("throttleLogin().onAccountLimit", onAccountLimit, ["delay", "step-up"]);
  checkOneOf("throttleLogin().onStoreError", onStoreError, ["local", "deny"]);
  if (typeof outcome !== "function") checkOneOf("throttleLogin().outcome", outcome, ["said", "status"]);
  checkInteger("throttleLogin().parallel", parallel, 1, 10_000);
  if (onAccountLimit === "step-up" && pace !== undefined)
    throw optionError("throttleLogin().pace", 'has no meaning with onAccountLimit: "step-up", which lets all pass');
  return {
    account,
    name: resolveThrottleName("throttleLogin().name", options.name),
    pair: resolveAttemptLimit("throttleLogin().pair", pair, 5, "1m"),
    ip: resolveAttemptLimit("throttleLogin().ip", ip, 30, "15m"),
    accountLimit: resolveAttemptLimit("throttleLogin().accountLimit", accountLimit, 50, "1h"),
    paceMs: onAccountLimit === "delay" ? durationMs("throttleLogin().pace", pace ?? "10s", 3_600_000) : undefined,
    longestBlockMs: durationMs("throttleLogin().longestBlock", longestBlock, maxWindowSeconds * 1000),
    device: device === undefined ? undefined : resolveDevice(device),
    outcome,
    parallel,
    onStoreError,
  };
}

export function resolveThrottleName(option: string, name: unknown = "login"): string {
  if (typeof name === "string" && /^[A-Za-z0-9_.-]{1,64}$/.test(name)) return name;
  throw optionError(option, "must be 1 to 64 letters, digits, _, - and .");
}

function resolveAttemptLimit(
  option: string,
  options: AttemptLimitOptions = {},
  defaultLimit: number,
  defaultWindow: Duration,
): ResolvedAttemptLimit {
  checkObject(option, options, ["limit", "window"]);
  const { limit = defaultLimit, window = defaultWindow } = options;
  checkInteger(`${option}.limit`, limit, 1, 1_000_000_000);
  return { limit, windowMs: durationMs(`${option}.window`, window, maxWindowSeconds * 1000) };
}

function resolveDevice<Raw>(options: LoginDeviceOptions<Raw>): ResolvedLogin<Raw>["device"] {
  checkObject("throttleLogin().device", options, ["secret", "lifetime", "cookie", "token"]);
  const { secret, lifetime = "90d", cookie = "__Host-device", token } = options;
  const isText = typeof secret === "string";
  if (!(isText || secret instanceof Uint8Array) || (isText ? Buffer.byteLength(secret) : secret.length) < 32)
    throw optionError(
      "throttleLogin().device.secret",
      "must be at least 32 bytes, random and the same in all processes",
    );
  checkCookieName("throttleLogin().device.cookie", cookie, { secure: true, path: "/" });
  if (token !== undefined) checkFunction("throttleLogin().device.token", token);
  return { secret, lifetimeMs: durationMs("throttleLogin().device.lifetime", lifetime), cookie, token };
}
