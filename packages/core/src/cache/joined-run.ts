import { CacheTimeout } from "./timeout.js";

export interface JoinOptions {
  /** Nobody waits longer. */
  readonly timeoutMs: number;
  /** Of the request that asks: when it ends, it does not need the value any more. */
  readonly requestSignal: AbortSignal | undefined;
  /** The caller's own: it then rejects at once. */
  readonly signal: AbortSignal | undefined;
}

/**
 * The making of one value in this process, for all who ask meanwhile. It goes on as long as one of them needs it; then its
 * signal is aborted, and it is over, whatever its factory does.
 */
export class SingleFlight<T> {
  readonly #controller = new AbortController();
  readonly #promise: Promise<T>;
  readonly #joined = new Set<() => void>();
  #isOver = false;
  /** Does nobody wait for it? Then it may give up where another process is at it. */
  isBackground = true;

  constructor(run: (flight: SingleFlight<T>) => Promise<T>, onEnd: () => void) {
    this.#promise = new Promise<T>((resolve, reject) => {
      this.signal.addEventListener("abort", () => reject(this.signal.reason as Error), { once: true });
      // A moment later, so that its first caller is counted.
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

  /** Needs the value, for a while; resolves to it, or rejects with what went wrong, or with a CacheTimeout. */
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
      const timer = setTimeout(onTime, Math.min(timeoutMs, 2 ** 31 - 1));
      timer.unref();
      this.#joined.add(leave);
      this.#promise.then(resolve, reject);
      if (signal?.aborted === true) return giveUp();
      signal?.addEventListener("abort", giveUp, { once: true });
      // Whoever asks after its client has gone does so on purpose.
      if (requestSignal?.aborted !== true) requestSignal?.addEventListener("abort", leave, { once: true });
    });
  }
}

/** As fetch and others reject when their signal is aborted; 499 is what logs call a client that went away. */
const notWanted: Error = Object.assign(new Error("nobody waits for this value any more"), {
  name: "AbortError",
  code: "ABORT_ERR",
  status: 499,
});
