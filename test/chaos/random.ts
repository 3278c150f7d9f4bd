import { createHash } from "node:crypto";

/** Choices that come from a seed. */
export interface Dice {
  /** A number from 0 to below 1. */
  next(): number;
  /** A whole number of this range, both ends included. */
  between(least: number, most: number): number;
  /** True with this probability. */
  chance(probability: number): boolean;
  pick<T>(list: readonly T[]): T;
}

/** Dice for one purpose, such as "client 3, step 17": the same for the same seed, however the steps before have ended. */
export function dice(seed: number, purpose: string): Dice {
  let state = createHash("sha256").update(`${seed} ${purpose}`).digest().readUInt32LE(0);

  // mulberry32
  function next(): number {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  function between(least: number, most: number): number {
    return least + Math.floor(next() * (most - least + 1));
  }

  return {
    next,
    between,
    chance: (probability) => next() < probability,
    pick(list) {
      const picked = list[between(0, list.length - 1)];
      if (picked === undefined) throw new RangeError("nothing to pick from");
      return picked;
    },
  };
}
