import { OutageError } from "../lib/outage.js";

/**
 * `lock_timeout`: the lock was not free within `wait`; `lock_lost`: the lease could not be confirmed before it ended, or
 * the lock was given back already; `lock_overloaded`: too many callers of this process wait for locks; `lock_closed`: the
 * gate is closed.
 */
export type LockErrorCode = "lock_timeout" | "lock_lost" | "lock_overloaded" | "lock_closed";

const messages: Readonly<Record<LockErrorCode, string>> = {
  lock_timeout: "the lock was not free in time",
  lock_lost: "the lock was lost",
  lock_overloaded: "too many callers wait for locks",
  lock_closed: "the gate is closed",
};

/**
 * A lock could not be taken, or was lost. Express and Koa answer 503 with `Retry-After` if nothing else handles it. The
 * message never contains the name of the lock.
 */
export class LockError extends OutageError {
  override readonly name: string = "LockError";
  /** The stable name of the reason. */
  readonly code: LockErrorCode;

  constructor(code: LockErrorCode, message: string = messages[code]) {
    super(message);
    this.code = code;
  }
}

/**
 * Why a lock is no longer held. `expired`: the store did not confirm the lease before its end, for example since it was
 * unreachable or this process stood still; `taken`: the store says that the lock has no or another owner; `released`: it
 * was given back, or its leader resigned; `closed`: the gate was closed.
 */
export type LockLossReason = "expired" | "taken" | "released" | "closed";

const losses: Readonly<Record<LockLossReason, string>> = {
  expired: "the lock was lost: its lease has ended",
  taken: "the lock was lost: it has another owner",
  released: "the lock was given back",
  closed: "the lock was lost: the gate is closed",
};

/** The lock is no longer held, so that another process may hold it. */
export class LockLostError extends LockError {
  override readonly name = "LockLostError";
  /** How the lock was lost. */
  readonly reason: LockLossReason;

  constructor(reason: LockLossReason) {
    super("lock_lost", losses[reason]);
    this.reason = reason;
  }
}
