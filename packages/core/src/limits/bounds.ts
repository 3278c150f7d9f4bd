import { rangeError } from "../lib/validate.js";

/** Redis and JavaScript count exactly up to here. */
export const maxCount = 1_000_000_000_000;
export const longestWindowSeconds: number = 24 * 86_400;

/** A token bucket counts in units of one request divided by the window's milliseconds: all of it below 2^52. */
const maxUnits = 2 ** 52;

export function checkCount(policy: string, what: "limit" | "burst" | "cost" | "settle", value: unknown): number {
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= maxCount) return value as number;
  throw new RangeError(
    `portcullis: the ${what} function of limit "${policy}" must return a whole number from 0 to ${maxCount}`,
  );
}

/** A bucket that is too large for its window would not be counted exactly. */
export function checkBucket(policy: string, burst: number, windowSeconds: number): void {
  const most = Math.floor(maxUnits / (windowSeconds * 1000));
  if (burst > most) {
    throw rangeError(`the burst of limit "${policy}"`, `must be at most ${most} for its window, or its window shorter`);
  }
}
