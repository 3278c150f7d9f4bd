import type { Duration } from "../lib/duration.js";
import { durationMs, durationSeconds } from "../lib/duration.js";
import { checkInteger, checkObject, optionError } from "../lib/validate.js";
import type { Keyspace } from "../store/keyspace.js";
import type { DecisionStore } from "../store/ports/decisions.js";
import { StoreFault } from "../store/ports/decisions.js";
import type { LimitOverrides } from "../store/ports/limit-overrides.js";
import { maxOverrides } from "../store/ports/limit-overrides.js";
import { checkBucket, longestWindowSeconds, maxCount } from "./policy.js";
import type { QuotaKey } from "./partition.js";
import { partitionOf } from "./partition.js";
import type { Policy } from "./policy.js";
import { ruleNames, OverrideCache } from "./overrides.js";
import type { Logger } from "../telemetry/logger.js";
import { ConsumptionFactory } from "./consumption.js";
import { TopKeysReporter } from "./top-keys.js";

/** The state of one client under one policy. */
export interface QuotaState {
  readonly policy: string;
  /** Requests (or units of cost) per window; undefined where a function decides it at each request. */
  readonly limit: number | undefined;
  /** Undefined where a function decides it. */
  readonly windowSeconds: number | undefined;
  /** Points that processes have leased and not given out yet included. */
  readonly consumed: number;
  readonly remaining: number | undefined;
  /** Seconds until more is available; while blocked, until that ends. */
  readonly resetSeconds: number;
  readonly blocked: boolean;
}

/** One of the clients that ask most. */
export interface BusyKey {
  /** Its address or principal, if this process has lately served it among those that ask most. */
  readonly key: string | undefined;
  /** What names it in the store: a digest for addresses, header values and odd identifiers. Accepted as a key by every method. */
  readonly partition: string;
  /** What it asked for in the last one to two minutes, admitted or not. */
  readonly points: number;
}

/** What takes the place of a policy's options. */
export interface QuotaOverride {
  /** Requests (or units of cost) per window; 0 refuses all. @default as the policy says */
  readonly limit?: number | undefined;
  /** Whole seconds. A fixed window that is under way ends as it began. @default as the policy says */
  readonly window?: Duration | undefined;
  /** How long it holds. @default until it is cleared */
  readonly for?: Duration | undefined;
}

/**
 * Quotas at run time, outside requests. Everything is in the store, for all processes; each method rejects with a
 * {@link StoreFault} (503) if the store cannot do it, and with a TypeError or RangeError for arguments that are wrong.
 * Blocks and overrides hold in this process at once, in others within a second, and while Redis is down as last known.
 */
export interface Quotas {
  /** How a client stands, without counting anything. */
  peek(policy: string, key: QuotaKey): Promise<QuotaState>;
  /** The clients that asked most in the last one to two minutes, the most first; an estimate. `limit` is 1 to 100. @default 10 */
  busiest(options: { readonly policy: string; readonly limit?: number | undefined }): Promise<readonly BusyKey[]>;
  /** Gives a client its whole quota back. Blocks stay. */
  reset(policy: string, key: QuotaKey): Promise<void>;
  /** Refuses a client under this policy for a while, whatever it has left. */
  block(policy: string, key: QuotaKey, options: { readonly for: Duration }): Promise<void>;
  /** Ends a block, whether it was made by hand or by the policy's own rule. */
  unblock(policy: string, key: QuotaKey): Promise<void>;
  /** Changes limit or window of one client, or of all that have no override of their own. */
  setOverride(policy: string, override: QuotaOverride): Promise<void>;
  setOverride(policy: string, key: QuotaKey | undefined, override: QuotaOverride): Promise<void>;
  clearOverride(policy: string, key?: QuotaKey): Promise<void>;
}

export interface QuotaServiceOptions<Raw> {
  readonly store: DecisionStore;
  readonly records: LimitOverrides;
  readonly keys: Keyspace;
  readonly charges: ConsumptionFactory<Raw>;
  readonly rules: OverrideCache;
  readonly demand: TopKeysReporter;
  readonly ipv6PrefixLength: number;
  readonly verifies: boolean;
}

const longestBlockMs = longestWindowSeconds * 1000;

export class QuotaService<Raw> implements Quotas {
  readonly #options: QuotaServiceOptions<Raw>;
  readonly #policies = new Map<string, Policy<Raw>>();

  constructor(options: QuotaServiceOptions<Raw>) {
    this.#options = options;
  }

  /** Makes policies known by their names. */
  register(policies: readonly Policy<Raw>[]): void {
    for (const policy of policies) this.#policies.set(policy.name, policy);
    if (policies.length > 0) this.#options.rules.start();
  }

  async peek(name: string, key: QuotaKey): Promise<QuotaState> {
    const policy = this.#policy(name);
    const partition = this.#partition(policy, key);
    const { store, charges, records, keys } = this.#options;
    const { charge, limit, windowSeconds } = charges.peek(policy, partition);
    const [answer, blockedMs] = await Promise.all([
      store.ask({ beforeToken: [charge], token: undefined, afterToken: [] }),
      records.readBlock(keys.quotaBlock(name, partition)),
    ]);
    const tally = answer instanceof StoreFault ? answer : answer.beforeToken[0];
    if (tally === undefined || tally instanceof StoreFault) throw tally ?? new StoreFault("unreadable");
    const { limit: most, burst = most } = charge;
    const { consumed, resetMs } = tally;
    const blocked = blockedMs > 0;
    const remaining = limit === undefined ? undefined : blocked ? 0 : Math.max(0, burst - consumed);
    const resetSeconds = Math.max(0, Math.ceil((blocked ? blockedMs : resetMs) / 1000));
    return { policy: name, limit, windowSeconds, consumed, remaining, resetSeconds, blocked };
  }

