import type { Channels } from "../store/ports/channels.js";
import type { LockKeys } from "../store/ports/locks.js";
import { lockChannel } from "../store/ports/locks.js";
import { LockError } from "./lock-error.js";
import { clearTimeout, monotonicNow, setTimeout } from "../lib/real-timers.js";

/** A process may have so many callers that wait for locks. */
const maxWaiters = 10_000;

/** A caller that waits for locks. It ends once: by its time, its signal, or the end of the gate. */
export class Waiter {
  readonly keys: readonly LockKeys[];
  readonly signal: AbortSignal | undefined;
  /** Locks that were given back, or "all" if any may be free. */
  #news: Set<string> | "all" | undefined;
  /** The locks that the caller waits for; all of them if undefined. */
  #awaited: readonly LockKeys[] | undefined;
  #failure: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(keys: readonly LockKeys[], signal: AbortSignal | undefined) {
    this.keys = keys;
    this.signal = signal;
  }

  /** This lock, or any of the locks, may be free. */
  notify(lock?: string): void {
    if (lock === undefined) this.#news = "all";
    else if (this.#news !== "all") this.#news = (this.#news ?? new Set()).add(lock);
    if (this.#hasNews()) this.#wake?.();
  }

  #hasNews(): boolean {
    const news = this.#news;
    if (news === undefined || news === "all") return news !== undefined;
    return this.#awaited?.some(({ lock }) => news.has(lock)) ?? true;
  }

  /** The time of the caller is over. */
  pass(): void {
    this.fail(new LockError("lock_timeout"));
  }

  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#wake?.();
  }

  /** Keeps the process alive until this time, in monotonic milliseconds, or the end of the waiting. */
  stay(until: number): void {
    if (Number.isFinite(until)) this.#timer ??= setTimeout(() => this.pass(), until - monotonicNow());
  }

  /** The caller has left. */
  leave(): void {
    clearTimeout(this.#timer);
  }

  /** Forgets earlier news. Call it before asking for the locks. */
  forgetNews(): void {
    this.#news = undefined;
    this.#awaited = undefined;
  }

  /**
   * Waits for news since {@link forgetNews}, for `ms` at most: of the `awaited` locks, or of any. Rejects if the waiting has
   * ended.
   */
  async pause(ms?: number, awaited?: readonly LockKeys[]): Promise<void> {
    this.#awaited = awaited;
    if (!this.#hasNews() && this.#failure === undefined) {
      await new Promise<void>((resolve) => {
        // The time limit of the caller keeps the process alive, so this timer need not.
        const timer = ms === undefined ? undefined : setTimeout(resolve, ms).unref();
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
    }
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** The result of a promise. Rejects earlier if the waiting ends. */
  orEnd<T>(promise: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#wake = () => {
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the reason of a signal may be anything.
        if (this.#failure !== undefined) reject(this.#failure.error);
      };
      this.#wake();
      promise.then(resolve, reject);
    });
  }
}

/**
 * The callers of this process that wait for locks, in the order in which they came. Only the first one for a lock asks
 * the store. The channel is subscribed to when a lock is first found held.
 */
export class LockWaiters {
  readonly #channels: Channels;
  /** Waiters for each lock, the first one first. Most are alone, and need no Set. */
  readonly #queues = new Map<string, Waiter | Set<Waiter>>();
  /** Waiters for each signal. A signal has one listener, since Node warns of a leak when it has more than ten. */
  readonly #signals = new Map<AbortSignal, Set<Waiter>>();
  readonly #onAbort = ({ target }: Event): void => {
    const signal = target as AbortSignal;
    for (const waiter of [...(this.#signals.get(signal) ?? [])]) waiter.fail(signal.reason);
  };
  #size = 0;
  #unsubscribe: (() => void) | undefined;

  constructor(channels: Channels) {
    this.#channels = channels;
  }

  get size(): number {
    return this.#size;
  }

  enter(keys: readonly LockKeys[], signal?: AbortSignal): Waiter {
    if (this.#size >= maxWaiters) throw new LockError("lock_overloaded");
    this.#size += 1;
    const waiter = new Waiter(keys, signal);
    if (signal !== undefined) this.#watch(signal).add(waiter);
    for (const { lock } of keys) {
      const queue = this.#queues.get(lock);
      if (queue === undefined) this.#queues.set(lock, waiter);
      else if (queue instanceof Waiter) this.#queues.set(lock, new Set([queue, waiter]));
      else queue.add(waiter);
    }
    return waiter;
  }

  /** Ends a waiter, and tells the next ones that it may be their turn. */
  leave(waiter: Waiter): void {
    this.#size -= 1;
    waiter.leave();
    this.#unwatch(waiter);
    for (const { lock } of waiter.keys) {
      const queue = this.#queues.get(lock);
      if (queue === undefined) continue;
      if (queue instanceof Waiter) {
        if (queue === waiter) this.#queues.delete(lock);
        continue;
      }
      const wasFirst = first(queue) === waiter;
      queue.delete(waiter);
      if (queue.size === 0) this.#queues.delete(lock);
      else if (wasFirst) first(queue)?.notify();
    }
  }

  /** May this waiter ask for its locks? */
  isFirst(waiter: Waiter): boolean {
    for (const { lock } of waiter.keys) if (first(this.#queues.get(lock)) !== waiter) return false;
    return true;
  }

  /** Subscribes to the channel. A gap, such as the begin of the subscription, wakes everybody. */
  listen(): void {
    this.#unsubscribe ??= this.#channels.subscribe(
      lockChannel,
      (lock) => first(this.#queues.get(lock))?.notify(lock),
      () => {
        for (const queue of [...this.#queues.values()]) first(queue)?.notify();
      },
    );
  }

  #watch(signal: AbortSignal): Set<Waiter> {
    let waiters = this.#signals.get(signal);
    if (waiters === undefined) {
      waiters = new Set();
      this.#signals.set(signal, waiters);
      signal.addEventListener("abort", this.#onAbort);
    }
    return waiters;
  }

  #unwatch(waiter: Waiter): void {
    const { signal } = waiter;
    if (signal === undefined) return;
    const waiters = this.#signals.get(signal);
    waiters?.delete(waiter);
    if (waiters?.size !== 0) return;
    this.#signals.delete(signal);
    signal.removeEventListener("abort", this.#onAbort);
  }

  close(error: unknown): void {
    this.#unsubscribe?.();
    for (const queue of [...this.#queues.values()])
      for (const waiter of queue instanceof Waiter ? [queue] : [...queue]) waiter.fail(error);
  }
}

function first(queue: Waiter | ReadonlySet<Waiter> | undefined): Waiter | undefined {
  return queue instanceof Waiter ? queue : queue?.values().next().value;
}
