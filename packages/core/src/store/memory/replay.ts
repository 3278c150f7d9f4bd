import type { ReplayCheck } from "../ports/decisions.js";
import { StoreFault } from "../ports/fault.js";

/**
 * Maximum number of records. A proof lives for about a minute, so that this allows more than a thousand proofs a
 * second.
 */
const maxUses = 100_000;

/** The replay records of this process. */
export class ReplayTable {
  /** The ends of the records in milliseconds, in the order of the first uses. */
  readonly #until = new Map<string, number>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Is this a replay? Records the first use. A full table answers with a fault: it must not drop a live record. */
  repeats({ key, ttlMs }: ReplayCheck): boolean | StoreFault {
    const now = this.#now();
    const known = this.#until.get(key);
    if (known !== undefined && known > now) return true;
    this.#forgetExpired(now);
    if (this.#until.size >= maxUses) return new StoreFault("overloaded");
    this.#until.set(key, now + ttlMs);
    return false;
  }

  /** All records of a gate have the same duration, so that the oldest end first. */
  #forgetExpired(now: number): void {
    for (const [key, until] of this.#until) {
      if (until > now) return;
      this.#until.delete(key);
    }
  }
}
