import type { Duration } from "../lib/duration.js";
import { durationMs, durationSeconds } from "../lib/duration.js";
import { checkInteger, checkObject, optionError } from "../lib/validate.js";
import type { Keyspace } from "../store/keyspace.js";
import type { DecisionStore } from "../store/ports/decisions.js";
import { StoreFault } from "../store/ports/fault.js";
import type { LimitOverrides } from "../store/ports/limit-overrides.js";
import { maxOverrides } from "../store/ports/limit-overrides.js";
import { checkBucket, maxWindowSeconds, maxCount } from "./policy.js";
import type { QuotaKey } from "./partition.js";
import { partitionOf } from "./partition.js";
import type { Policy } from "./policy.js";
import { overrideNames, OverrideCache } from "./overrides.js";
import type { Logger } from "../telemetry/logger.js";
import { ConsumptionFactory } from "./consumption.js";
import { TopKeysReporter } from "./top-keys.js";

/** The state of one client under one policy: the result of `quotas.peek()`. */
export interface QuotaState {
  /** Name of the policy. */
  readonly policy: string;
  /** Requests (or units of cost) per window; undefined if a function decides it at each request. */
  readonly limit: number | undefined;
  /** Undefined if a function decides it. */
  readonly windowSeconds: number | undefined;
  /** Requests (or units of cost) counted. Includes points that processes have leased and not used yet. */
  readonly consumed: number;
  /** Requests (or units of cost) that are left. */
  readonly remaining: number | undefined;
  /** Seconds until more is available; for a blocked client, until the block ends. */
  readonly resetSeconds: number;
  /** Is the client blocked? */
  readonly blocked: boolean;
}

/** A client that sends many requests: a result of `quotas.busiest()`. */
export interface TopKey {
  /** The address or principal of the client; undefined if this process has not served it among its busiest clients lately. */
  readonly key: string | undefined;
  /**
   * The name of the client in the store: a digest for addresses, header values and identifiers with unusual characters. Every
   * method accepts it as a key.
   */
  readonly partition: string;
  /** Requests (or units of cost) in the last one to two minutes, admitted or not. */
  readonly points: number;
}

/** Values that replace those of a policy while the override holds. */
export interface QuotaOverride {
  /** Requests (or units of cost) per window; 0 refuses all. @default the limit of the policy */
  readonly limit?: number | undefined;
  /** Length of the window in whole seconds. A fixed window that has begun keeps its end. @default the window of the policy */
  readonly window?: Duration | undefined;
  /** How long the override holds. @default until it is cleared */
  readonly for?: Duration | undefined;
}

/**
 * Administration of quotas at run time, outside requests. Changes are stored for all processes. Each method rejects with a
 * {@link StoreFault} (503) if the store cannot do it, and with a TypeError or RangeError for wrong arguments. Blocks and
 * overrides hold in this process at once and in others within a second; while Redis is down, the last known ones hold.
 */
export interface Quotas {
  /** Resolves to the state of a client. Counts nothing. */
  peek(policy: string, key: QuotaKey): Promise<QuotaState>;
  /** Estimates the clients with the most requests in the last one to two minutes, busiest first. `limit`: 1 to 100. @default 10 */
  busiest(options: { readonly policy: string; readonly limit?: number | undefined }): Promise<readonly TopKey[]>;
  /** Resets the counter of a client to 0. Blocks stay. */
  reset(policy: string, key: QuotaKey): Promise<void>;
  /** Blocks a client under this policy for a time, whatever quota it has left. */
  block(policy: string, key: QuotaKey, options: { readonly for: Duration }): Promise<void>;
  /** Ends a block, whether `block()` or the option `block` of the policy made it. */
  unblock(policy: string, key: QuotaKey): Promise<void>;
  /** Overrides limit or window of one client, or of all clients without an override of their own. */
  setOverride(policy: string, override: QuotaOverride): Promise<void>;
  /** Overrides limit or window of one client. */
  setOverride(policy: string, key: QuotaKey | undefined, override: QuotaOverride): Promise<void>;
  /** Ends an override. */
  clearOverride(policy: string, key?: QuotaKey): Promise<void>;
}

