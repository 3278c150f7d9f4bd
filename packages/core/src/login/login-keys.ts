import type { Keyspace } from "../store/keyspace.js";
import { foldAccount } from "./account-name.js";

/** Time for which exhausted limits and blocks are remembered: a day. */
export const memoryMs: number = 86_400_000;

/** Time for which an address is known after a sign-in of the account. */
export const knownMs: number = 30 * 86_400_000;

/** The keys of an account for all addresses. They share a slot with those of {@link accountAndIpKeys}. */
export interface AccountKeys {
  /** A digest of the folded name, for all spellings that a database may equate. No name can be read in Redis. */
  readonly owner: string;
  /** A digest of the exact name. */
  readonly spelling: string;
  /** The counter of all spellings, and that of this spelling unless it is the folded name itself. */
  readonly counters: readonly string[];
  readonly intervalKey: string;
  readonly resetKey: string;
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
    intervalKey: keys.login(throttle, "pace", owner),
    resetKey: keys.login(throttle, "pardon", owner),
  };
}

/**
 * The keys of an account at an address, which is a digest. All spellings share one counter, or each spelling would have
 * attempts of its own. But the address is known for one spelling only, or the owner of a similar name would be known there too.
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
