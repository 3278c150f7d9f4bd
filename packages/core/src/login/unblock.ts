import { canonicalAddress, unknownAddress } from "../http/address.js";
import { resolveThrottleName } from "./options.js";
import { checkObject, checkString, optionError } from "../lib/validate.js";
import type { Keyspace } from "../store/keyspace.js";
import type { LoginStore } from "../store/ports/logins.js";
import { normalizeAccount } from "./account-name.js";
import type { AccountKeys } from "./login-keys.js";
import { accountKeys, memoryMs } from "./login-keys.js";

/** The counters to reset: of an account at all addresses, of an address, or of both. */
export interface UnblockOptions {
  /** Name of the account. @default none */
  readonly account?: string | undefined;
  /** An address; `"unknown"` for all clients whose address cannot be read. */
  readonly ip?: string | undefined;
  /** The name of the throttle. @default "login" */
  readonly name?: string | undefined;
}

/** Administration of the counters of `throttleLogin()`. */
export interface Logins {
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
}

export function createLogins({ store, local, keys, ipv6PrefixLength }: LoginsServices): Logins {
  return {
    async unblock(target) {
      checkObject("unblock()", target, ["account", "ip", "name"]);
      const { account, ip } = target;
      const name = resolveThrottleName("unblock().name", target.name);
      if (account === undefined && ip === undefined) throw optionError("unblock()", "needs an account, an ip or both");
      const reset = {
        addressKey: ip === undefined ? undefined : addressKey(name, ip),
        account: account === undefined ? undefined : accountReset(name, account),
      };
      await local.reset(reset);
      await store.reset(reset);
    },
  };

  function addressKey(name: string, ip: unknown): string {
    checkString("unblock().ip", ip);
    const address = canonicalAddress(ip, ipv6PrefixLength);
    // A typing error would unblock all clients whose address cannot be read, and not the one that is meant.
    if (address === unknownAddress && ip !== unknownAddress)
      throw optionError("unblock().ip", `must be an IP address, or "${unknownAddress}" for clients without one`);
    return keys.login(name, "ip", keys.digest(address));
  }

  function accountReset(name: string, account: unknown): AccountKeys & { memoryMs: number } {
    const normalized = normalizeAccount(account);
    if (normalized === undefined) throw optionError("unblock().account", "must be the name of an account");
    return { ...accountKeys(keys, name, normalized), memoryMs };
  }
}
