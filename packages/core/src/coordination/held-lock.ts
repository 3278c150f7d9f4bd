import type { Deadline, Deadlines } from "../lib/deadline.js";
import type { Duration } from "../lib/duration.js";
import type { LockClaim, LockStore } from "../store/ports/locks.js";
import type { LockLossReason } from "./lock-error.js";
import { LockLostError } from "./lock-error.js";
import type { ResolvedLock } from "./lock-options.js";
import { leaseOf } from "./lock-options.js";
import { monotonicNow } from "../lib/real-timers.js";

/** A lock that was taken. */
export interface Lock {
  /** The names, sorted and without duplicates. */
  readonly names: readonly string[];
  /**
   * The fence: a number that is higher for each later holder of any of the names. Send it with every write, and let the
   * resource refuse a number that is lower than the highest one it has seen.
   */
  readonly fence: number;
  /** Is aborted with a {@link LockLostError} when the lock is lost; not when it is given back. */
  readonly signal: AbortSignal;
  /** Is the lock held now, by the monotonic clock of this process? */
  readonly isHeld: boolean;
  /**
   * Extends the lease at once, so that it ends after `lease` at the earliest. Rejects with a {@link LockLostError} if the lock is no longer held, and with a StoreFault
   * if the store does not answer; the lock is then held until its lease ends.
   *
   * @param lease 100 ms to 1 day from now. @default the lease of the lock
   */
  extend(lease?: Duration): Promise<void>;
  /**
   * Gives the lock back. Resolves to false if it was lost before, or given back already. It never rejects: if the store
   * does not answer, the release is repeated in the background until the store answers.
   */
  release(): Promise<boolean>;
  /** Gives the lock back, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** The parts that the locks of a service share. */
export interface LockKeeper {
  readonly store: LockStore;
  readonly deadlines: Deadlines;
  /** Called when the lock is lost or given back; and then once more if the store says that it was lost before. */
  readonly onEnd: (lock: HeldLock, lost: LockLossReason | undefined) => void;
  /** Gives the locks back until the store answers. */
  readonly giveBack: (claim: LockClaim, leaseMs: number) => void;
}

/** An automatic extension that failed is repeated after a twelfth of the lease. */
const retryPart = 12;
const minRetryMs = 25;
const maxRetryMs = 1000;

/**
 * The end of a lease that the store was asked for at `askedAt`, by the monotonic clock of this process. The clocks may
 * run at different speeds: a hundredth is left out.
 */
export function leaseEnd(askedAt: number, leaseMs: number): number {
  return askedAt + leaseMs - leaseMs / 100 - 2;
}

/** A lock of this process. It extends its lease, and ends when the lease could not be confirmed in time. */
export class HeldLock implements Lock {
  readonly names: readonly string[];
  readonly fence: number;
  readonly #keeper: LockKeeper;
  readonly #claim: LockClaim;
  readonly #demand: ResolvedLock;
  /** No automatic extension goes beyond this time. Monotonic milliseconds. */
  readonly #holdUntil: number;
  /** Made when somebody asks for the signal. */
  #abort: AbortController | undefined;
  #abortReason: LockLostError | undefined;
  #heldUntil: number;
  /** When the lease is extended next. */
  #extendAt = Number.POSITIVE_INFINITY;
  #state: "held" | "lost" | "released" = "held";
  #loss: LockLossReason = "released";
  #deadline: Deadline | undefined;

  /** `askedAt` is when the store was asked for the lock, in monotonic milliseconds. */
  constructor(keeper: LockKeeper, claim: LockClaim, demand: ResolvedLock, fence: number, askedAt: number) {
    this.#keeper = keeper;
    this.#claim = claim;
    this.#demand = demand;
    this.#holdUntil = askedAt + demand.maxHoldMs;
    this.names = demand.names;
    this.fence = fence;
    this.#heldUntil = leaseEnd(askedAt, demand.leaseMs);
    this.#planExtension(askedAt, demand.leaseMs);
    this.#schedule();
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#abortReason !== undefined) this.#abort.abort(this.#abortReason);
    }
    return this.#abort.signal;
  }

  get isHeld(): boolean {
    return this.#state === "held" && monotonicNow() < this.#heldUntil;
  }

  /** Why the lock was lost; undefined while it is held, and if it was given back. */
  get lossReason(): LockLossReason | undefined {
    return this.#state === "lost" ? this.#loss : undefined;
  }

  async extend(lease?: Duration): Promise<void> {
    const leaseMs = lease === undefined ? this.#demand.leaseMs : leaseOf("lock.extend()", lease);
    this.#requireHeld();
    await this.#renew(leaseMs);
    this.#requireHeld();
  }

