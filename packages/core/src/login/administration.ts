import { canonicalAddress, unknownAddress } from "../http/address.js";
import type { ResolvedAttemptLimit, ThrottleLimits } from "./options.js";
import { resolveThrottleName } from "./options.js";
import { checkObject, checkString, optionError } from "../lib/validate.js";
import type { Keyspace } from "../store/keyspace.js";
import type { AttemptCount, LoginReading, LoginStore } from "../store/ports/logins.js";
import type { AuditTrail } from "../telemetry/audit.js";
import { normalizeAccount } from "./account-name.js";
import type { AccountKeys } from "./login-keys.js";
import { accountAndIpKeys, accountKeys, memoryMs } from "./login-keys.js";

/** The counters of a login throttle: of an account at all addresses, of an address, or of both. */
export interface LoginTarget {
  /** Name of the account, in any spelling that `throttleLogin()` takes for the same. */
  readonly account?: string | undefined;
  /** An address; `"unknown"` for all clients whose address cannot be read. */
  readonly ip?: string | undefined;
  /** The name of the throttle. @default "login" */
  readonly name?: string | undefined;
}

/** The counters to reset. */
export type UnblockOptions = LoginTarget;

/** The state of one counter of a login throttle. */
export interface AttemptState {
  /** Attempts in the window that has begun. Successes are taken back. */
  readonly attempts: number;
  /** Undefined if this gate has no throttle with the name. */
  readonly limit: number | undefined;
  /** Attempts that are left. Undefined if this gate has no throttle with the name. */
  readonly remaining: number | undefined;
  /** Seconds until the window ends, or the block; 0 without attempts. */
  readonly resetSeconds: number;
  /** Is the next attempt refused now? Undefined where the limit decides it, and is unknown. */
  readonly blocked: boolean | undefined;
}

/** The state of a login throttle: the result of `logins.peek()`. */
export interface LoginState {
  /** The name of the throttle. */
  readonly name: string;
  /** Undefined if the call names no address. */
  readonly ip: AttemptState | undefined;
  /** The account from all addresses: its fullest counter. It slows attempts down, and never locks the account. */
  readonly account: AttemptState | undefined;
  /** The account from this address; undefined if the call does not name both. */
  readonly pair: AttemptState | undefined;
  /** Has the account signed in from this address before? Then the counter of the account does not apply there. */
  readonly knownAddress: boolean | undefined;
}

/** Administration of the counters of `throttleLogin()`. */
export interface Logins {
  /**
   * Resolves to the attempts of an account, of an address, or of both together. Counts nothing, and does not tell whether the
   * account exists. Rejects with a StoreFault (503) if the store is unavailable.
   */
  peek(target: LoginTarget): Promise<LoginState>;
  /**
   * Resets the counters of an account in all spellings of its name, with its blocks at all addresses, or those of an address.
   * Rejects with a StoreFault (503) if the store is unavailable.
   */
  unblock(target: UnblockOptions): Promise<void>;
}

export interface LoginsServices {
  readonly store: LoginStore;
  /** The counters of this process, from times when the store was down. */
  readonly local: LoginStore;
  readonly keys: Keyspace;
  readonly ipv6PrefixLength: number;
  readonly audit: AuditTrail;
  /** The limits of each throttle of this gate, by its name. */
  readonly throttles: ReadonlyMap<string, ThrottleLimits>;
}

/** The window by which a reset voids counts, where no throttle says it: that of the default limit of an account. */
const defaultWindowMs = 3_600_000;

export function createLogins({ store, local, keys, ipv6PrefixLength, audit, throttles }: LoginsServices): Logins {
  return {
    async peek(target) {
      const { name, account, ip } = readTarget("peek()", target);
      const limits = throttles.get(name);
      const address = ip === undefined ? undefined : digestOf("peek()", ip);
      const counts = await store.read({
        addressKey: address === undefined ? undefined : keys.login(name, "ip", address),
        account: account === undefined ? undefined : readingOf(name, account, address, limits),
      });
      const { account: ofAccount, pair } = counts;
      return {
        name,
        ip: stateOf(counts.address, limits?.ip),
        // An exhausted account refuses only within its minimum interval.
        account: stateOf(ofAccount, limits?.accountLimit, ofAccount !== undefined && ofAccount.pacedMs > 0),
        pair: stateOf(pair, limits?.pair),
        knownAddress: pair?.known,
      };
    },
    async unblock(target) {
      const { name, account, ip } = readTarget("unblock()", target);
      const reset = {
        addressKey: ip === undefined ? undefined : keys.login(name, "ip", digestOf("unblock()", ip)),
        account: account === undefined ? undefined : { ...keysOf("unblock()", name, account), memoryMs },
      };
      await local.reset(reset);
      await store.reset(reset);
      audit.record({ type: "login_unblocked", throttle: name, account, ip });
    },
  };

  function readTarget(call: string, target: LoginTarget): { name: string; account?: string; ip?: string } {
    checkObject(call, target, ["account", "ip", "name"]);
    const { account, ip } = target;
    const name = resolveThrottleName(`${call}.name`, target.name);
    if (account === undefined && ip === undefined) throw optionError(call, "needs an account, an ip or both");
    return { name, ...(account === undefined ? {} : { account }), ...(ip === undefined ? {} : { ip }) };
  }

  function digestOf(call: string, ip: unknown): string {
    checkString(`${call}.ip`, ip);
    const address = canonicalAddress(ip, ipv6PrefixLength);
    // A typing error would mean all clients whose address cannot be read, and not the one that is meant.
    if (address === unknownAddress && ip !== unknownAddress)
      throw optionError(`${call}.ip`, `must be an IP address, or "${unknownAddress}" for clients without one`);
    return keys.digest(address);
  }

  function keysOf(call: string, name: string, account: unknown): AccountKeys {
    const normalized = normalizeAccount(account);
    if (normalized === undefined) throw optionError(`${call}.account`, "must be the name of an account");
    return accountKeys(keys, name, normalized);
  }

  function readingOf(
    name: string,
    account: string,
    address: string | undefined,
    limits: ThrottleLimits | undefined,
  ): LoginReading["account"] {
    const ownKeys = keysOf("peek()", name, account);
    const { counters, intervalKey, resetKey } = ownKeys;
    return {
      ...{ counters, intervalKey, resetKey, windowMs: limits?.accountLimit.windowMs ?? defaultWindowMs },
      pair: address === undefined ? undefined : accountAndIpKeys(keys, name, ownKeys, address),
    };
  }
}

/** `isHeld` is said of a counter that alone does not refuse. */
function stateOf(
  count: AttemptCount | undefined,
  limit: ResolvedAttemptLimit | undefined,
  isHeld?: boolean,
): AttemptState | undefined {
  if (count === undefined) return undefined;
  const { attempts, leftMs } = count;
  const isExhausted = limit === undefined ? undefined : attempts >= limit.limit;
  return {
    attempts,
    limit: limit?.limit,
    remaining: limit === undefined ? undefined : Math.max(0, limit.limit - attempts),
    resetSeconds: Math.ceil(leftMs / 1000),
    blocked: isExhausted === undefined || isHeld === undefined ? isExhausted : isExhausted && isHeld,
  };
}
