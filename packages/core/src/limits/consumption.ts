import { randomBytes } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { SeenAddresses, PartitionOptions } from "./partition.js";
import type { TokenRefusal } from "../auth/token-refusal.js";
import type { VerifiedToken } from "../auth/verifier.js";
import type { Exchange } from "../http/exchange.js";
import { durationSeconds } from "../lib/duration.js";
import type { Keyspace } from "../store/keyspace.js";
import type { Consumption } from "../store/ports/decisions.js";
import { checkBucket, checkCount, longestWindowSeconds, maxCount, countsAddresses } from "./policy.js";
import type { TopKeysReporter } from "./top-keys.js";
import type { Terms, OverrideCache } from "./overrides.js";
import { applyOverride, withBlocks } from "./overrides.js";
import { PartitionFinder } from "./partition.js";
import type { AppliedPolicy, PartitionPart, Policy } from "./policy.js";

/** Callers whose charges are remembered, for each policy; others' are made anew. */
const rememberedPartitions = 5000;

type Maybe<T> = T | undefined;

/** What a request is charged for, or why its token does not say whom to charge. */
export type Consumed<Raw> = readonly AppliedPolicy<Raw>[] | TokenRefusal;

export interface ConsumptionFactoryOptions extends PartitionOptions {
  /** What operators decided. */
  readonly rules: OverrideCache;
  /** Notes who asks. */
  readonly demand: TopKeysReporter;
}

/** What may be asked about a client without a request of theirs. */
export interface PeekedConsumption {
  readonly charge: Consumption;
  /** Undefined where a function of the application decides about it. */
  readonly limit: number | undefined;
  readonly windowSeconds: number | undefined;
}

/** Turns policies into the charges of a request. */
export class ConsumptionFactory<Raw> {
  readonly #keys: Keyspace;
  readonly #partitions: PartitionFinder<Raw>;
  /** By policy and partition: charges that are the same at every request. */
  #plainCharges = new WeakMap<Policy<Raw>, LRUCache<string, AppliedPolicy<Raw>>>();
  /** What no other process' slots begin with. */
  readonly #slotPrefix = randomBytes(9).toString("base64url");
  readonly #rules: OverrideCache;
  readonly #demand: TopKeysReporter;
  #slots = 0;
  /** The rules under which the charges were made that are kept. */
  #generation = 0;

  constructor(options: ConsumptionFactoryOptions) {
    this.#keys = options.keys;
    this.#rules = options.rules;
    this.#demand = options.demand;
    this.#partitions = new PartitionFinder(options);
  }

  /** What requests have shown of clients' addresses. */
  get addresses(): SeenAddresses {
    return this.#partitions;
  }

  /** Says once what is wrong with the addresses of clients, where something else counts by them. */
  examineAddress(exchange: Exchange<Raw>): void {
    this.#partitions.address(exchange);
  }

