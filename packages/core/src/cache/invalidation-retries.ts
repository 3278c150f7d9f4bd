/** Attempts at once: one script call. */
const atOnce = 64;
const firstPauseMs = 100;
const longestPauseMs = 1000;

interface Retry {
  readonly attempt: () => Promise<unknown>;
  /** Given up then. */
  readonly until: number;
}

/**
 * Repeats what the store missed until it works, a part at a time, with pauses of up to a second. It is bounded: the oldest
 * makes room.
 */
export class InvalidationRetries {
  readonly #most: number;
  /** The one that was attempted last at the end. */
  readonly #waiting = new Map<string, Retry>();
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = firstPauseMs;
  #closed = false;

  constructor(most: number = 10_000) {
    this.#most = most;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Repeats this, which rejects if it fails, for at most so long; it replaces what had the same name. */
  add(name: string, attempt: () => Promise<unknown>, forMs: number = Number.POSITIVE_INFINITY): void {
    this.#waiting.delete(name);
    if (this.#waiting.size >= this.#most)
      for (const oldest of [...this.#waiting.keys()].slice(0, 1)) this.delete(oldest);
    this.#waiting.set(name, { attempt, until: performance.now() + forMs });
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
    this.#timer = setTimeout(() => void this.#repeat(), this.#pauseMs * (0.75 + Math.random() / 2)).unref();
  }

  /** While some of it works, the next at once. */
  async #repeat(): Promise<void> {
    let worked = false;
    while (await this.#repeatSome()) worked = true;
    this.#timer = undefined;
    this.#pauseMs = worked ? firstPauseMs : Math.min(2 * this.#pauseMs, longestPauseMs);
    if (this.#waiting.size > 0) this.#schedule();
    else this.#pauseMs = firstPauseMs;
  }

  /** Those that were not attempted for longest. Did any work? */
  async #repeatSome(): Promise<boolean> {
    const now = performance.now();
    const batch: [string, Retry][] = [];
    for (const [name, retry] of this.#waiting) {
      if (retry.until < now) this.#waiting.delete(name);
      else if (batch.push([name, retry]) === atOnce) break;
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
