import { randomBytes } from "node:crypto";
import { LRUCache } from "lru-cache";
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
import { LockWaiters } from "./lock-waiters.js";

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

const monotonic = performance.now.bind(performance);

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
    lock: new LRUCache<string, readonly [LockKeys]>({ max: maxKnownNames }),
    leader: new LRUCache<string, readonly [LockKeys]>({ max: 100 }),
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
    const lock = await this.#acquire(resolveAcquire("locks.using()", names, options));
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

  async acquire(names: string | readonly string[], options: AcquireOptions = noOptions): Promise<Lock> {
    return this.#acquire(resolveAcquire("locks.acquire()", names, options));
  }

  async tryAcquire(names: string | readonly string[], options: LockOptions = {}): Promise<Lock | undefined> {
    return this.#tryAcquire(resolveLock("locks.tryAcquire()", names, options));
  }

  /** Waits for the locks. Rejects with a StoreFault, a LockError, or the reason of the signal. */
  async obtain(demand: LockDemand): Promise<HeldLock> {
    this.#requireOpen();
    const { signal, waitMs } = demand;
    signal?.throwIfAborted();
    this.#noteUse();
    const keys = this.#keysOf(demand);
    const waiter = this.#waiters.enter(keys, signal);
    let timer: NodeJS.Timeout | undefined;
    const until = monotonic() + waitMs;
    // A call in flight keeps the process alive, and so does the timer of a caller that waits.
    const deadline = Number.isFinite(waitMs) ? this.#deadlines.set(until, waiter) : undefined;
    const stay = (): void => {
      if (deadline !== undefined) timer ??= setTimeout(() => waiter.pass(), until - monotonic());
    };
    try {
      while (!this.#waiters.isFirst(waiter)) {
        stay();
        waiter.forgetNews();
        await waiter.pause();
      }
      for (;;) {
        waiter.forgetNews();
        const attempt = this.#attempt(demand, keys, true);
        let outcome: HeldLock | LockIsHeld;
        try {
          outcome = await waiter.orEnd(attempt);
        } catch (error) {
          // The store may still give the lock to this caller, which has left.
          this.#finish(attempt.then(releaseLock));
          throw error;
        }
        if (outcome instanceof HeldLock) return outcome;
        stay();
        this.#waiters.listen();
        // A message tells of a release, and nothing tells of the end of a lease. The random part spreads the waiters.
        await waiter.pause(outcome.waitMs + 1 + Math.random() * 10, outcome.among);
      }
    } finally {
      if (deadline !== undefined) this.#deadlines.cancel(deadline);
      clearTimeout(timer);
      this.#waiters.leave(waiter);
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

  async #acquire(demand: LockDemand): Promise<HeldLock> {
    try {
      const lock = await this.obtain(demand);
      this.#count("acquired");
      return lock;
    } catch (error) {
      this.#count(outcomeOf(error));
      throw error;
    }
  }

  async #tryAcquire(demand: LockDemand): Promise<HeldLock | undefined> {
    this.#requireOpen();
    this.#noteUse();
    try {
      const attempt = this.#attempt(demand, this.#keysOf(demand), false);
      this.#finish(attempt);
      const outcome = await attempt;
      const lock = outcome instanceof HeldLock ? outcome : undefined;
      // Not undefined, which says that somebody else holds the lock.
      if (lock === undefined) this.#requireOpen();
      if ("waitMs" in outcome && outcome.waitMs === 0) throw new StoreFault("timeout");
      this.#count(lock === undefined ? "held" : "acquired");
      return lock;
    } catch (error) {
      this.#count(outcomeOf(error));
      throw error;
    }
  }

  /** Asks the store once. A take whose reply is lost, or comes too late, is undone. */
  async #attempt(demand: LockDemand, keys: readonly LockKeys[], waits: boolean): Promise<HeldLock | LockIsHeld> {
    const { family, leaseMs } = demand;
    const claim: LockRequest = { keys, owner: `${this.#origin}.${(this.#owners++).toString(36)}`, leaseMs, waits };
    const askedAt = monotonic();
    let answer: LockAnswer;
    try {
      answer = await this.#store.take(claim);
    } catch (error) {
      // With an open breaker nothing was sent.
      if (!(error instanceof StoreFault) || error.kind !== "open") this.#withdraw(claim, leaseMs);
      throw error;
    }
    if ("waitMs" in answer) return answer;
    if (this.#closed || monotonic() >= leaseEnd(askedAt, leaseMs)) {
      this.#finish(this.#store.release(claim).catch(() => this.#withdraw(claim, leaseMs)));
      // It was taken, and is not held any more.
      return { waitMs: 0 };
    }
    const lock = new HeldLock(this.#keepers[family], claim, demand, answer.fence, askedAt);
    this.#held.add(lock);
    return lock;
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
  #withdraw(claim: LockClaim, leaseMs: number): void {
    const attempt = async (): Promise<void> => this.#store.withdraw(claim);
    this.#finish(attempt().catch(() => this.#givenBack.add(claim.owner, attempt, leaseMs + withdrawnLockMs)));
  }

  /** The parts that locks of a family share. Leaders count their terms, so their losses are not counted. */
  #keeper(family: "lock" | "leader"): LockKeeper {
    return {
      store: this.#store,
      deadlines: this.#deadlines,
      onEnd: (lock, reason) => this.#onEnd(lock, family === "lock" ? reason : undefined),
      giveBack: (claim, leaseMs) => this.#withdraw(claim, leaseMs),
    };
  }

  #finish(leftover: Promise<unknown>): void {
    const settled = leftover.catch(() => undefined).finally(() => this.#leftovers.delete(settled));
    this.#leftovers.add(settled);
  }

  #onEnd(lock: HeldLock, lost: LockLossReason | undefined): void {
    this.#held.delete(lock);
    if (lost !== undefined) this.#count("lost");
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

  #count(outcome: LockOutcome): void {
    this.#telemetry.lockEnded(outcome);
  }
}

async function within(ms: number, promise: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([promise, new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)))]);
  clearTimeout(timer);
}

async function releaseLock(outcome: HeldLock | object): Promise<void> {
  if (outcome instanceof HeldLock) await outcome.release();
}

function outcomeOf(error: unknown): LockOutcome {
  if (error instanceof StoreFault) return "failed";
  if (!(error instanceof LockError)) return "aborted";
  if (error.code === "lock_timeout") return "timeout";
  return error.code === "lock_overloaded" ? "overloaded" : "aborted";
}
