/** Attempts at once: one script call. */
const batchSize = 64;
const minDelayMs = 100;
const maxDelayMs = 1000;

interface Retry {
  readonly attempt: () => Promise<unknown>;
  /** Given up then. */
  readonly expiresAt: number;
}

/**
 * Repeats what the store missed until it works, a part at a time, with pauses of up to a second. It is bounded: the oldest
 * makes room.
 */
export class RetryQueue {
  readonly #maxSize: number;
  /** The one that was attempted last at the end. */
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

  /** Repeats this, which rejects if it fails, for at most so long; it replaces what had the same name. */
  add(name: string, attempt: () => Promise<unknown>, forMs: number = Number.POSITIVE_INFINITY): void {
    this.#waiting.delete(name);
    if (this.#waiting.size >= this.#maxSize)
      for (const oldest of [...this.#waiting.keys()].slice(0, 1)) this.delete(oldest);
    this.#waiting.set(name, { attempt, expiresAt: performance.now() + forMs });
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

  /** While some of it works, the next at once. */
  async #retryAll(): Promise<void> {
    let succeeded = false;
    while (await this.#retryBatch()) succeeded = true;
    this.#timer = undefined;
    this.#delayMs = succeeded ? minDelayMs : Math.min(2 * this.#delayMs, maxDelayMs);
    if (this.#waiting.size > 0) this.#schedule();
    else this.#delayMs = minDelayMs;
  }

  /** Those that were not attempted for longest. Did any work? */
  async #retryBatch(): Promise<boolean> {
    const now = performance.now();
    const batch: [string, Retry][] = [];
    for (const [name, retry] of this.#waiting) {
      if (retry.expiresAt < now) this.#waiting.delete(name);
      else if (batch.push([name, retry]) === batchSize) break;
    }
    const outcomes = await Promise.allSettled(
      batch.map(async ([name, retry]) => {
        // What belongs to a node that is away must not keep the rest from its turn.
        this.#waiting.delete(name);
        this.#waiting.set(name, retry);
        await retry.attempt();
        if (this.#waiting.get(name) === retry) this.#waiting.delete(name);
      }),
    );
    return outcomes.some(({ status }) => status === "fulfilled");
  }
}
