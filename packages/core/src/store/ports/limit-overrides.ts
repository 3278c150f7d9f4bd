/** Limit overrides of operators, and top keys. All processes share them; no request waits for them. */

/** An override: limit and window of a policy, or of one client of it, in place of the options. */
export interface LimitOverride {
  /** Requests (or units of cost) per window. */
  readonly limit: number | undefined;
  readonly windowSeconds: number | undefined;
  /** Remaining milliseconds by the store's clock, at the time of the read; undefined lasts until it is removed. */
  readonly leftMs: number | undefined;
}

/** The terms of an override, without its duration. */
export type OverrideTerms = Omit<LimitOverride, "leftMs">;

/** All overrides by name, with the version of this state. */
export interface LimitOverrideList {
  readonly version: string;
  readonly rules: ReadonlyMap<string, LimitOverride>;
}

/** The consumption of one partition of a policy. */
export interface TopKeysPart {
  readonly partition: string;
  readonly points: number;
}

/** The maximum number of overrides: each process holds all of them. */
export const maxOverrides = 1000;

/** The port for operators. Every method rejects with a StoreFault if the store cannot answer. */
export interface LimitOverrides {
  /** Resolves to the overrides in force, or to undefined if nothing has changed since the version `known`. */
  readOverrides(known: string | undefined): Promise<LimitOverrideList | undefined>;
  /**
   * Resolves to false if there are {@link maxOverrides} others. Without `lifeMs` the override lasts until it is
   * removed.
   */
  setOverride(name: string, rule: OverrideTerms, lifeMs: number | undefined): Promise<boolean>;
  removeOverride(name: string): Promise<void>;
  /** Deletes counters. */
  forget(keys: readonly string[]): Promise<void>;
  /** Blocks a client, in the record that a policy with a `block` writes too. */
  block(blockKey: string, lifeMs: number): Promise<void>;
  unblock(blockKey: string): Promise<void>;
  /** Resolves to the milliseconds until a block ends; 0 for a client that is not blocked. */
  readBlock(blockKey: string): Promise<number>;
  /**
   * Adds recent consumption. It is kept for one to two minutes, for at most {@link maxTopKeys} partitions of a policy.
   */
  addTopKeys(keys: TopKeysKeys, demands: readonly TopKeysPart[]): Promise<void>;
  /** Resolves to the partitions that have consumed most in the last one to two minutes, in descending order. */
  readTopKeys(keys: TopKeysKeys, most: number): Promise<readonly TopKeysPart[]>;
}

/** The keys of even and of odd minutes. */
export type TopKeysKeys = readonly [even: string, odd: string];

/** The maximum number of partitions that are kept for each policy. */
export const maxTopKeys = 500;

/**
 * Writes the beginning of an override as text: `<limit>:<window seconds>:`, each empty where undefined. The store
 * appends the end, in unix milliseconds by its own clock.
 */
export function writeOverride({ limit, windowSeconds }: OverrideTerms): string {
  return `${limit ?? ""}:${windowSeconds ?? ""}:`;
}

/**
 * Reads an override. Undefined for text that is none, and for an override that has ended by `now`, the time of the
 * store.
 */
export function readOverride(text: string, now: number): LimitOverride | undefined {
  const match = /^(\d{1,13})?:(\d{1,7})?:(\d{1,15})?$/.exec(text);
  if (match === null) return undefined;
  const [limit, windowSeconds, end] = match.slice(1).map((digits) => (digits ? Number(digits) : undefined));
  const leftMs = end === undefined ? undefined : end - now;
  return leftMs !== undefined && leftMs <= 0 ? undefined : { limit, windowSeconds, leftMs };
}
