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
    const range = `must be a duration of 1 to ${limitMs} ms (${inUnits(limitMs)})`;
    throw rangeError(option, `${range}: a number of milliseconds, or a string such as ${adviceFor(value)}`);
  }
  return ms;
}

/** Names of units as people and other libraries write them. */
const unitNames: readonly (readonly [names: RegExp, unit: keyof typeof unitMs, factor: number])[] = [
  [/^(?:ms|msecs?|millis|milliseconds?)$/, "ms", 1],
  [/^(?:s|secs?|seconds?)$/, "s", 1],
  [/^(?:m|mins?|minutes?)$/, "m", 1],
  [/^(?:h|hrs?|hours?)$/, "h", 1],
  [/^(?:d|days?)$/, "d", 1],
  [/^(?:w|weeks?)$/, "d", 7],
];

/** Examples for a text that is no duration: itself, as it is written here, if it is clear. */
function adviceFor(value: unknown): string {
  const examples = '"30s", "5m", "2h"';
  const match = typeof value === "string" ? /^\s*(\d{1,9})\s*([a-z]*)\s*$/i.exec(value) : null;
  if (match === null) return examples;
  const [, digits = "", name = ""] = match;
  if (name === "") return `${examples}; ${digits} needs a unit: "${digits}s" or "${digits}ms"`;
  const known = unitNames.find(([names]) => names.test(name.toLowerCase()));
  if (known === undefined) return examples;
  const [, unit, factor] = known;
  const text = `${Number(digits) * factor}${unit}`;
  return text === value ? examples : `${examples}; write "${text}"`;
}

/** A duration in the largest unit in which it is a whole number. */
function inUnits(ms: number): string {
  const unit = (["d", "h", "m", "s"] as const).find((one) => ms % unitMs[one] === 0) ?? "ms";
  return `${ms / unitMs[unit]}${unit}`;
}

/** The whole seconds of a duration option, such as the window of a rate limit. */
export function durationSeconds(option: string, value: unknown, limitSeconds: number): number {
  const ms = durationMs(option, value, limitSeconds * 1000);
  if (ms % 1000 !== 0)
    throw rangeError(option, `must be whole seconds, such as "30s", not ${ms} ms${secondsMeant(value)}`);
  return ms / 1000;
}

/** Other libraries count these durations in seconds. */
function secondsMeant(value: unknown): string {
  return typeof value === "number" ? ` (a number is milliseconds: write "${value}s" for seconds)` : "";
}

function parse(option: string, value: unknown): number {
  if (typeof value === "number") return value;
  if (typeof value !== "string") {
    throw optionError(option, 'must be a duration: a number of milliseconds, or a string such as "30s", "5m", "2h"');
  }
  const match = /^(\d{1,15})(ms|s|m|h|d)$/.exec(value);
  return match === null ? Number.NaN : Number(match[1]) * unitMs[match[2] as keyof typeof unitMs];
}
