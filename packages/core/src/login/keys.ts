import type { Keyspace } from "../store/keys.js";

/** How long it is remembered that attempts were used up, and with what blocks: a day. */
export const memoryMs: number = 86_400_000;

/** How long a place is known where an account has signed in. */
export const knownMs: number = 30 * 86_400_000;

/** The keys of an account that do not depend on where it is tried. Its owner is a digest: no name can be read in Redis. */
export function accountKeys(
  keys: Keyspace,
  throttle: string,
  account: string,
): { owner: string; key: string; paceKey: string; pardonKey: string } {
  const owner = keys.digest(account);
  return {
    owner,
    key: keys.login(throttle, "account", owner),
    paceKey: keys.login(throttle, "pace", owner),
    pardonKey: keys.login(throttle, "pardon", owner),
  };
}
