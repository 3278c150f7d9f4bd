/** Gives a turn back; further calls do nothing. */
export type Release = () => void;

export interface SemaphoreOptions {
  /** How many may have a turn at once. */
  readonly parallel: number;
  /** How long one may wait for a turn. */
  readonly patienceMs: number;
  /** How many may wait. */
  readonly mostWaiting: number;
  /** A turn ends after this time, whatever became of the work. */
  readonly longestMs: number;
}

interface Waiting {
  readonly settle: (release: Release | undefined) => void;
}

/**
 * Bounds how much work of a kind goes on at once, in the order of asking. Password hashes are made to be slow: a few hundred
 * at once would take the processor from everybody for seconds.
 */
export class Semaphore {
  readonly #options: SemaphoreOptions;
  readonly #waiting = new Set<Waiting>();
  #taken = 0;

  constructor(options: SemaphoreOptions) {
    this.#options = options;
  }

  /** How to give the turn back; undefined if there was none in time, or the caller went away. */
  take(signal?: AbortSignal): Promise<Release | undefined> {
    const { parallel, mostWaiting, patienceMs } = this.#options;
    if (this.#taken < parallel) return Promise.resolve(this.#start());
    if (this.#waiting.size >= mostWaiting || signal?.aborted === true) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const giveUp = (): void => entry.settle(undefined);
      const timer = setTimeout(giveUp, patienceMs);
      const entry: Waiting = {
        settle: (release) => {
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
    this.#taken += 1;
    let over = false;
    const release = (): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      this.#taken -= 1;
      const [next] = this.#waiting;
      next?.settle(this.#start());
    };
    const timer = setTimeout(release, this.#options.longestMs).unref();
    return release;
  }
}
