import { LRUCache } from "lru-cache";
import { steadyNow } from "../lib/steady-clock.js";

/** Maximum number of lock-outs that are remembered. One that is forgotten is told again. */
const maxLockOuts = 5000;

/** Tells the first refusal of a lock-out from the refusals that follow it: an attacker must not fill an audit trail. */
export class LockOuts {
  readonly #until = new LRUCache<string, number>({ max: maxLockOuts });
  readonly #now: () => number;

  /** @param now milliseconds of a monotonic clock */
  constructor(now: () => number = steadyNow) {
    this.#now = now;
  }

  /** Does a lock-out by this counter begin with this refusal, as far as this process knows? */
  begins(key: string, retryMs: number): boolean {
    const now = this.#now();
    const isKnown = (this.#until.get(key) ?? Number.NEGATIVE_INFINITY) > now;
    if (!isKnown) this.#until.set(key, now + retryMs);
    return !isKnown;
  }
}
