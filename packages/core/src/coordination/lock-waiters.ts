import type { Channels } from "../store/ports/channels.js";
import { lockChannel } from "../store/ports/locks.js";
import { LockError } from "./lock-error.js";

/** A process may have so many callers that wait for locks. */
const maxWaiters = 10_000;

/** A caller that waits for locks. It ends once: by its time, its signal, or the end of the gate. */
export class Waiter {
  readonly locks: readonly string[];
  readonly signal: AbortSignal | undefined;
  #news = false;
  #failure: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;

  constructor(locks: readonly string[], signal: AbortSignal | undefined) {
    this.locks = locks;
    this.signal = signal;
  }

  /** A lock may be free. */
  notify(): void {
    this.#news = true;
    this.#wake?.();
  }

  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#wake?.();
  }

  /** Forgets earlier news. Call it before asking for the locks. */
  forgetNews(): void {
    this.#news = false;
  }

  /** Waits for news since {@link forgetNews}, for `ms` at most. Rejects if the waiting has ended. */
  async pause(ms?: number): Promise<void> {
    if (!this.#news && this.#failure === undefined) {
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
  async orEnd<T>(promise: Promise<T>): Promise<T> {
    const ended = new Promise<undefined>((resolve) => {
      this.#wake = () => {
        if (this.#failure !== undefined) resolve(undefined);
      };
      this.#wake();
    });
    try {
      await Promise.race([promise, ended]);
    } finally {
      this.#wake = undefined;
    }
    if (this.#failure !== undefined) throw this.#failure.error;
    return promise;
  }
}

/**
 * The callers of this process that wait for locks, in the order in which they came. Only the first one for a lock asks
 * the store. The channel is subscribed to when a lock is first found held.
 */
export class LockWaiters {
  readonly #channels: Channels;
  /** Waiters for each lock, the first one first. */
  readonly #queues = new Map<string, Set<Waiter>>();
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

  enter(locks: readonly string[], signal?: AbortSignal): Waiter {
    if (this.#size >= maxWaiters) throw new LockError("lock_overloaded");
    this.#size += 1;
    const waiter = new Waiter(locks, signal);
    if (signal !== undefined) this.#watch(signal).add(waiter);
    for (const lock of locks) {
      const queue = this.#queues.get(lock);
      if (queue === undefined) this.#queues.set(lock, new Set([waiter]));
      else queue.add(waiter);
    }
    return waiter;
  }

  /** Ends a waiter, and tells the next ones that it may be their turn. */
  leave(waiter: Waiter): void {
    this.#size -= 1;
    this.#unwatch(waiter);
    for (const lock of waiter.locks) {
      const queue = this.#queues.get(lock);
      if (queue === undefined) continue;
      const wasFirst = first(queue) === waiter;
      queue.delete(waiter);
      if (queue.size === 0) this.#queues.delete(lock);
      else if (wasFirst) first(queue)?.notify();
    }
  }

  /** May this waiter ask for its locks? */
  isFirst(waiter: Waiter): boolean {
    return waiter.locks.every((lock) => first(this.#queues.get(lock)) === waiter);
  }

  /** Subscribes to the channel. A gap, such as the begin of the subscription, wakes everybody. */
  listen(): void {
    this.#unsubscribe ??= this.#channels.subscribe(
      lockChannel,
      (lock) => first(this.#queues.get(lock))?.notify(),
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
    for (const queue of [...this.#queues.values()]) for (const waiter of [...queue]) waiter.fail(error);
  }
}

function first(queue: ReadonlySet<Waiter> | undefined): Waiter | undefined {
  return queue?.values().next().value;
}