export interface QuotaServiceOptions<Raw> {
  readonly store: DecisionStore;
  readonly records: LimitOverrides;
  readonly keyspace: Keyspace;
  readonly consumptions: ConsumptionFactory<Raw>;
  readonly overrideCache: OverrideCache;
  readonly topKeys: TopKeysReporter;
  readonly ipv6PrefixLength: number;
  readonly verifies: boolean;
}

const maxBlockMs = maxWindowSeconds * 1000;

export class QuotaService<Raw> implements Quotas {
  readonly #options: QuotaServiceOptions<Raw>;
  readonly #policies = new Map<string, Policy<Raw>>();

  constructor(options: QuotaServiceOptions<Raw>) {
    this.#options = options;
  }

  /** Makes policies known by name. */
  register(policies: readonly Policy<Raw>[]): void {
    for (const policy of policies) this.#policies.set(policy.name, policy);
    if (policies.length > 0) this.#options.overrideCache.start();
  }

  async peek(name: string, key: QuotaKey): Promise<QuotaState> {
    const policy = this.policyOf(name);
    const partition = this.#partition(policy, key);
    const { store, consumptions, records, keyspace } = this.#options;
    const { consumption, limit, windowSeconds } = consumptions.peek(policy, partition);
    const [answer, blockedMs] = await Promise.all([
      store.ask({ beforeToken: [consumption], token: undefined, afterToken: [] }),
      records.readBlock(keyspace.quotaBlock(name, partition)),
    ]);
    const counter = answer instanceof StoreFault ? answer : answer.beforeToken[0];
    if (counter === undefined || counter instanceof StoreFault) throw counter ?? new StoreFault("unreadable");
    const { limit: maxConsumed, burst = maxConsumed } = consumption;
    const { consumed, resetMs } = counter;
    const blocked = blockedMs > 0;
    const remaining = limit === undefined ? undefined : blocked ? 0 : Math.max(0, burst - consumed);
    const resetSeconds = Math.max(0, Math.ceil((blocked ? blockedMs : resetMs) / 1000));
    return { policy: name, limit, windowSeconds, consumed, remaining, resetSeconds, blocked };
  }

  async busiest(options: { policy: string; limit?: number | undefined }): Promise<readonly TopKey[]> {
    checkObject("busiest()", options, ["policy", "limit"]);
    const { limit = 10 } = options;
    const { name } = this.policyOf(options.policy);
    checkInteger("busiest().limit", limit, 1, 100);
    const { topKeys } = this.#options;
    const found = await topKeys.busiest(name, limit);
    return found.map(({ partition, points }) => ({ key: topKeys.keyOf(name, partition), partition, points }));
  }

  async reset(name: string, key: QuotaKey): Promise<void> {
    const policy = this.policyOf(name);
    const { consumption } = this.#options.consumptions.peek(policy, this.#partition(policy, key));
    await this.#options.records.forget([consumption.key]);
  }

  async block(name: string, key: QuotaKey, options: { for: Duration }): Promise<void> {
    const policy = this.policyOf(name);
    const partition = this.#partition(policy, key);
    checkObject("block()", options, ["for"]);
    const lifeMs = durationMs("block().for", options.for, maxBlockMs);
    await this.#options.records.block(this.#options.keyspace.quotaBlock(name, partition), lifeMs);
    await this.#set(overrideNames.block(name, partition), { limit: 0, windowSeconds: undefined }, lifeMs);
  }

  async unblock(name: string, key: QuotaKey): Promise<void> {
    const policy = this.policyOf(name);
    const partition = this.#partition(policy, key);
    const { records, overrideCache, keyspace } = this.#options;
    await records.unblock(keyspace.quotaBlock(name, partition));
    await records.removeOverride(overrideNames.block(name, partition));
    await overrideCache.refresh();
  }