  async busiest(options: { policy: string; limit?: number | undefined }): Promise<readonly BusyKey[]> {
    checkObject("busiest()", options, ["policy", "limit"]);
    const { limit = 10 } = options;
    const { name } = this.#policy(options.policy);
    checkInteger("busiest().limit", limit, 1, 100);
    const { demand } = this.#options;
    const found = await demand.busiest(name, limit);
    return found.map(({ partition, points }) => ({ key: demand.keyOf(name, partition), partition, points }));
  }

  async reset(name: string, key: QuotaKey): Promise<void> {
    const policy = this.#policy(name);
    const { charge } = this.#options.charges.peek(policy, this.#partition(policy, key));
    await this.#options.records.forget([charge.key]);
  }

  async block(name: string, key: QuotaKey, options: { for: Duration }): Promise<void> {
    const policy = this.#policy(name);
    const partition = this.#partition(policy, key);
    checkObject("block()", options, ["for"]);
    const lifeMs = durationMs("block().for", options.for, longestBlockMs);
    await this.#options.records.block(this.#options.keys.quotaBlock(name, partition), lifeMs);
    await this.#set(ruleNames.block(name, partition), { limit: 0, windowSeconds: undefined }, lifeMs);
  }

  async unblock(name: string, key: QuotaKey): Promise<void> {
    const policy = this.#policy(name);
    const partition = this.#partition(policy, key);
    const { records, rules, keys } = this.#options;
    await records.unblock(keys.quotaBlock(name, partition));
    await records.removeRule(ruleNames.block(name, partition));
    await rules.refresh();
  }

  async setOverride(
    name: string,
    ...words: [override: QuotaOverride] | [key: QuotaKey | undefined, override: QuotaOverride]
  ): Promise<void> {
    const policy = this.#policy(name);
    const [key, override] = words.length === 1 ? [undefined, words[0]] : words;
    const partition = key === undefined ? undefined : this.#partition(policy, key);
    checkObject("setOverride()", override, ["limit", "window", "for"]);
    const { limit, window } = override;
    if (limit === undefined && window === undefined)
      throw optionError("setOverride()", 'needs a limit or a window, such as { limit: 1000 } or { window: "1h" }');
    if (limit !== undefined) checkInteger("setOverride().limit", limit, 0, maxCount);
    const windowSeconds =
      window === undefined ? undefined : durationSeconds("setOverride().window", window, longestWindowSeconds);
    const lifeMs = override.for === undefined ? undefined : durationMs("setOverride().for", override.for);
    checkBounds(policy, limit, windowSeconds);
    await this.#set(ruleNames.limit(name, partition), { limit, windowSeconds }, lifeMs);
  }

  async clearOverride(name: string, key?: QuotaKey): Promise<void> {
    const policy = this.#policy(name);
    const partition = key === undefined ? undefined : this.#partition(policy, key);
    const { records, rules } = this.#options;
    await records.removeRule(ruleNames.limit(name, partition));
    await rules.refresh();
  }

  async #set(name: string, rule: { limit?: number | undefined; windowSeconds?: number | undefined }, lifeMs?: number) {
    const { records, rules } = this.#options;
    const { limit, windowSeconds } = rule;
    if (!(await records.setRule(name, { limit, windowSeconds }, lifeMs)))
      throw new RangeError(`portcullis: there are ${maxOverrides} overrides and blocks already; clear some`);
    await rules.refresh();
  }

  #policy(name: string): Policy<Raw> {
    const policy = this.#policies.get(name);
    if (policy !== undefined) return policy;
    const known = [...this.#policies.keys()].map((one) => `"${one}"`).join(", ");
    throw optionError("policy", known === "" ? "names no limit: this gate has none" : `must be one of ${known}`);
  }

  #partition(policy: Policy<Raw>, key: QuotaKey): string {
    return partitionOf(policy, key, this.#options);
  }
}

/** A bucket that is too large for its window would be found out at a request only. */
function checkBounds<Raw>(policy: Policy<Raw>, limit: number | undefined, windowSeconds: number | undefined): void {
  if (policy.algorithm !== "token-bucket") return;
  const [most, seconds] = [policy.burst ?? limit ?? policy.limit, windowSeconds ?? policy.windowSeconds];
  if (typeof most === "number" && typeof seconds === "number") checkBucket(policy.name, most, seconds);
}

export interface AdministrationOptions {
  readonly store: DecisionStore;
  readonly records: LimitOverrides;
  /** Do other processes change the rules too? */
  readonly shared: boolean;
  readonly keys: Keyspace;
  readonly ipv6PrefixLength: number;
  /** Does this gate verify tokens? Otherwise the users it counts are those of other gates. */
  readonly verifies: boolean;
  readonly logger: Logger;
}

/** What charges requests, and what operators change about it. */
export interface Administration<Raw> {
  readonly charges: ConsumptionFactory<Raw>;
  readonly quotas: QuotaService<Raw>;
  close(): void;
}

export function administerQuotas<Raw>(options: AdministrationOptions): Administration<Raw> {
  const { store, records, shared, keys, ipv6PrefixLength, verifies, logger } = options;
  const rules = new OverrideCache({ records, shared });
  const demand = new TopKeysReporter(records, keys);
  const charges = new ConsumptionFactory<Raw>({ keys, ipv6PrefixLength, logger, rules, demand });
  return {
    charges,
    quotas: new QuotaService({ store, records, keys, charges, rules, demand, ipv6PrefixLength, verifies }),
    close() {
      rules.close();
      demand.close();
    },
  };
}
