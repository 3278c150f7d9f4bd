import { clearTimeout, setTimeout } from "../lib/real-timers.js";

/** Releases a permit. Further calls do nothing. */
export type Release = () => void;

export interface SemaphoreOptions {
  /** Number of permits. */
  readonly parallel: number;
  /** Longest wait for a permit. */
  readonly waitTimeoutMs: number;
  /** Most callers that wait at a time. */
  readonly maxWaiting: number;
  /** A permit is released after this time, even if the work goes on. */
  readonly maxHoldMs: number;
}

interface Waiting {
  readonly finish: (release: Release | undefined) => void;
}

/**
 * Bounds the sign-ins in progress. Permits are given in the order of the calls. Password hashes are slow by design: a few
 * hundred at a time would block the processor for seconds.
 */
export class Semaphore {
  readonly #options: SemaphoreOptions;
  readonly #waiting = new Set<Waiting>();
  #held = 0;

  constructor(options: SemaphoreOptions) {
    this.#options = options;
  }

  /** Resolves to the release of a permit. Undefined if there was none in time, or if the caller went away. */
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
