import type { AuditTrail, ClientFact } from "../telemetry/audit.js";
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
import { auditedKey, partitionOf } from "./partition.js";
import type { Policy } from "./policy.js";
import { UnguardedWarning } from "../request/unguarded.js";
import { overrideNames, OverrideCache, readOverrideName } from "./overrides.js";
import type { Facts } from "../request/facts.js";
import type { Page, PageOptions } from "../lib/page.js";
import { resolvePage, writeCursor } from "../lib/page.js";
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

/** The request that functions of a limit decide about, for `quotas.peek()`. */
export interface PeekOptions {
  /** Facts about the request, such as `{ auth }`. @default none: nobody is signed in */
  readonly facts?: Partial<Facts> | undefined;
  /** The value that the functions get as the request. @default undefined */
  readonly request?: unknown;
}

/** An override that operators have set: a result of `quotas.overrides()`. */
export interface ListedOverride {
  /** Name of the policy. */
  readonly policy: string;
  /** The client, which every method accepts as `{ partition }`; undefined for all clients without an override of their own. */
  readonly partition: string | undefined;
  /** The address or principal of the client; undefined if this process has not served it among its busiest clients lately. */
  readonly key: string | undefined;
  /** Undefined: the limit of the policy. */
  readonly limit: number | undefined;
  /** Undefined: the window of the policy. */
  readonly windowSeconds: number | undefined;
  /** Undefined: until it is cleared. */
  readonly remainingSeconds: number | undefined;
}

/** A block that operators have set: a result of `quotas.blocks()`. */
export interface ListedBlock {
  /** Name of the policy. */
  readonly policy: string;
  /** The client, which every method accepts as `{ partition }`. */
  readonly partition: string;
  /** The address or principal of the client; undefined if this process has not served it among its busiest clients lately. */
  readonly key: string | undefined;
  /** Seconds until the block ends. */
  readonly remainingSeconds: number;
}

/** The part of a list of overrides or blocks. */
export interface OverridesOptions extends PageOptions {
  /** Only those of this policy. @default those of all policies */
  readonly policy?: string | undefined;
}

/** A client that sends many requests: a result of `quotas.busiest()`. */
export interface TopKey {
  /** The address or principal of the client; undefined if this process has not served it among its busiest clients lately. */
  readonly key: string | undefined;
  /**
   * The name of the client in the store: a digest for addresses, header values and identifiers with unusual characters. Every
   * method accepts it as the key `{ partition }`.
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
  /**
   * Resolves to the state of a client. Counts nothing. With options, the functions of the policy decide its limit, burst and
   * window; an error of such a function is passed on.
   */
  peek(policy: string, key: QuotaKey, options?: PeekOptions): Promise<QuotaState>;
  /** Lists the overrides in force, in the order of their names. Those of other processes too. */
  overrides(options?: OverridesOptions): Promise<Page<ListedOverride>>;
  /**
   * Lists the blocks that operators have set and that have not ended. Blocks that a policy makes by itself (option `block`) are
   * not listed; `peek()` tells of them.
   */
  blocks(options?: OverridesOptions): Promise<Page<ListedBlock>>;
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
  /** Overrides limit or window of one client; with an undefined key, as without a key. */
  setOverride(policy: string, key: QuotaKey | undefined, override: QuotaOverride): Promise<void>;
  /** Ends the override of one client, or without a key the one for all clients. */
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
  readonly onRegister: (policies: readonly Policy<Raw>[]) => void;
  readonly audit: AuditTrail;
}

const maxBlockMs = maxWindowSeconds * 1000;
const noFacts: Facts = { auth: undefined, cache: undefined, quotas: [], loginAttempt: undefined };

export class QuotaService<Raw> implements Quotas {
  readonly #options: QuotaServiceOptions<Raw>;
  readonly #policies = new Map<string, Policy<Raw>>();

  constructor(options: QuotaServiceOptions<Raw>) {
    this.#options = options;
  }

  /** Makes policies known by name. */
  register(policies: readonly Policy<Raw>[]): void {
    this.#options.onRegister(policies);
    for (const policy of policies) this.#policies.set(policy.name, policy);
    if (policies.length > 0) this.#options.overrideCache.start();
  }

  async peek(name: string, key: QuotaKey, options?: PeekOptions): Promise<QuotaState> {
    const policy = this.policyOf(name);
    const partition = this.#partition(policy, key);
    const { store, consumptions, records, keyspace } = this.#options;
    if (options !== undefined) checkObject("peek()", options, ["facts", "request"]);
    const facts: Facts = { ...noFacts, ...options?.facts };
    const decided = options === undefined ? {} : await consumptions.decide(policy, options.request as Raw, facts);
    const { consumption, limit, windowSeconds } = consumptions.peek(policy, partition, decided);
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

  async overrides(options: OverridesOptions = {}): Promise<Page<ListedOverride>> {
    return this.#list("overrides()", "limit", options);
  }

  async blocks(options: OverridesOptions = {}): Promise<Page<ListedBlock>> {
    const { items, next } = await this.#list("blocks()", "block", options);
    return {
      items: items.map(({ policy, partition = "", key, remainingSeconds = 0 }) => ({
        ...{ policy, partition, key, remainingSeconds },
      })),
      next,
    };
  }

  /** There are at most {@link maxOverrides} overrides and blocks, and the store gives all of them at once. */
  async #list(call: string, kind: "limit" | "block", options: OverridesOptions): Promise<Page<ListedOverride>> {
    const { limit, position: [last] = [] } = resolvePage(call, options, 1, ["policy"]);
    const { records, topKeys } = this.#options;
    if (options.policy !== undefined) this.policyOf(options.policy);
    const found = await records.readOverrides(undefined);
    const listed = [...(found?.rules ?? [])].flatMap(([name, override]) => {
      const named = readOverrideName(name);
      const isWanted = named?.kind === kind && (options.policy === undefined || named.policy === options.policy);
      return isWanted && (last === undefined || name > last) ? [{ name, ...named, override }] : [];
    });
    listed.sort((one, other) => (one.name < other.name ? -1 : 1));
    const page = listed.slice(0, limit);
    return {
      items: page.map(({ policy, partition, override: { limit: most, windowSeconds, leftMs } }) => ({
        policy,
        partition,
        key: partition === undefined ? undefined : topKeys.keyOf(policy, partition),
        limit: most,
        windowSeconds,
        remainingSeconds: leftMs === undefined ? undefined : Math.ceil(leftMs / 1000),
      })),
      next: listed.length > limit ? writeCursor(page.at(-1)?.name ?? "") : undefined,
    };
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
    this.#record({ type: "quota_reset", key }, policy);
  }

