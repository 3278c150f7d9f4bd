/** What operators decide about quotas, and who asks most: kept for all processes, never read on the way of a request. */

/** A decision about a policy, or about one client of it, that takes the place of the options. */
export interface QuotaRule {
  /** Requests (or units of cost) per window. */
  readonly limit: number | undefined;
  readonly windowSeconds: number | undefined;
  /** Unix milliseconds by the store's clock; undefined holds until it is removed. */
  readonly until: number | undefined;
}

/** All rules by their name, and what tells this state of them from others. */
export interface QuotaRules {
  readonly version: string;
  readonly rules: ReadonlyMap<string, QuotaRule>;
}

/** How much was asked for one partition of a policy. */
export interface Demand {
  readonly partition: string;
  readonly points: number;
}

/** Rules kept at once: each process holds them all. */
export const mostRules = 1000;

/** Every method rejects with a StoreFault if the store cannot do it. */
export interface QuotaRecords {
  /** Undefined if nothing has changed since this version. */
  readRules(known: string): Promise<QuotaRules | undefined>;
  /** Resolves to false if there are {@link mostRules} others in force. `lifeMs` takes the place of `until`. */
  setRule(name: string, rule: Omit<QuotaRule, "until">, lifeMs: number | undefined): Promise<boolean>;
  removeRule(name: string): Promise<void>;
  /** Forgets counters. */
  forget(keys: readonly string[]): Promise<void>;
  /** Blocks a client, in the record that policies with a `block` write too. */
  block(blockKey: string, lifeMs: number): Promise<void>;
  unblock(blockKey: string): Promise<void>;
  /** Milliseconds until a block ends; 0 for a client who is not blocked. */
  readBlock(blockKey: string): Promise<number>;
  /** Adds what was asked for lately; what is oldest is forgotten after two minutes, and what is least when there is too much. */
  addDemand(keys: DemandKeys, demands: readonly Demand[]): Promise<void>;
  /** The most asked for in the last one to two minutes, the most first. */
  readDemand(keys: DemandKeys, most: number): Promise<readonly Demand[]>;
}

/** One for even minutes and one for odd ones. */
export type DemandKeys = readonly [even: string, odd: string];

/** Partitions whose demand is remembered for each policy. */
export const mostDemands = 500;

/** A rule as text: `<limit>:<window seconds>:<until>`, empty where undefined. */
export function writeRule({ limit, windowSeconds }: Omit<QuotaRule, "until">, until: number | "" = ""): string {
  return `${limit ?? ""}:${windowSeconds ?? ""}:${until}`;
}

/** Undefined for what no release of ours wrote. */
export function readRule(text: string): QuotaRule | undefined {
  const match = /^(\d{1,13})?:(\d{1,7})?:(\d{1,15})?$/.exec(text);
  if (match === null) return undefined;
  const [limit, windowSeconds, until] = match.slice(1).map((digits) => (digits ? Number(digits) : undefined));
  return { limit, windowSeconds, until };
}
