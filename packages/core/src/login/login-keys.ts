import type { Keyspace } from "../store/keyspace.js";
import { foldAccount } from "./account-name.js";

/** How long it is remembered that attempts were used up, and with what blocks: a day. */
export const memoryMs: number = 86_400_000;

/** How long a place is known where an account has signed in. */
export const knownMs: number = 30 * 86_400_000;

/** The keys of an account that do not depend on where it is tried, in one slot with those of {@link accountAndIpKeys}. */
export interface AccountKeys {
  /** A digest of the folded name: all spellings that a database may take for the account. No name can be read in Redis. */
  readonly owner: string;
  /** A digest of the exact name. */
  readonly spelling: string;
  /** The counter of all spellings, and that of this one where it is not the folded name itself. */
  readonly counters: readonly string[];
  readonly paceKey: string;
  readonly pardonKey: string;
}

/** Expects a normalized name. */
export function accountKeys(keys: Keyspace, throttle: string, account: string): AccountKeys {
  const folded = foldAccount(account);
  const [owner, spelling] = [keys.digest(folded), keys.digest(account)];
  const all = keys.login(throttle, "account", owner);
  return {
    owner,
    spelling,
    counters: folded === account ? [all] : [all, keys.login(throttle, "account", owner, spelling)],
    paceKey: keys.login(throttle, "pace", owner),
    pardonKey: keys.login(throttle, "pardon", owner),
  };
}

/**
 * The keys of an account at an address, which is a digest. All spellings share a pair, or each would have attempts of its
 * own; a place is known for the spelling alone, or somebody with an account of a similar name would be known there, too.
 */
export function accountAndIpKeys(
  keys: Keyspace,
  throttle: string,
  { owner, spelling }: AccountKeys,
  address: string,
): { pairKey: string; knownKey: string } {
  return {
    pairKey: keys.login(throttle, "pair", owner, address),
    knownKey: keys.login(throttle, "known", owner, `${spelling}:${address}`),
  };
}
