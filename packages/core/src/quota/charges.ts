import { randomBytes } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { VerifiedToken } from "../auth/verifier.js";
import type { Exchange } from "../http/exchange.js";
import { durationSeconds } from "../options/duration.js";
import type { Keyspace } from "../store/keys.js";
import { checkBucket, checkCount, longestWindowSeconds } from "./bounds.js";
import type { PartitionOptions } from "./partition.js";
import { PartitionFinder } from "./partition.js";
import type { AppliedPolicy, PartitionPart, Policy } from "./policy.js";
import { countsAddresses } from "./policy.js";

/** Callers whose charges are remembered, for each policy; others' are made anew. */
const rememberedPartitions = 5000;

type Maybe<T> = T | undefined;

/** Turns policies into the charges of a request. */
export class ChargeFactory<Raw> {
  readonly #keys: Keyspace;
  readonly #partitions: PartitionFinder<Raw>;
  /** By policy and partition: charges that are the same at every request. */
  readonly #plainCharges = new WeakMap<Policy<Raw>, LRUCache<string, AppliedPolicy<Raw>>>();
  /** What no other process' slots begin with. */
  readonly #slotPrefix = randomBytes(9).toString("base64url");
  #slots = 0;

  constructor(options: PartitionOptions) {
    this.#keys = options.keys;
    this.#partitions = new PartitionFinder(options);
  }

  /** Has the application been seen to trust every proxy? */
  trustsEveryProxy(): boolean {
    return this.#partitions.trustsEveryProxy();
  }

  /**
   * The charges of these policies, in their order; fewer where a policy is skipped or has already counted this request.
   * Synchronous unless a function of the application is not.
   */
  charges(
    policies: readonly Policy<Raw>[],
    exchange: Exchange<Raw>,
    token: VerifiedToken | undefined,
  ): readonly AppliedPolicy<Raw>[] | Promise<readonly AppliedPolicy<Raw>[]> {
    const applied: (AppliedPolicy<Raw> | Promise<Maybe<AppliedPolicy<Raw>>>)[] = [];
    let waits = false;
    for (const policy of policies) {
      if (exchange.facts.settled.has(policy) || !appliesTo(policy, exchange)) continue;
      const charge = isPlain(policy)
        ? this.#plainCharge(policy, exchange, token)
        : this.#charge(policy, exchange, token);
      if (charge === undefined) continue;
      waits ||= charge instanceof Promise;
      applied.push(charge);
    }
    if (!waits) return applied as AppliedPolicy<Raw>[];
    return Promise.all(applied.map(async (charge) => charge)).then((all) =>
      all.filter((charge) => charge !== undefined),
    );
  }

  #plainCharge(
    policy: PlainPolicy<Raw>,
    exchange: Exchange<Raw>,
    token: VerifiedToken | undefined,
  ): Maybe<AppliedPolicy<Raw>> {
    const partition = this.#plainPartition(policy.per, exchange, token);
    if (partition === undefined) return undefined;
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
    return policy.algorithm === "concurrency" ? this.#withSlot(applied) : applied;
  }

  #plainPartition(
    per: PlainPolicy<Raw>["per"],
    exchange: Exchange<Raw>,
    token: VerifiedToken | undefined,
  ): Maybe<string> {
    let partition: Maybe<string>;
    for (const part of per) {
      const found = this.#partitions.find(part, exchange, token);
      if (found === undefined) return undefined;
      partition = partition === undefined ? found : `${partition}:${found}`;
    }
    return partition;
  }

  async #charge(
    policy: Policy<Raw>,
    exchange: Exchange<Raw>,
    token: VerifiedToken | undefined,
  ): Promise<Maybe<AppliedPolicy<Raw>>> {
    const { name, per, limit, burst, windowSeconds, cost, skip } = policy;
    const { raw, facts } = exchange;
    if (skip !== undefined && (await skip(raw, facts))) return undefined;
    const parts: string[] = [];
    for (const part of per) {
      const found =
        typeof part === "function"
          ? this.#partitions.check(name, await part(raw, facts))
          : this.#partitions.find(part, exchange, token);
      if (found === undefined) return undefined;
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
    return policy.algorithm === "concurrency" ? this.#withSlot(applied) : applied;
  }

  #apply(
    policy: Policy<Raw>,
    exchange: Exchange<Raw>,
    { partition, limit, burst, windowSeconds, cost }: Terms,
  ): AppliedPolicy<Raw> {
    const { name, algorithm, rule } = policy;
    const key = this.#keys.quota(name, partition, algorithm, windowSeconds);
    const owner = countsAddresses(policy) ? undefined : this.#partitions.address(exchange);
    const leased = policy.precision === "leased" ? true : undefined;
    if (rule === undefined) return { policy, charge: { key, limit, windowSeconds, cost, owner, leased } };
    if (algorithm === "token-bucket") checkBucket(name, burst ?? limit, windowSeconds);
    const blockKey = rule.block === undefined ? undefined : this.#keys.quotaBlock(name, partition);
    return { policy, charge: { key, limit, windowSeconds, cost, owner, rule, burst, blockKey } };
  }

  #withSlot({ policy, charge }: AppliedPolicy<Raw>): AppliedPolicy<Raw> {
    this.#slots += 1;
    return { policy, charge: { ...charge, slot: `${this.#slotPrefix}${this.#slots.toString(36)}` } };
  }
}

interface Terms {
  readonly partition: string;
  readonly limit: number;
  readonly burst: number | undefined;
  readonly windowSeconds: number;
  readonly cost: number;
}

function appliesTo<Raw>({ when, allow }: Policy<Raw>, exchange: Exchange<Raw>): boolean {
  return (when === undefined || when(exchange)) && (allow === undefined || !allow.has(exchange.ip));
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