  async block(name: string, key: QuotaKey, options: { for: Duration }): Promise<void> {
    const policy = this.policyOf(name);
    const partition = this.#partition(policy, key);
    checkObject("block()", options, ["for"]);
    const lifeMs = durationMs("block().for", options.for, maxBlockMs);
    await this.#options.records.block(this.#options.keyspace.quotaBlock(name, partition), lifeMs);
    await this.#set(overrideNames.block(name, partition), { limit: 0, windowSeconds: undefined }, lifeMs);
    this.#record({ type: "client_blocked", key, forSeconds: lifeMs / 1000 }, policy);
  }

  async unblock(name: string, key: QuotaKey): Promise<void> {
    const policy = this.policyOf(name);
    const partition = this.#partition(policy, key);
    const { records, overrideCache, keyspace } = this.#options;
    await records.unblock(keyspace.quotaBlock(name, partition));
    await records.removeOverride(overrideNames.block(name, partition));
    await overrideCache.refresh();
    this.#record({ type: "client_unblocked", key }, policy);
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
    const forSeconds = lifeMs === undefined ? undefined : lifeMs / 1000;
    this.#record({ type: "limit_overridden", key, limit, windowSeconds, forSeconds }, policy);
  }

  async clearOverride(name: string, key?: QuotaKey): Promise<void> {
    const policy = this.policyOf(name);
    const partition = key === undefined ? undefined : this.#partition(policy, key);
    const { records, overrideCache } = this.#options;
    await records.removeOverride(overrideNames.limit(name, partition));
    await overrideCache.refresh();
    this.#record({ type: "override_cleared", key }, policy);
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

  /** All policies that are known by name. */
  policies(): readonly Policy<Raw>[] {
    return [...this.#policies.values()];
  }

  /** The policy with this name. Throws a TypeError without one. */
  policyOf(name: string): Policy<Raw> {
    const policy = this.#policies.get(name);
    if (policy !== undefined) return policy;
    const known = [...this.#policies.keys()].map((one) => `"${one}"`).join(", ");
    throw optionError("policy", known === "" ? "names no limit: this gate has none" : `must be one of ${known}`);
  }

  #record(change: ClientFact<QuotaKey | undefined>, policy: Policy<Raw>): void {
    const { audit, keyspace } = this.#options;
    audit.record({ ...change, policy: policy.name, key: auditedKey(policy, change.key, keyspace) });
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

const silent: Logger = { debug: () => undefined, warn: () => undefined };

export interface AdministrationOptions<Raw> {
  readonly store: DecisionStore;
  readonly records: LimitOverrides;
  /** Do other processes change overrides too? */
  readonly shared: boolean;
  readonly keyspace: Keyspace;
  readonly ipv6PrefixLength: number;
  /** Does this gate verify tokens? Otherwise the users it counts are those of other gates. */
  readonly verifies: boolean;
  readonly logger: Logger;
  readonly unguarded: UnguardedWarning<Raw>;
  /** Called with policies that become known by name. */
  readonly onRegister: (policies: readonly Policy<Raw>[]) => void;
  readonly audit: AuditTrail;
}

/** The parts of limits that outlive a request. */
export interface Administration<Raw> {
  readonly consumptions: ConsumptionFactory<Raw>;
  /** Makes consumptions for explanations: it reports no top keys, and warns of nothing. */
  readonly previews: ConsumptionFactory<Raw>;
  readonly quotas: QuotaService<Raw>;
  close(): void;
}

/** Creates the parts of limits that outlive a request. */
export function administerQuotas<Raw>(options: AdministrationOptions<Raw>): Administration<Raw> {
  const { store, records, shared, keyspace, ipv6PrefixLength, verifies, logger, audit, unguarded, onRegister } =
    options;
  const overrideCache = new OverrideCache({ store: records, shared });
  const topKeys = new TopKeysReporter(records, keyspace);
  const consumptions = new ConsumptionFactory<Raw>({
    keyspace,
    ipv6PrefixLength,
    logger,
    overrides: overrideCache,
    ...{ topKeys, unguarded },
  });
  const common = { store, records, keyspace, consumptions, overrideCache, topKeys, ipv6PrefixLength, verifies, audit };
  const noTopKeys = new TopKeysReporter(records, keyspace);
  noTopKeys.close();
  return {
    consumptions,
    previews: new ConsumptionFactory<Raw>({
      ...{ keyspace, ipv6PrefixLength, logger: silent, overrides: overrideCache, topKeys: noTopKeys },
      unguarded: new UnguardedWarning(silent, undefined),
    }),
    quotas: new QuotaService({ ...common, onRegister }),
    close() {
      overrideCache.close();
      topKeys.close();
    },
  };
}