  /**
   * The charges of these policies, in their order; fewer where a policy is skipped or has already counted this request. A
   * refusal if one of them must count by what the token does not say rightly. Synchronous unless a function of the application is not.
   */
  charges(
    policies: readonly Policy<Raw>[],
    exchange: Exchange<Raw>,
    token: VerifiedToken | undefined,
  ): Consumed<Raw> | Promise<Consumed<Raw>> {
    if (this.#generation !== this.#rules.generation) this.#forgetCharges();
    const applied: (AppliedPolicy<Raw> | Promise<Maybe<AppliedPolicy<Raw> | TokenRefusal>>)[] = [];
    let refusal: Maybe<TokenRefusal>;
    let waits = false;
    for (const policy of policies) {
      if (exchange.facts.settled.has(policy) || !this.#appliesTo(policy, exchange)) continue;
      const charge = isPlain(policy)
        ? this.#plainCharge(policy, exchange, token)
        : this.#charge(policy, exchange, token);
      if (charge === undefined) continue;
      if ("code" in charge) {
        refusal ??= charge;
        continue;
      }
      waits ||= charge instanceof Promise;
      applied.push(charge);
    }
    if (!waits) return refusal ?? (applied as AppliedPolicy<Raw>[]);
    return Promise.all(applied.map(async (charge) => charge)).then((all) => {
      const charges: AppliedPolicy<Raw>[] = [];
      for (const charge of all) {
        if (charge === undefined) continue;
        if ("code" in charge) refusal ??= charge;
        else charges.push(charge);
      }
      return refusal ?? charges;
    });
  }

  #appliesTo({ when, allow }: Policy<Raw>, exchange: Exchange<Raw>): boolean {
    if (when?.(exchange) === false) return false;
    return allow === undefined || !allow.has(exchange.ip) || this.#partitions.mayBeProxy(exchange);
  }

  #plainCharge(
    policy: PlainPolicy<Raw>,
    exchange: Exchange<Raw>,
    token: VerifiedToken | undefined,
  ): Maybe<AppliedPolicy<Raw> | TokenRefusal> {
    const partition = this.#plainPartition(policy.per, exchange, token);
    if (typeof partition !== "string") return partition;
    let charges = this.#plainCharges.get(policy);
    if (charges === undefined) {
      charges = new LRUCache({ max: rememberedPartitions });
      this.#plainCharges.set(policy, charges);
    }
    let applied = charges.get(partition);
    if (applied === undefined) {
      applied = this.#apply(policy, exchange, { ...policy, partition });
      charges.set(partition, applied);
    }
    this.#note(policy, partition, applied.charge.cost, exchange, token);
    return policy.algorithm === "concurrency" ? this.#withSlot(applied) : applied;
  }

