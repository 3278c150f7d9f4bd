import type { StoreFault } from "../store/ports/fault.js";
import { clearTimeout, monotonicNow, setTimeout } from "../lib/real-timers.js";

/** Calls that are repeated because the store did not answer. */
export interface RepeatsOptions {
  /** Maximum number of calls in progress. @default 1000 */
  readonly capacity?: number | undefined;
  /** Maximum size of all of them, in bytes. @default 16 MiB */
  readonly maxBytes?: number | undefined;
}

const firstMs = 100;
const longestMs = 2000;

/** Repeats calls for a time. A call that finds no room is dropped. */
export class Repeats {
  readonly #capacity: number;
  readonly #maxBytes: number;
  readonly #timers = new Set<NodeJS.Timeout>();
  #running = 0;
  #bytes = 0;
  #isClosed = false;

  constructor({ capacity = 1000, maxBytes = 16 * 2 ** 20 }: RepeatsOptions = {}) {
    this.#capacity = capacity;
    this.#maxBytes = maxBytes;
  }

  /** Repeats a call until it is answered, or `lifeMs` have passed. */
  add(call: () => Promise<StoreFault | undefined>, lifeMs: number, bytes: number): void {
    if (this.#running >= this.#capacity || this.#bytes + bytes > this.#maxBytes) return;
    this.#running += 1;
    this.#bytes += bytes;
    const until = monotonicNow() + lifeMs;

    const end = (): void => {
      this.#running -= 1;
      this.#bytes -= bytes;
    };
    const schedule = (waitMs: number): void => {
      if (this.#isClosed || monotonicNow() + waitMs > until) return end();
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        void call().then((fault) => (fault?.outage === true ? schedule(Math.min(2 * waitMs, longestMs)) : end()));
      }, waitMs).unref();
      this.#timers.add(timer);
    };
    schedule(firstMs);
  }

  close(): void {
    this.#isClosed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }
}
