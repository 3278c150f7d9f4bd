import { maxTimerMs } from "../lib/duration.js";
import { OutageError } from "../lib/outage.js";
import { clearTimeout, setTimeout } from "../lib/real-timers.js";

/**
 * The factory did not make a value within `hardTimeout`; Express and Koa answer 503. The factory is slow, or hangs, or reads
 * a cached value whose factory waits for this one.
 */
export class CacheTimeout extends OutageError {
  override readonly name = "CacheTimeout";
  /** The stable name of the error. */
  readonly code = "cache_timeout";

  constructor(ms: number) {
    super(`a cached value was not made within ${ms} ms`);
  }
}

export interface JoinOptions {
  /** The caller waits for this time at most. */
  readonly timeoutMs: number;
  /** The signal of the HTTP request: when the request ends, it does not need the value any more. */
  readonly requestSignal: AbortSignal | undefined;
  /** The caller's own signal: the call rejects at once when it is aborted. */
  readonly signal: AbortSignal | undefined;
}

/**
 * One run of a function in this process, for all callers that join it meanwhile. When the last caller has left, its signal is
 * aborted and it is over, also if the function goes on.
 */
export class SingleFlight<T> {
  readonly #controller = new AbortController();
  readonly #promise: Promise<T>;
  readonly #joined = new Set<() => void>();
  #isOver = false;
  /** True while no caller waits for the value: the run may give up if another process makes the value. */
  isBackground = true;

  constructor(run: (flight: SingleFlight<T>) => Promise<T>, onEnd: () => void) {
    this.#promise = new Promise<T>((resolve, reject) => {
      this.signal.addEventListener("abort", () => reject(this.signal.reason as Error), { once: true });
      // After this turn, so that the first caller has joined.
      Promise.resolve()
        .then(() => run(this))
        .then(resolve, reject);
    }).finally(() => {
      this.#isOver = true;
      onEnd();
      for (const leave of [...this.#joined]) leave();
    });
    this.#promise.catch(() => undefined);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Resolves to the value. Rejects with the error of the run, or with a CacheTimeout. */
  join({ timeoutMs, requestSignal, signal }: JoinOptions): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const leave = (): void => {
        if (!this.#joined.delete(leave)) return;
        clearTimeout(timer);
        requestSignal?.removeEventListener("abort", leave);
        signal?.removeEventListener("abort", giveUp);
        if (this.#joined.size === 0 && !this.#isOver) this.#controller.abort(notWanted);
      };
      const giveUp = (): void => {
        reject(signal?.reason as Error);
        leave();
      };
      const onTime = (): void => {
        reject(new CacheTimeout(timeoutMs));
        leave();
      };
      const timer = setTimeout(onTime, Math.min(timeoutMs, maxTimerMs));
      timer.unref();
      this.#joined.add(leave);
      this.#promise.then(resolve, reject);
      if (signal?.aborted === true) return giveUp();
      signal?.addEventListener("abort", giveUp, { once: true });
      // A call after the end of its request is deliberate, and waits for the value.
      if (requestSignal?.aborted !== true) requestSignal?.addEventListener("abort", leave, { once: true });
    });
  }
}

/** The name and code that fetch uses for an aborted signal; 499 is the usual status in logs for a client that has gone. */
const notWanted: Error = Object.assign(new Error("no call waits for this value any more"), {
  name: "AbortError",
  code: "ABORT_ERR",
  status: 499,
});
