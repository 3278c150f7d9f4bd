import { clearTimeout, monotonicNow, setTimeout } from "./real-timers.js";

/** The attempts of a batch share one script call. */
const batchSize = 64;
const minDelayMs = 100;
const maxDelayMs = 1000;

interface Retry {
  readonly attempt: () => Promise<unknown>;
  /** The entry is dropped after this time. */
  readonly expiresAt: number;
}

/**
 * Repeats attempts until they succeed, a batch at a time, with pauses of up to a second. It is bounded: a new entry replaces
 * the oldest one.
 */
export class RetryQueue {
  readonly #maxSize: number;
  /** In the order of the last attempt, oldest first. */
  readonly #waiting = new Map<string, Retry>();
  #timer: NodeJS.Timeout | undefined;
  #delayMs = minDelayMs;
  #closed = false;

  constructor(maxSize: number = 10_000) {
    this.#maxSize = maxSize;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Repeats an attempt while it rejects, for `forMs` at most. It replaces the entry of the same name. */
  add(name: string, attempt: () => Promise<unknown>, forMs: number = Number.POSITIVE_INFINITY): void {
    this.#waiting.delete(name);
    if (this.#waiting.size >= this.#maxSize)
      for (const oldest of [...this.#waiting.keys()].slice(0, 1)) this.delete(oldest);
    this.#waiting.set(name, { attempt, expiresAt: monotonicNow() + forMs });
    this.#schedule();
  }

  delete(name: string): void {
    this.#waiting.delete(name);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#waiting.clear();
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#closed) return;
    this.#timer = setTimeout(() => void this.#retryAll(), this.#delayMs * (0.75 + Math.random() / 2)).unref();
  }

  /** Goes on at once while an attempt of the last batch succeeded. */
  async #retryAll(): Promise<void> {
    let succeeded = false;
    while (await this.#retryBatch()) succeeded = true;
    this.#timer = undefined;
    this.#delayMs = succeeded ? minDelayMs : Math.min(2 * this.#delayMs, maxDelayMs);
    if (this.#waiting.size > 0) this.#schedule();
    else this.#delayMs = minDelayMs;
  }

  /** The entries whose last attempt is the oldest. True if any attempt succeeded. */
  async #retryBatch(): Promise<boolean> {
    const now = monotonicNow();
    const batch: [string, Retry][] = [];
    for (const [name, retry] of this.#waiting) {
      if (retry.expiresAt < now) this.#waiting.delete(name);
      else if (batch.push([name, retry]) === batchSize) break;
    }
    const outcomes = await Promise.allSettled(
      batch.map(async ([name, retry]) => {
        // To the end of the queue: attempts at a node that is down must not block the others.
        this.#waiting.delete(name);
        this.#waiting.set(name, retry);
        await retry.attempt();
        if (this.#waiting.get(name) === retry) this.#waiting.delete(name);
      }),
    );
    return outcomes.some(({ status }) => status === "fulfilled");
  }
}
