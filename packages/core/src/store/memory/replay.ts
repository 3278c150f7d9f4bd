import type { ReplayCheck } from "../ports/decisions.js";
import { StoreFault } from "../ports/decisions.js";

/** Most uses remembered at once. Proofs live for a minute or so, so this is more than a thousand a second. */
const maxUses = 100_000;

/** What is good once, as far as this process has seen it used. */
export class ReplayTable {
  /** Milliseconds of the clock until which a use is remembered, in the order of the uses. */
  readonly #until = new Map<string, number>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Was it used before? Forgetting a live one to make room would let it be used again, so a full table says so instead. */
  repeats({ key, ttlMs }: ReplayCheck): boolean | StoreFault {
    const now = this.#now();
    const known = this.#until.get(key);
    if (known !== undefined && known > now) return true;
    this.#forgetExpired(now);
    if (this.#until.size >= maxUses) return new StoreFault("overloaded");
    this.#until.set(key, now + ttlMs);
    return false;
  }

  /** A gate remembers all its uses equally long, so the oldest expire first. */
  #forgetExpired(now: number): void {
    for (const [key, until] of this.#until) {
      if (until > now) return;
      this.#until.delete(key);
    }
  }
}