  async release(): Promise<boolean> {
    if (!this.#checkClock()) {
      // Redis has lost one of the names, and may still have the others.
      if (this.lossReason === "taken" && this.#claim.keys.length > 1)
        this.#keeper.giveBack(this.#claim, this.#demand.leaseMs);
      return false;
    }
    this.#end("released", undefined);
    try {
      if (await this.#keeper.store.release(this.#claim)) return true;
      this.#keeper.onEnd(this, "taken");
      return false;
    } catch {
      this.#keeper.giveBack(this.#claim, this.#demand.leaseMs);
      return monotonicNow() < this.#heldUntil;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  /** Aborts the signal before the gate closes. The lock can still be given back. */
  announceEnd(): void {
    this.#abortWith("closed");
  }

  /** The lock is not held any more. Nothing is given back for `closed`: the holder may still be at work. */
  lose(reason: LockLossReason): void {
    if (this.#state !== "held") return;
    this.#end("lost", reason);
    // An extension may still be on its way, and would keep the lock for a whole lease.
    if (reason === "expired") this.#keeper.giveBack(this.#claim, this.#demand.leaseMs);
    this.#abortWith(reason);
  }

  #abortWith(reason: LockLossReason): void {
    if (this.#abortReason !== undefined) return;
    this.#abortReason = new LockLostError(reason);
    this.#abort?.abort(this.#abortReason);
  }

  #end(state: "lost" | "released", lost: LockLossReason | undefined): void {
    this.#state = state;
    this.#loss = lost ?? "released";
    this.#cancelDeadline();
    this.#keeper.onEnd(this, lost);
  }

  /** Ends the lock if its lease has ended, for example while the process stood still. */
  #checkClock(): boolean {
    if (this.#state === "held" && monotonicNow() >= this.#heldUntil) this.lose("expired");
    return this.#state === "held";
  }

  #requireHeld(): void {
    if (!this.#checkClock()) throw new LockLostError(this.#loss);
  }

  /** Extends the lease. Rejects with a StoreFault. */
  async #renew(leaseMs: number): Promise<void> {
    const askedAt = monotonicNow();
    const kept = await this.#keeper.store.extend(this.#claim, this.fence, leaseMs);
    if (this.#state !== "held") return;
    if (!kept) return this.lose("taken");
    // The store says that the lock was held without a break, also if this process stood still meanwhile.
    this.#heldUntil = Math.max(this.#heldUntil, leaseEnd(askedAt, leaseMs));
    if (!this.#checkClock()) return;
    this.#planExtension(askedAt, leaseMs);
    this.#schedule();
  }

  /** The next automatic extension is a third of a lease after `from`, or later if the lease was made longer by hand. */
  #planExtension(from: number, leaseMs: number): void {
    const at = Math.max(from + leaseMs / 3, this.#heldUntil - (this.#demand.leaseMs * 2) / 3);
    this.#extendAt = this.#demand.autoExtend && this.#heldUntil < this.#holdUntil ? at : Number.POSITIVE_INFINITY;
  }

  #schedule(): void {
    this.#cancelDeadline();
    // A holder that is at work keeps the process alive by itself.
    this.#deadline = this.#keeper.deadlines.set(Math.min(this.#extendAt, this.#heldUntil), this);
  }

  #cancelDeadline(): void {
    if (this.#deadline !== undefined) this.#keeper.deadlines.cancel(this.#deadline);
  }

  /** The lease ends, or is to be extended. */
  pass(): void {
    if (!this.#checkClock()) return;
    const now = monotonicNow();
    if (now < this.#extendAt) return this.#schedule();
    const { leaseMs } = this.#demand;
    const ms = Math.max(1, Math.ceil(Math.min(leaseMs, this.#holdUntil - now)));
    if (now + ms <= this.#heldUntil) {
      // The lease was made longer by hand while an automatic extension failed.
      this.#planExtension(now, leaseMs);
      return this.#schedule();
    }
    // Until the store answers, the timer waits for the end of the lease.
    this.#extendAt = Number.POSITIVE_INFINITY;
    this.#schedule();
    this.#renew(ms).catch(() => this.#retry());
  }

  #retry(): void {
    if (this.#state !== "held") return;
    const pauseMs = Math.min(maxRetryMs, Math.max(minRetryMs, this.#demand.leaseMs / retryPart));
    this.#extendAt = monotonicNow() + pauseMs;
    this.#schedule();
  }
}
