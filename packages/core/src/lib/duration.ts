import { optionError, rangeError } from "./validate.js";

const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/**
 * A duration: a number of milliseconds, or a string such as `"30s"`, `"5m"`, `"2h"`
 * (units `ms`, `s`, `m`, `h`, `d`).
 */
export type Duration = number | `${number}${keyof typeof unitMs}`;

const maxMs = 100 * 366 * unitMs.d;

/** The longest time that a timer of Node accepts. A longer one would end at once. */
export const maxTimerMs: number = 2 ** 31 - 1;

/** The milliseconds of a duration option. Zero, fractions of a millisecond and unreadable text are a RangeError. */
export function durationMs(option: string, value: unknown, limitMs: number = maxMs): number {
  const ms = parse(option, value);
  if (!Number.isSafeInteger(ms) || ms < 1 || ms > limitMs) {
    throw rangeError(
      option,
      `must be a duration of 1 to ${limitMs} ms: a number of milliseconds, or a string such as "30s", "5m", "2h"`,
    );
  }
  return ms;
}

/** The whole seconds of a duration option, such as the window of a rate limit. */
export function durationSeconds(option: string, value: unknown, limitSeconds: number): number {
  const ms = durationMs(option, value, limitSeconds * 1000);
  if (ms % 1000 !== 0) throw rangeError(option, `must be whole seconds, such as "30s", not ${ms} ms`);
  return ms / 1000;
}

function parse(option: string, value: unknown): number {
  if (typeof value === "number") return value;
  if (typeof value !== "string") {
    throw optionError(option, 'must be a duration: a number of milliseconds, or a string such as "30s", "5m", "2h"');
  }
  const match = /^(\d{1,15})(ms|s|m|h|d)$/.exec(value);
  return match === null ? Number.NaN : Number(match[1]) * unitMs[match[2] as keyof typeof unitMs];
}