  #plainPartition(
    per: PlainPolicy<Raw>["per"],
    exchange: Exchange<Raw>,
    token: VerifiedToken | undefined,
  ): Maybe<string | TokenRefusal> {
    let partition: Maybe<string>;
    for (const part of per) {
      const found = this.#partitions.find(part, exchange, token);
      if (typeof found !== "string") return found;
      partition = partition === undefined ? found : `${partition}:${found}`;
    }
    return partition;
  }

  async #charge(
    policy: Policy<Raw>,
    exchange: Exchange<Raw>,
    token: VerifiedToken | undefined,
  ): Promise<Maybe<AppliedPolicy<Raw> | TokenRefusal>> {
    const { name, per, limit, burst, windowSeconds, cost, skip } = policy;
    const { raw, facts } = exchange;
    if (skip !== undefined && (await skip(raw, facts))) return undefined;
    const parts: string[] = [];
    for (const part of per) {
      const found =
        typeof part === "function"
          ? this.#partitions.check(name, await part(raw, facts))
          : this.#partitions.find(part, exchange, token);
      if (typeof found !== "string") return found;
      parts.push(found);
    }
    const terms = {
      partition: parts.join(":"),
      limit: typeof limit === "function" ? checkCount(name, "limit", await limit(raw, facts)) : limit,
      burst: typeof burst === "function" ? checkCount(name, "burst", await burst(raw, facts)) : burst,
      cost: typeof cost === "function" ? checkCount(name, "cost", await cost(raw, facts)) : cost,
      windowSeconds:
        typeof windowSeconds === "function"
          ? durationSeconds(`the window of limit "${name}"`, await windowSeconds(raw, facts), longestWindowSeconds)
          : windowSeconds,
    };
    const applied = this.#apply(policy, exchange, terms);
    this.#note(policy, terms.partition, terms.cost, exchange, token);
    return policy.algorithm === "concurrency" ? this.#withSlot(applied) : applied;
  }

  /** A charge that counts nothing, of a client who may not be asking now. */
  peek(policy: Policy<Raw>, partition: string): PeekedConsumption {
    const { name, algorithm } = policy;
    const rules = this.#rules.rulesOf(name);
    const rule = rules?.clients.get(partition) ?? rules?.everybody;
    const limit = rule?.limit ?? numberOr(policy.limit);
    const windowSeconds = rule?.windowSeconds ?? numberOr(policy.windowSeconds);
    const isOpen = (windowSeconds === undefined && algorithm !== "fixed-window") || limit === undefined;
    if (isOpen && algorithm !== "fixed-window")
      throw new TypeError(
        `portcullis: limit "${name}" is decided by functions of a request, so only a request can tell`,
      );
    const seconds = windowSeconds ?? 1;
    const charge: Consumption = {
      key: this.#keys.quota(name, partition, algorithm, seconds),
      limit: limit ?? maxCount,
      windowSeconds: seconds,
      cost: 0,
      // With a rule, a fixed window would begin here.
      rule: algorithm === "fixed-window" ? undefined : { algorithm, shadow: false, block: undefined },
      burst: algorithm === "token-bucket" ? (numberOr(policy.burst) ?? limit) : undefined,
    };
    return { charge, limit, windowSeconds };
  }

  #apply(policy: Policy<Raw>, exchange: Exchange<Raw>, terms: Terms): AppliedPolicy<Raw> {
    const { name, algorithm, rule } = policy;
    const rules = this.#rules.rulesOf(name);
    const { partition, limit, burst, windowSeconds, cost } = rules === undefined ? terms : applyOverride(terms, rules);
    const key = this.#keys.quota(name, partition, algorithm, windowSeconds);
    const owner = countsAddresses(policy) ? undefined : this.#partitions.address(exchange);
    if (rules?.blocks.has(partition) === true) {
      // The limit refuses where the record of the block cannot be read: while the store is away.
      const blocked = { limit: 0, cost: Math.max(1, cost), blockKey: this.#keys.quotaBlock(name, partition) };
      return { policy, charge: { key, windowSeconds, owner, burst, rule: withBlocks(rule), ...blocked } };
    }
    const leased = policy.precision === "leased" ? true : undefined;
    if (rule === undefined) return { policy, charge: { key, limit, windowSeconds, cost, owner, leased } };
    if (algorithm === "token-bucket") checkBucket(name, burst ?? limit, windowSeconds);
    const blockKey = rule.block === undefined ? undefined : this.#keys.quotaBlock(name, partition);
    return { policy, charge: { key, limit, windowSeconds, cost, owner, rule, burst, blockKey } };
  }

  #note(
    { name, per }: Policy<Raw>,
    partition: string,
    points: number,
    exchange: Exchange<Raw>,
    token: VerifiedToken | undefined,
  ): void {
    if (this.#demand.add(name, partition, points)) return;
    const [part] = per;
    const alone = per.length === 1;
    // A principal of another gate would name somebody else here.
    const principal = token?.issuers === this.#keys.issuers ? token.auth.principal : undefined;
    const known = alone && part === "ip" ? exchange.ip : alone && part === "user" ? principal : undefined;
    this.#demand.introduce(name, { partition, points, key: known });
  }

  #forgetCharges(): void {
    this.#generation = this.#rules.generation;
    this.#plainCharges = new WeakMap();
  }

  #withSlot({ policy, charge }: AppliedPolicy<Raw>): AppliedPolicy<Raw> {
    this.#slots += 1;
    return { policy, charge: { ...charge, slot: `${this.#slotPrefix}${this.#slots.toString(36)}` } };
  }
}

function numberOr(option: unknown): number | undefined {
  return typeof option === "number" ? option : undefined;
}

type PlainPart = Exclude<PartitionPart<unknown>, (...args: never[]) => unknown>;

type PlainPolicy<Raw> = Policy<Raw> & {
  per: readonly PlainPart[];
  limit: number;
  burst: number | undefined;
  windowSeconds: number;
  cost: number;
};

/** Needs no function of the application, so it can be answered at once. */
function isPlain<Raw>(policy: Policy<Raw>): policy is PlainPolicy<Raw> {
  return policy.isPlain;
}
