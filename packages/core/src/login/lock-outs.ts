import { GrowingLru } from "../lib/growing-lru.js";
import { steadyNow } from "../lib/steady-clock.js";

/** Maximum number of lock-outs that are remembered. One that is forgotten is told again. */
const maxLockOuts = 5000;
/** Every refusal of a lock-out says the same end, except for the time of the answers. */
const toleranceMs = 2000;

/** Tells the first refusal of a lock-out from the refusals that follow it: an attacker must not fill an audit trail. */
export class LockOuts {
  readonly #until = new GrowingLru<string, number>({ max: maxLockOuts });
  readonly #now: () => number;

  /** @param now milliseconds of a monotonic clock */
  constructor(now: () => number = steadyNow) {
    this.#now = now;
  }

  /** An attempt was admitted by these counters, so that none of them locks any more: the next refusal begins a lock-out. */
  end(keys: readonly string[]): void {
    if (this.#until.size === 0) return;
    for (const key of keys) this.#until.delete(key);
  }

  /** Does a lock-out by this counter begin with this refusal, as far as this process knows? */
  begins(key: string, retryMs: number): boolean {
    const now = this.#now();
    const until = this.#until.get(key) ?? Number.NEGATIVE_INFINITY;
    // A later end is that of another lock-out: an operator, or a success, has ended the one before.
    const isKnown = until > now && now + retryMs < until + toleranceMs;
    if (!isKnown) this.#until.set(key, now + retryMs);
    return !isKnown;
  }
}
