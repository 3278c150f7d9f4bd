import { durationMs } from "../lib/duration.js";
import type { Duration } from "../lib/duration.js";
import { checkBoolean, checkObject, isList, kindOf, optionError, rangeError } from "../lib/validate.js";

/** Options of a lock. */
export interface LockOptions {
  /**
   * How long the lock is held without an extension: 100 ms to 1 day. If this process dies or stands still, the lock is
   * free after this time. @default "10s"
   */
  readonly lease?: Duration | undefined;
  /** Extend the lease at each third of it, until the lock is given back. @default true */
  readonly autoExtend?: boolean | undefined;
  /** The lease is not extended automatically beyond this time after the lock was taken; at most 7 days. @default "1h" */
  readonly maxHold?: Duration | undefined;
}

/** Options of a lock that is waited for. */
export interface AcquireOptions extends LockOptions {
  /** How long to wait until the lock is free: 1 ms to 1 day. `tryAcquire()` does not wait. @default "10s" */
  readonly wait?: Duration | undefined;
  /** Ends the waiting. The call rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Checked options. */
export interface ResolvedLock {
  readonly names: readonly string[];
  readonly leaseMs: number;
  readonly maxHoldMs: number;
  readonly autoExtend: boolean;
}

/** A demand for locks, by a caller or by a leader. */
export interface LockDemand extends ResolvedLock {
  readonly family: "lock" | "leader";
  /** Infinity waits without end. */
  readonly waitMs: number;
  readonly signal: AbortSignal | undefined;
}

/** Maximum number of names of one lock. */
export const maxNames = 16;
/** Maximum length of a name, in UTF-16 units. */
const maxNameLength = 16_384;
const minLeaseMs = 100;
const dayMs = 86_400_000;
const defaultMs = { lease: 10_000, wait: 10_000, maxHold: 3_600_000 };

/** A lease must be longer than some round trips. */
export function leaseOf(option: string, value: Duration): number {
  const ms = durationMs(option, value, dayMs);
  if (ms < minLeaseMs) throw rangeError(option, `must be at least ${minLeaseMs} ms, such as "10s"; it is extended`);
  return ms;
}

export function nameOf(call: string, name: unknown): string {
  if (typeof name !== "string" || name === "")
    throw optionError(call, `needs a non-empty string as a name, not ${name === "" ? "an empty one" : kindOf(name)}`);
  if (name.length > maxNameLength) throw rangeError(call, `takes names of at most ${maxNameLength} characters`);
  return name;
}

/** The different names, sorted. */
function namesOf(call: string, names: string | readonly string[]): readonly string[] {
  if (!isList(names)) return [nameOf(call, names)];
  // Array.from() does not pass over the holes of a list.
  const distinct = new Set(Array.from(names, (name: unknown) => nameOf(call, name)));
  if (distinct.size === 0) throw optionError(call, "needs at least one name");
  if (distinct.size > maxNames) throw rangeError(call, `takes at most ${maxNames} names`);
  return [...distinct].sort();
}

const lockOptions = ["lease", "autoExtend", "maxHold"] as const;
const acquireOptions = [...lockOptions, "wait", "signal"] as const;

/** A demand that does not wait. */
export function resolveLock(call: string, names: string | readonly string[], options: LockOptions): LockDemand {
  checkObject(call, options, lockOptions);
  return resolve(call, names, options, 0, undefined);
}

export function resolveAcquire(call: string, names: string | readonly string[], options: AcquireOptions): LockDemand {
  checkObject(call, options, acquireOptions);
  const { wait, signal } = options;
  if (signal !== undefined && !((signal as unknown) instanceof AbortSignal))
    throw optionError(`${call}.signal`, "must be the signal of an AbortController");
  const waitMs = wait === undefined ? defaultMs.wait : durationMs(`${call}.wait`, wait, dayMs);
  return resolve(call, names, options, waitMs, signal);
}

function resolve(
  call: string,
  names: string | readonly string[],
  options: LockOptions,
  waitMs: number,
  signal: AbortSignal | undefined,
): LockDemand {
  const { lease, autoExtend = true, maxHold } = options;
  checkBoolean(`${call}.autoExtend`, autoExtend);
  return {
    family: "lock",
    names: namesOf(call, names),
    leaseMs: lease === undefined ? defaultMs.lease : leaseOf(`${call}.lease`, lease),
    maxHoldMs: maxHold === undefined ? defaultMs.maxHold : durationMs(`${call}.maxHold`, maxHold, 7 * dayMs),
    autoExtend,
    waitMs,
    signal,
  };
}
