import type { CacheNews } from "../store/ports/cache.js";
import { cacheChannel, readNews } from "../store/ports/cache.js";
import type { Channels } from "../store/ports/channels.js";

/** What ended a wait: news of the key, a gap in the news, or that it is time to look again. */
export type WaitEnd = CacheNews | "gap" | "time";

export interface Waiter {
  /** Waits for at most so long, and not longer than a moment. Also resolves if the news came before this was called. */
  wait(ms: number, signal: AbortSignal): Promise<WaitEnd>;
  cancel(): void;
}

export interface WaitingOptions {
  readonly channels: Channels;
  /** Told of every key that was deleted by any process. */
  readonly onDeleted: (key: string) => void;
  /** News may be missing. */
  readonly onGap: () => void;
}

/** News gets lost, and whoever makes the value may too: whoever waits looks again this often. */
const pollIntervalMs = 250;

/** Those in this process who wait for other processes to make a value. */
export class LeaseWaiters {
  readonly #options: WaitingOptions;
  readonly #waiters = new Map<string, Set<(end: WaitEnd) => void>>();
  #unsubscribe: (() => void) | undefined;

  constructor(options: WaitingOptions) {
    this.#options = options;
  }

  /** Listens; called when news first matters. */
  subscribe(): void {
    this.#unsubscribe ??= this.#options.channels.subscribe(
      cacheChannel,
      (message) => this.#onMessage(message),
      () => {
        this.#options.onGap();
        for (const key of [...this.#waiters.keys()]) this.#wake(key, "gap");
      },
    );
  }

  /** Call this before asking who makes the value, so that no news is missed. */
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
          // Not all at once, when a lease runs out.
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
    const event = readNews(message);
    if (event === undefined) return;
    if (event.news === "deleted") this.#options.onDeleted(event.key);
    this.#wake(event.key, event.news);
  }

  #wake(key: string, end: WaitEnd): void {
    for (const notify of [...(this.#waiters.get(key) ?? [])]) notify(end);
  }
}
