import type { BreakerControl } from "../../lib/breaker.js";

/** The keys of one name that can be locked. Both are in one hash slot. */
export interface LockKeys {
  /** Holds the owner and the last fence; for a day longer than the lease, which its TTL tells. */
  readonly lock: string;
  /** With the owner behind it: notes that the owner has given up a take that was not answered. */
  readonly withdrawal: string;
}

/** Locks of one owner, which are taken together or not at all. */
export interface LockClaim {
  readonly keys: readonly LockKeys[];
  /** A text without : and +, different for each claim. Only its owner extends and releases a lock. */
  readonly owner: string;
}

export interface LockRequest extends LockClaim {
  readonly leaseMs: number;
  /** Does the caller wait for a message if a lock is held? */
  readonly waits: boolean;
}

/** One of the locks is held for up to `waitMs` more. */
export interface LockIsHeld {
  readonly waitMs: number;
  /** If given, the lock is one of these, and the release of another lock is no reason to ask again. */
  readonly among?: readonly LockKeys[] | undefined;
}

/** The locks are taken, or one of them is held. */
export type LockAnswer = { readonly fence: number } | LockIsHeld;

/**
 * Locks with a lease and a fence. The fence of a claim is higher than every fence that was given for any of its names
 * before, as far as the store remembers: the last fence and 1, or the time of the store in microseconds, whichever is
 * higher.
 *
 * All methods reject with a StoreFault if the store does not answer; the operation may still run later.
 */
export interface LockStore {
  take(request: LockRequest): Promise<LockAnswer>;
  /**
   * Lets the leases end in `leaseMs` at the earliest. False if the owner no longer holds all locks; then no lease is
   * renewed.
   */
  extend(claim: LockClaim, fence: number, leaseMs: number): Promise<boolean>;
  /** Gives back the locks that the owner holds. False if it did not hold all of them. */
  release(claim: LockClaim): Promise<boolean>;
  /** Gives back what a take that was not answered may have taken, or will take when it arrives late. */
  withdraw(claim: LockClaim): Promise<void>;
  /** Empty for a store in process. */
  readonly breakers: readonly BreakerControl[];
}

/** A fence outlives the lease by a day. */
export const fenceMs = 86_400_000;

/** How long a withdrawal is remembered. A command that was sent while Redis was paused may run much later. */
export const withdrawnLockMs = 60_000;

/**
 * The channel of the locks. A message is the key of a lock that was given back and that another process waits for.
 */
export const lockChannel = "locks";
