import { randomBytes } from "node:crypto";
import { GrowingLru } from "../lib/growing-lru.js";
import type { Deadline } from "../lib/deadline.js";
import { Deadlines } from "../lib/deadline.js";
import { checkFunction, optionError } from "../lib/validate.js";
import { RetryQueue } from "../lib/retry-queue.js";
import type { Keyspace } from "../store/keyspace.js";
import type { Channels } from "../store/ports/channels.js";
import { StoreFault } from "../store/ports/fault.js";
import type { LockAnswer, LockClaim, LockIsHeld, LockKeys, LockRequest, LockStore } from "../store/ports/locks.js";
import { withdrawnLockMs } from "../store/ports/locks.js";
import type { LockOutcome, Telemetry } from "../telemetry/telemetry.js";
import type { Lock, LockKeeper } from "./held-lock.js";
import { HeldLock, leaseEnd } from "./held-lock.js";
import type { LockLossReason } from "./lock-error.js";
import { LockError, LockLostError } from "./lock-error.js";
import type { AcquireOptions, LockDemand, LockOptions } from "./lock-options.js";
import { resolveAcquire, resolveLock } from "./lock-options.js";
import type { Waiter } from "./lock-waiters.js";
import { LockWaiters } from "./lock-waiters.js";
import { clearTimeout, monotonicNow, setImmediate, setTimeout } from "../lib/real-timers.js";

/** A function that runs while a lock is held. The signal is aborted when the lock is lost. */
export type LockedTask<T> = (signal: AbortSignal, fence: number) => T | PromiseLike<T>;

/**
 * Locks that all processes of this service share: mutual exclusion by a lease in Redis, or within this process if the gate
 * has no Redis. Names are texts of the application, up to 16 at a time; they are taken together or not at all. Locks are
 * not reentrant: a holder that asks for one of its names again waits for itself.
 *
 * No lock of this kind excludes two holders at all times: a process may stand still for longer than its lease without
 * knowing it (Kleppmann, "How to do distributed locking", 2016). Send the fence with every write.
 *
 * All methods reject with a TypeError or RangeError for bad arguments, and with a StoreFault while Redis does not answer.
 */
export interface Locks {
  /**
   * Runs a function while a lock is held, and gives the lock back. Resolves to the result of the function. Rejects with a
   * {@link LockLostError} if the lock was lost while the function ran, also if the function has resolved. If the function
   * rejects, its own error is the reason.
   */
  using<T>(names: string | readonly string[], task: LockedTask<T>): Promise<T>;
  /** The same with options. */
  using<T>(names: string | readonly string[], options: AcquireOptions, task: LockedTask<T>): Promise<T>;
  /**
   * Takes a lock and waits for it up to `wait`. Rejects with a {@link LockError}: `lock_timeout`, `lock_overloaded` (10,000
   * callers of this process wait already) or `lock_closed`. Give the lock back in `finally`, or with `await using`.
   */
  acquire(names: string | readonly string[], options?: AcquireOptions): Promise<Lock>;
  /** Takes a lock if it is free now. Resolves to undefined if it is held. */
  tryAcquire(names: string | readonly string[], options?: LockOptions): Promise<Lock | undefined>;
}

export interface LockServiceOptions {
  readonly store: LockStore;
  readonly channels: Channels;
  readonly keys: Keyspace;
  readonly telemetry: Telemetry;
  /** Called at the first use. */
  readonly onFirstUse?: (() => void) | undefined;
}

const noOptions: AcquireOptions = {};
/** The keys of so many names are remembered. */
const maxKnownNames = 1000;
const maxKnownLength = 128;
/** How long closing waits for holders that give their locks back. All steps of closing together have a second. */
const closeTimeoutMs = 250;

