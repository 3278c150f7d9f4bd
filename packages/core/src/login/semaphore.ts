/** Gives a turn back; further calls do nothing. */
export type Release = () => void;

export interface SemaphoreOptions {
  /** How many may have a turn at once. */
  readonly parallel: number;
  /** How long one may wait for a turn. */
  readonly waitTimeoutMs: number;
  /** How many may wait. */
  readonly maxWaiting: number;
  /** A turn ends after this time, whatever became of the work. */
  readonly maxHoldMs: number;
}

interface Waiting {
  readonly finish: (release: Release | undefined) => void;
}

/**
 * Bounds how much work of a kind goes on at once, in the order of asking. Password hashes are made to be slow: a few hundred
 * at once would take the processor from everybody for seconds.
 */
export class Semaphore {
  readonly #options: SemaphoreOptions;
  readonly #waiting = new Set<Waiting>();
  #held = 0;

  constructor(options: SemaphoreOptions) {
    this.#options = options;
  }

  /** How to give the turn back; undefined if there was none in time, or the caller went away. */
  acquire(signal?: AbortSignal): Promise<Release | undefined> {
    const { parallel, maxWaiting, waitTimeoutMs } = this.#options;
    if (this.#held < parallel) return Promise.resolve(this.#start());
    if (this.#waiting.size >= maxWaiting || signal?.aborted === true) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const giveUp = (): void => entry.finish(undefined);
      const timer = setTimeout(giveUp, waitTimeoutMs);
      const entry: Waiting = {
        finish: (release) => {
          clearTimeout(timer);
          signal?.removeEventListener("abort", giveUp);
          this.#waiting.delete(entry);
          resolve(release);
        },
      };
      signal?.addEventListener("abort", giveUp);
      this.#waiting.add(entry);
    });
  }

  #start(): Release {
    this.#held += 1;
    let released = false;
    const release = (): void => {
      if (released) return;
      released = true;
      clearTimeout(timer);
      this.#held -= 1;
      const [next] = this.#waiting;
      next?.finish(this.#start());
    };
    const timer = setTimeout(release, this.#options.maxHoldMs).unref();
    return release;
  }
}
