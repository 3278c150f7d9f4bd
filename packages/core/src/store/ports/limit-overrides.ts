/** What operators decide about quotas, and who asks most: kept for all processes, never read on the way of a request. */

/** A decision about a policy, or about one client of it, that takes the place of the options. */
export interface QuotaRule {
  /** Requests (or units of cost) per window. */
  readonly limit: number | undefined;
  readonly windowSeconds: number | undefined;
  /** Milliseconds for which it still held by the store's clock when it was read; undefined holds until it is removed. */
  readonly leftMs: number | undefined;
}

/** What a rule changes, without how long it holds. */
export type RuleTerms = Omit<QuotaRule, "leftMs">;

/** All rules by their name, and what tells this state of them from others. */
export interface QuotaRules {
  readonly version: string;
  readonly rules: ReadonlyMap<string, QuotaRule>;
}

/** How much was asked for one partition of a policy. */
export interface TopKeysPart {
  readonly partition: string;
  readonly points: number;
}

/** Rules kept at once: each process holds them all. */
export const maxOverrides = 1000;

/** Every method rejects with a StoreFault if the store cannot do it. */
export interface LimitOverrides {
  /** The rules in force. Resolves to undefined if nothing has changed since the version `known`. */
  readRules(known: string | undefined): Promise<QuotaRules | undefined>;
  /** Resolves to false if there are {@link maxOverrides} others in force. An undefined `lifeMs` holds until it is removed. */
  setRule(name: string, rule: RuleTerms, lifeMs: number | undefined): Promise<boolean>;
  removeRule(name: string): Promise<void>;
  /** Forgets counters. */
  forget(keys: readonly string[]): Promise<void>;
  /** Blocks a client, in the record that policies with a `block` write too. */
  block(blockKey: string, lifeMs: number): Promise<void>;
  unblock(blockKey: string): Promise<void>;
  /** Milliseconds until a block ends; 0 for a client who is not blocked. */
  readBlock(blockKey: string): Promise<number>;
  /** Adds what was asked for lately; what is oldest is forgotten after two minutes, and what is least when there is too much. */
  addDemand(keys: TopKeysKeys, demands: readonly TopKeysPart[]): Promise<void>;
  /** The most asked for in the last one to two minutes, the most first. */
  readDemand(keys: TopKeysKeys, most: number): Promise<readonly TopKeysPart[]>;
}

/** One for even minutes and one for odd ones. */
export type TopKeysKeys = readonly [even: string, odd: string];

/** Partitions whose demand is remembered for each policy. */
export const maxTopKeys = 500;

/**
 * The beginning of a rule as text: `<limit>:<window seconds>:<end>`, empty where undefined. The store writes the end after
 * it, in unix milliseconds by its own clock.
 */
export function writeRule({ limit, windowSeconds }: RuleTerms): string {
  return `${limit ?? ""}:${windowSeconds ?? ""}:`;
}

/** Undefined for what no release of ours wrote, and for a rule that had ended by `now`, the time of the store. */
export function readRule(text: string, now: number): QuotaRule | undefined {
  const match = /^(\d{1,13})?:(\d{1,7})?:(\d{1,15})?$/.exec(text);
  if (match === null) return undefined;
  const [limit, windowSeconds, end] = match.slice(1).map((digits) => (digits ? Number(digits) : undefined));
  const leftMs = end === undefined ? undefined : end - now;
  return leftMs !== undefined && leftMs <= 0 ? undefined : { limit, windowSeconds, leftMs };
}