  async setOverride(
    name: string,
    ...args: [override: QuotaOverride] | [key: QuotaKey | undefined, override: QuotaOverride]
  ): Promise<void> {
    const policy = this.policyOf(name);
    const [key, override] = args.length === 1 ? [undefined, args[0]] : args;
    const partition = key === undefined ? undefined : this.#partition(policy, key);
    checkObject("setOverride()", override, ["limit", "window", "for"]);
    const { limit, window } = override;
    if (limit === undefined && window === undefined)
      throw optionError("setOverride()", 'needs a limit or a window, such as { limit: 1000 } or { window: "1h" }');
    if (limit !== undefined) checkInteger("setOverride().limit", limit, 0, maxCount);
    const windowSeconds =
      window === undefined ? undefined : durationSeconds("setOverride().window", window, maxWindowSeconds);
    const lifeMs = override.for === undefined ? undefined : durationMs("setOverride().for", override.for);
    checkBounds(policy, limit, windowSeconds);
    await this.#set(overrideNames.limit(name, partition), { limit, windowSeconds }, lifeMs);
  }

  async clearOverride(name: string, key?: QuotaKey): Promise<void> {
    const policy = this.policyOf(name);
    const partition = key === undefined ? undefined : this.#partition(policy, key);
    const { records, overrideCache } = this.#options;
    await records.removeOverride(overrideNames.limit(name, partition));
    await overrideCache.refresh();
  }

  async #set(
    name: string,
    { limit, windowSeconds }: { limit?: number | undefined; windowSeconds?: number | undefined },
    lifeMs?: number,
  ): Promise<void> {
    const { records, overrideCache } = this.#options;
    if (!(await records.setOverride(name, { limit, windowSeconds }, lifeMs)))
      throw new RangeError(
        `portcullis: ${maxOverrides} overrides and blocks exist already, which is the maximum; clear some`,
      );
    await overrideCache.refresh();
  }

  /** The policy with this name. Throws a TypeError without one. */
  policyOf(name: string): Policy<Raw> {
    const policy = this.#policies.get(name);
    if (policy !== undefined) return policy;
    const known = [...this.#policies.keys()].map((one) => `"${one}"`).join(", ");
    throw optionError("policy", known === "" ? "names no limit: this gate has none" : `must be one of ${known}`);
  }

  #partition(policy: Policy<Raw>, key: QuotaKey): string {
    return partitionOf(policy, key, this.#options);
  }
}

/** Finds a bucket that is too large for its window now instead of at a request. */
function checkBounds<Raw>(policy: Policy<Raw>, limit: number | undefined, windowSeconds: number | undefined): void {
  if (policy.algorithm !== "token-bucket") return;
  const [burst, seconds] = [policy.burst ?? limit ?? policy.limit, windowSeconds ?? policy.windowSeconds];
  if (typeof burst === "number" && typeof seconds === "number") checkBucket(policy.name, burst, seconds);
}

export interface AdministrationOptions {
  readonly store: DecisionStore;
  readonly records: LimitOverrides;
  /** Do other processes change overrides too? */
  readonly shared: boolean;
  readonly keyspace: Keyspace;
  readonly ipv6PrefixLength: number;
  /** Does this gate verify tokens? Otherwise the users it counts are those of other gates. */
  readonly verifies: boolean;
  readonly logger: Logger;
}

/** The parts of limits that outlive a request. */
export interface Administration<Raw> {
  readonly consumptions: ConsumptionFactory<Raw>;
  readonly quotas: QuotaService<Raw>;
  close(): void;
}

/** Creates the parts of limits that outlive a request. */
export function administerQuotas<Raw>(options: AdministrationOptions): Administration<Raw> {
  const { store, records, shared, keyspace, ipv6PrefixLength, verifies, logger } = options;
  const overrideCache = new OverrideCache({ store: records, shared });
  const topKeys = new TopKeysReporter(records, keyspace);
  const consumptions = new ConsumptionFactory<Raw>({
    keyspace,
    ipv6PrefixLength,
    logger,
    overrides: overrideCache,
    topKeys,
  });
  const common = { store, records, keyspace, consumptions, overrideCache, topKeys, ipv6PrefixLength, verifies };
  return {
    consumptions,
    quotas: new QuotaService(common),
    close() {
      overrideCache.close();
      topKeys.close();
    },
  };
}