/** Takes locks, waits for them, and gives back what nobody uses. */
export class LockService implements Locks {
  readonly #store: LockStore;
  readonly #keys: Keyspace;
  readonly #telemetry: Telemetry;
  readonly #onFirstUse: (() => void) | undefined;
  readonly #waiters: LockWaiters;
  readonly #keepers: Readonly<Record<"lock" | "leader", LockKeeper>>;
  readonly #deadlines = new Deadlines();
  readonly #held = new Set<HeldLock>();
  /** Locks that are to be given back when the store answers again. */
  readonly #givenBack = new RetryQueue();
  readonly #known = {
    lock: new GrowingLru<string, readonly [LockKeys]>({ max: maxKnownNames }),
    leader: new GrowingLru<string, readonly [LockKeys]>({ max: 100 }),
  };
  /** Owners are different in all processes, and different for each attempt. */
  readonly #origin = randomBytes(12).toString("base64url");
  #owners = 0;
  #isUsed = false;
  #closed = false;
  #onEmpty: (() => void) | undefined;
  /** Calls whose locks nobody will use. Closing waits for them. */
  readonly #leftovers = new Set<Promise<unknown>>();

  constructor({ store, channels, keys, telemetry, onFirstUse }: LockServiceOptions) {
    this.#store = store;
    this.#keys = keys;
    this.#telemetry = telemetry;
    this.#onFirstUse = onFirstUse;
    this.#waiters = new LockWaiters(channels);
    this.#keepers = { lock: this.#keeper("lock"), leader: this.#keeper("leader") };
  }

  /** Has a lock or a leadership been asked for? */
  get isUsed(): boolean {
    return this.#isUsed;
  }

  async using<T>(
    names: string | readonly string[],
    optionsOrTask: AcquireOptions | LockedTask<T>,
    taskOrNone?: LockedTask<T>,
  ): Promise<T> {
    const [options, task] =
      typeof optionsOrTask === "function" ? [noOptions, optionsOrTask] : [optionsOrTask, taskOrNone];
    checkFunction("locks.using()", task);
    if (task === undefined) throw optionError("locks.using()", "needs a function as its last argument");
    const lock = await this.obtain(resolveAcquire("locks.using()", names, options));
    let result: T;
    try {
      result = await task(lock.signal, lock.fence);
    } catch (error) {
      await lock.release();
      throw error;
    }
    if (await lock.release()) return result;
    throw new LockLostError(lock.lossReason ?? "taken");
  }

  acquire(names: string | readonly string[], options: AcquireOptions = noOptions): Promise<Lock> {
    let demand: LockDemand;
    try {
      demand = resolveAcquire("locks.acquire()", names, options);
    } catch (error) {
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- an async function would add a promise.
      return Promise.reject(error);
    }
    return this.obtain(demand);
  }

  async tryAcquire(names: string | readonly string[], options: LockOptions = {}): Promise<Lock | undefined> {
    return this.#tryAcquire(resolveLock("locks.tryAcquire()", names, options));
  }

  /**
   * Waits for the locks. Rejects with a StoreFault, a LockError, or the reason of the signal. One function from the queue to
   * the answer of the store: most locks are free, and each promise between would take as long as the rest.
   */
  async obtain(demand: LockDemand): Promise<HeldLock> {
    const { signal, waitMs } = demand;
    let waiter: Waiter | undefined;
    let deadline: Deadline | undefined;
    try {
      this.#requireOpen();
      signal?.throwIfAborted();
      this.#noteUse();
      const keys = this.#keysOf(demand);
      const until = monotonicNow() + waitMs;
      waiter = this.#waiters.enter(keys, signal);
      // A call in flight keeps the process alive, and so does the timer of a caller that waits.
      if (Number.isFinite(waitMs)) deadline = this.#deadlines.set(until, waiter);
      while (!this.#waiters.isFirst(waiter)) {
        waiter.stay(until);
        waiter.forgetNews();
        await waiter.pause();
      }
      for (;;) {
        waiter.forgetNews();
        const claim = this.#claimOf(demand, keys, true);
        const askedAt = monotonicNow();
        const taking = this.#store.take(claim);
        let answer: LockAnswer;
        try {
          answer = await waiter.orEnd(taking);
        } catch (error) {
          // The store may still give the lock to this caller, which has left.
          this.#undo(claim, taking);
          throw error;
        }
        const outcome = this.#hold(demand, claim, answer, askedAt);
        if (outcome instanceof HeldLock) {
          this.#count(demand, "acquired");
          return outcome;
        }
        waiter.stay(until);
        this.#waiters.listen();
        // A message tells of a release, and nothing tells of the end of a lease. The random part spreads the waiters.
        await waiter.pause(outcome.waitMs + 1 + Math.random() * 10, outcome.among);
      }
    } catch (error) {
      this.#count(demand, outcomeOf(error));
      throw error;
    } finally {
      if (deadline !== undefined) this.#deadlines.cancel(deadline);
      if (waiter !== undefined) this.#waiters.leave(waiter);
    }
  }

  /** Ends the waiting, aborts the signals of all locks, and gives their holders a moment to give them back. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#waiters.close(new LockError("lock_closed"));
    await new Promise<void>((resolve) => setImmediate(resolve));
    const empty = new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
      if (this.#held.size === 0) resolve();
    });
    for (const lock of this.#held) lock.announceEnd();
    // The waiters of a moment ago give up their last attempts.
    const finished = empty.then(async () => Promise.all(this.#leftovers));
    if (this.#held.size + this.#leftovers.size > 0) await within(closeTimeoutMs, finished);
    for (const lock of this.#held) lock.lose("closed");
    this.#givenBack.close();
  }

  async #tryAcquire(demand: LockDemand): Promise<HeldLock | undefined> {
    this.#requireOpen();
    this.#noteUse();
    const claim = this.#claimOf(demand, this.#keysOf(demand), false);
    const askedAt = monotonicNow();
    const taking = this.#store.take(claim);
    this.#finish(taking);
    try {
      let answer: LockAnswer;
      try {
        answer = await taking;
      } catch (error) {
        this.#undo(claim, taking);
        throw error;
      }
      const outcome = this.#hold(demand, claim, answer, askedAt);
      const lock = outcome instanceof HeldLock ? outcome : undefined;
      // Not undefined, which says that somebody else holds the lock.
      if (lock === undefined) this.#requireOpen();
      if ("waitMs" in outcome && outcome.waitMs === 0) throw new StoreFault("timeout");
      this.#count(demand, lock === undefined ? "held" : "acquired");
      return lock;
    } catch (error) {
      this.#count(demand, outcomeOf(error));
      throw error;
    }
  }

  /** Each attempt has an owner of its own. */
  #claimOf({ leaseMs }: LockDemand, keys: readonly LockKeys[], waits: boolean): LockRequest {
    return { keys, owner: `${this.#origin}.${(this.#owners++).toString(36)}`, leaseMs, waits };
  }

  /** The lock, unless it is held by another owner, or the answer has come too late: it is given back then. */
  #hold(demand: LockDemand, claim: LockRequest, answer: LockAnswer, askedAt: number): HeldLock | LockIsHeld {
    if ("waitMs" in answer) return answer;
    if (this.#closed || monotonicNow() >= leaseEnd(askedAt, claim.leaseMs)) {
      this.#finish(this.#giveBack(claim));
      // It was taken, and is not held any more.
      return { waitMs: 0 };
    }
    const lock = new HeldLock(this.#keepers[demand.family], claim, demand, answer.fence, askedAt);
    this.#held.add(lock);
    return lock;
  }

  /** Gives back what a take has taken that was not answered, or not in time for its caller. */
  #undo(claim: LockRequest, taking: Promise<LockAnswer>): void {
    const undone = taking.then(
      async (answer) => ("fence" in answer ? this.#giveBack(claim) : undefined),
      async (error: unknown) => {
        if (!(error instanceof StoreFault) || error.mayHaveRun) await this.#withdraw(claim, claim.leaseMs);
      },
    );
    this.#finish(undone);
  }

  async #giveBack(claim: LockRequest): Promise<unknown> {
    return this.#store.release(claim).catch(async () => this.#withdraw(claim, claim.leaseMs));
  }

  #keysOf({ family, names }: LockDemand): readonly LockKeys[] {
    const [name = ""] = names;
    return names.length === 1 ? this.#keysOfName(family, name) : names.flatMap((one) => this.#keysOfName(family, one));
  }

  #keysOfName(family: "lock" | "leader", name: string): readonly [LockKeys] {
    const known = this.#known[family];
    let keys = known.get(name);
    if (keys === undefined) {
      keys = [
        {
          lock: this.#keys.coordination(family, name),
          withdrawal: this.#keys.coordination(family, name, "withdrawn"),
        },
      ];
      if (name.length <= maxKnownLength) known.set(name, keys);
    }
    return keys;
  }

  /** Gives locks back, again and again until the store has answered. They end by themselves if it never does. */
  async #withdraw(claim: LockClaim, leaseMs: number): Promise<void> {
    const attempt = async (): Promise<void> => this.#store.withdraw(claim);
    await attempt().catch(() => this.#givenBack.add(claim.owner, attempt, leaseMs + withdrawnLockMs));
  }

  /** The parts that locks of a family share. Leaders count their terms, so their losses are not counted. */
  #keeper(family: "lock" | "leader"): LockKeeper {
    return {
      store: this.#store,
      deadlines: this.#deadlines,
      onEnd: (lock, reason) => this.#onEnd(lock, family === "lock" ? reason : undefined),
      giveBack: (claim, leaseMs) => this.#finish(this.#withdraw(claim, leaseMs)),
    };
  }

  #finish(leftover: Promise<unknown>): void {
    const settled = leftover.catch(() => undefined).finally(() => this.#leftovers.delete(settled));
    this.#leftovers.add(settled);
  }

  #onEnd(lock: HeldLock, lost: LockLossReason | undefined): void {
    this.#held.delete(lock);
    if (lost !== undefined) this.#telemetry.lockEnded("lost");
    if (this.#held.size === 0) this.#onEmpty?.();
  }

  #requireOpen(): void {
    if (this.#closed) throw new LockError("lock_closed");
  }

  #noteUse(): void {
    if (this.#isUsed) return;
    this.#isUsed = true;
    this.#onFirstUse?.();
  }

  /** Leaders count their terms. */
  #count({ family }: LockDemand, outcome: LockOutcome): void {
    if (family === "lock") this.#telemetry.lockEnded(outcome);
  }
}

async function within(ms: number, promise: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([promise, new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)))]);
  clearTimeout(timer);
}

function outcomeOf(error: unknown): LockOutcome {
  if (error instanceof StoreFault) return "failed";
  if (!(error instanceof LockError)) return "aborted";
  if (error.code === "lock_timeout") return "timeout";
  return error.code === "lock_overloaded" ? "overloaded" : "aborted";
}
