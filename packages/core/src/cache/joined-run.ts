import { CacheTimeout } from "./timeout.js";

export interface JoinOptions {
  /** Nobody waits longer. */
  readonly hardMs: number;
  /** Of the request that asks: when it ends, it does not need the value any more. */
  readonly request: AbortSignal | undefined;
  /** The caller's own: it then rejects at once. */
  readonly signal: AbortSignal | undefined;
}

/**
 * The making of one value in this process, for all who ask meanwhile. It goes on as long as one of them needs it; then its
 * signal is aborted, and it is over, whatever its factory does.
 */
export class JoinedRun<T> {
  readonly #controller = new AbortController();
  readonly #promise: Promise<T>;
  readonly #joined = new Set<() => void>();
  #settled = false;
  /** Does nobody wait for it? Then it may give up where another process is at it. */
  background = true;

  constructor(make: (flight: JoinedRun<T>) => Promise<T>, onEnd: () => void) {
    this.#promise = new Promise<T>((resolve, reject) => {
      this.signal.addEventListener("abort", () => reject(this.signal.reason as Error), { once: true });
      // A moment later, so that its first caller is counted.
      Promise.resolve()
        .then(() => make(this))
        .then(resolve, reject);
    }).finally(() => {
      this.#settled = true;
      onEnd();
      for (const leave of [...this.#joined]) leave();
    });
    this.#promise.catch(() => undefined);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Needs the value, for a while; resolves to it, or rejects with what went wrong, or with a CacheTimeout. */
  join({ hardMs, request, signal }: JoinOptions): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const leave = (): void => {
        if (!this.#joined.delete(leave)) return;
        clearTimeout(timer);
        request?.removeEventListener("abort", leave);
        signal?.removeEventListener("abort", giveUp);
        if (this.#joined.size === 0 && !this.#settled) this.#controller.abort(unwanted);
      };
      const giveUp = (): void => {
        reject(signal?.reason as Error);
        leave();
      };
      const onTime = (): void => {
        reject(new CacheTimeout(hardMs));
        leave();
      };
      const timer = setTimeout(onTime, Math.min(hardMs, 2 ** 31 - 1));
      timer.unref();
      this.#joined.add(leave);
      this.#promise.then(resolve, reject);
      if (signal?.aborted === true) return giveUp();
      signal?.addEventListener("abort", giveUp, { once: true });
      // Whoever asks after its client has gone does so on purpose.
      if (request?.aborted !== true) request?.addEventListener("abort", leave, { once: true });
    });
  }
}

/** As fetch and others reject when their signal is aborted; 499 is what logs call a client that went away. */
const unwanted: Error = Object.assign(new Error("nobody waits for this value any more"), {
  name: "AbortError",
  code: "ABORT_ERR",
  status: 499,
});
