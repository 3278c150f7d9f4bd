import type { CacheEvent, CacheStore } from "../store/ports/cache.js";
import { cacheChannel, readEvent, withdrawnMs } from "../store/ports/cache.js";
import type { Channels } from "../store/ports/channels.js";
import { RetryQueue } from "../lib/retry-queue.js";
import { clearTimeout, setTimeout } from "../lib/real-timers.js";

/** How long closing waits for the store. All steps of closing together have a second. */
const closeTimeoutMs = 250;

/** A lease that this process holds, while it makes a value. */
interface HeldLease {
  readonly key: string;
  readonly owner: string;
}

/** The leases of this process. Each one is ended: other processes would wait for it until it expires. */
export class Leases {
  readonly #store: CacheStore;
  readonly #held = new Set<HeldLease>();
  readonly #retries = new RetryQueue();
  #closing: Promise<void> | undefined;

  constructor(store: CacheStore) {
    this.#store = store;
  }

  /** Notes a lease, so that it ends with this process. Call the result when the lease has ended otherwise. */
  hold(lease: HeldLease): () => void {
    this.#held.add(lease);
    return () => void this.#held.delete(lease);
  }

  /**
   * Gives a lease back that this process does not use, or cannot use; a waiting process then takes over. Does nothing to
   * a lease of another owner. Where this overtakes the request for the lease, on a newer connection, the store does not give
   * the lease any more.
   */
  giveBack(key: string, owner: string): void {
    const attempt = (): Promise<unknown> => this.#store.withdraw(key, owner);
    attempt().catch(() => this.#retries.add(owner, attempt, withdrawnMs));
  }

  /** Ends all leases as failed: a waiting process takes over. The store must still be open. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#retries.close();
    if (this.#held.size === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, closeTimeoutMs)));
    const ends = Array.from(this.#held, async ({ key, owner }) =>
      this.#store.endLease(key, owner, { outcome: "failed" }),
    );
    await Promise.race([Promise.allSettled(ends), timeout]);
    clearTimeout(timer);
  }
}

/** Why a wait ended: an event of the key, a gap in the events, or the time to ask for the lease again. */
export type WaitEnd = CacheEvent | "gap" | "time";

export interface Waiter {
  /** Waits for `ms` at most, and for a quarter of a second at most. An event that came before the call ends it, too. */
  wait(ms: number, signal: AbortSignal): Promise<WaitEnd>;
  cancel(): void;
}

export interface CacheListener {
  /** Some process deleted this key. */
  readonly onDeleted: (key: string) => void;
  /** Events may have been lost. */
  readonly onGap: () => void;
}

/** Events may be lost, and the holder of the lease may die: a waiter asks for the lease again after this time. */
const pollIntervalMs = 250;

/** The callers in this process that wait while another process makes a value; they listen to the channel of the cache. */
export class LeaseWaiters {
  readonly #channels: Channels;
  #listener: CacheListener | undefined;
  readonly #waiters = new Map<string, Set<(end: WaitEnd) => void>>();
  #unsubscribe: (() => void) | undefined;

  constructor(channels: Channels) {
    this.#channels = channels;
  }

  /** Sets who is told of deletions and gaps. */
  listen(listener: CacheListener): void {
    this.#listener = listener;
  }

  /** Subscribes to the channel. Called when its events first matter. */
  subscribe(): void {
    this.#unsubscribe ??= this.#channels.subscribe(
      cacheChannel,
      (message) => this.#onMessage(message),
      () => {
        this.#listener?.onGap();
        for (const key of [...this.#waiters.keys()]) this.#wake(key, "gap");
      },
    );
  }

  /** Call this before asking for the lease, so that no event is missed. */
  register(key: string): Waiter {
    this.subscribe();
    let end: WaitEnd | undefined;
    let wake: ((end: WaitEnd) => void) | undefined;
    const notify = (reason: WaitEnd): void => {
      end ??= reason;
      wake?.(end);
    };
    const waiters = this.#waiters.get(key) ?? new Set();
    this.#waiters.set(key, waiters.add(notify));
    const cancel = (): void => {
      waiters.delete(notify);
      if (waiters.size === 0 && this.#waiters.get(key) === waiters) this.#waiters.delete(key);
    };
    return {
      cancel,
      wait: (ms, signal) =>
        new Promise<WaitEnd>((resolve) => {
          const onTime = (): void => notify("time");
          // The random part keeps waiters from asking all at once when a lease expires.
          const timer = setTimeout(onTime, Math.min(ms, pollIntervalMs) + Math.random() * 50);
          signal.addEventListener("abort", onTime, { once: true });
          wake = (reason) => {
            clearTimeout(timer);
            signal.removeEventListener("abort", onTime);
            cancel();
            resolve(reason);
          };
          if (end !== undefined) wake(end);
        }),
    };
  }

  close(): void {
    this.#unsubscribe?.();
  }

  #onMessage(message: string): void {
    const event = readEvent(message);
    if (event === undefined) return;
    if (event.news === "deleted") this.#listener?.onDeleted(event.key);
    this.#wake(event.key, event.news);
  }

  #wake(key: string, end: WaitEnd): void {
    for (const notify of [...(this.#waiters.get(key) ?? [])]) notify(end);
  }
}
