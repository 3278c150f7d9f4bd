import { LRUCache } from "lru-cache";
import type { VerifiedToken } from "../auth/verifier.js";
import { canonicalAddress } from "../http/address.js";
import type { Exchange, Facts } from "../http/exchange.js";
import type { Keyspace } from "../store/keys.js";
import type { Charge } from "../store/ports.js";
import type { Logger } from "../telemetry/logger.js";
import type { FixedWindows } from "./flexible.js";

/** A function of the application's request and of what is known about it. */
export type Of<T, Raw> = (raw: Raw, facts: Facts) => T | Promise<T>;

/** A rate-limit policy, resolved. */
export interface Policy<Raw> {
  readonly name: string;
  /** The partition key: whom the policy counts by. */
  readonly per: "ip" | "user" | Of<string, Raw>;
  readonly limit: number | Of<number, Raw>;
  readonly windowSeconds: number;
  readonly cost: number | Of<number, Raw>;
  readonly skip: Of<boolean, Raw> | undefined;
  readonly onStoreError: "local" | "allow" | "deny";
  readonly precision: "exact" | "leased";
  readonly windows: FixedWindows;
}

/** A policy as it applies to one request. */
export interface AppliedPolicy<Raw> {
  readonly policy: Policy<Raw>;
  readonly charge: Charge;
}

/** Callers whose keys are remembered, for each policy; others' are made anew. */
const rememberedPartitions = 5000;

export interface PartitionOptions {
  readonly keys: Keyspace;
  readonly ipv6PrefixLength: number;
  readonly logger: Logger;
}

/** Turns policies into the charges of a request. */
export class ChargeFactory<Raw> {
  readonly #keys: Keyspace;
  readonly #ipv6PrefixLength: number;
  readonly #logger: Logger;
  /** By the address as the framework tells it: its partition. */
  readonly #addresses = new LRUCache<string, string>({ max: rememberedPartitions });
  /** By policy and partition: charges that are the same at every request. */
  readonly #plainCharges = new WeakMap<Policy<Raw>, LRUCache<string, AppliedPolicy<Raw>>>();
  #addressesExamined = false;
  #trustsEveryProxy = false;

  constructor({ keys, ipv6PrefixLength, logger }: PartitionOptions) {
    this.#keys = keys;
    this.#ipv6PrefixLength = ipv6PrefixLength;
    this.#logger = logger;
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
    const applied: (AppliedPolicy<Raw> | Promise<AppliedPolicy<Raw> | undefined>)[] = [];
    let waits = false;
    for (const policy of policies) {
      if (exchange.facts.settled.has(policy)) continue;
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
  ): AppliedPolicy<Raw> | undefined {
    const partition = this.#partition(policy.per, exchange, token);
    if (partition === undefined) return undefined;
    let charges = this.#plainCharges.get(policy);
    if (charges === undefined) {
      charges = new LRUCache({ max: rememberedPartitions });
      this.#plainCharges.set(policy, charges);
    }
    let applied = charges.get(partition);
    if (applied === undefined) {
      applied = this.#apply(policy, partition, policy.limit, policy.cost);
      charges.set(partition, applied);
    }
    return applied;
  }

  async #charge(
    policy: Policy<Raw>,
    exchange: Exchange<Raw>,
    token: VerifiedToken | undefined,
  ): Promise<AppliedPolicy<Raw> | undefined> {
    const { name, per, limit, cost, skip } = policy;
    const { raw, facts } = exchange;
    if (skip !== undefined && (await skip(raw, facts))) return undefined;
    const partition =
      typeof per === "function"
        ? this.#keys.identifier(checkKey(name, await per(raw, facts)))
        : this.#partition(per, exchange, token);
    if (partition === undefined) return undefined;
    return this.#apply(
      policy,
      partition,
      typeof limit === "function" ? checkCount(name, "limit", await limit(raw, facts)) : limit,
      typeof cost === "function" ? checkCount(name, "cost", await cost(raw, facts)) : cost,
    );
  }

  /** Undefined where nobody is signed in: a per-user policy then does not apply, the others remain. */
  #partition(per: "ip" | "user", exchange: Exchange<Raw>, token: VerifiedToken | undefined): string | undefined {
    if (per === "user") return token?.partition;
    if (!this.#addressesExamined) this.#examineAddresses(exchange);
    const { ip } = exchange;
    let address = ip === undefined ? undefined : this.#addresses.get(ip);
    if (address === undefined) {
      address = this.#keys.digest(canonicalAddress(ip, this.#ipv6PrefixLength));
      // Behind a careless proxy the text can be of any length.
      if (ip !== undefined && ip.length <= 64) this.#addresses.set(ip, address);
    }
    return address;
  }

  /** Has the application been seen to trust every proxy? */
  trustsEveryProxy(): boolean {
    return this.#trustsEveryProxy;
  }

  /** Once, at the first request: only then is the framework's setting known. */
  #examineAddresses(exchange: Exchange<Raw>): void {
    this.#addressesExamined = true;
    this.#trustsEveryProxy = exchange.trustsEveryProxy;
    if (!exchange.trustsEveryProxy) return;
    const advice = "say how many proxies there are (Express: trust proxy, Koa: maxIpsCount)";
    this.#logger.warn(
      {},
      `portcullis: every proxy is trusted, so clients choose the address they are limited by; ${advice}`,
    );
  }

  #apply(policy: Policy<Raw>, partition: string, limit: number, cost: number): AppliedPolicy<Raw> {
    const key = this.#keys.quota(policy.name, partition);
    const charge = { key, limit, windowSeconds: policy.windowSeconds, cost };
    return { policy, charge: policy.precision === "leased" ? { ...charge, leased: true } : charge };
  }
}

type PlainPolicy<Raw> = Policy<Raw> & { per: "ip" | "user"; limit: number; cost: number };

/** Needs no function of the application, so it can be answered at once. */
function isPlain<Raw>(policy: Policy<Raw>): policy is PlainPolicy<Raw> {
  const { per, limit, cost, skip } = policy;
  return typeof per === "string" && typeof limit === "number" && typeof cost === "number" && skip === undefined;
}

/** No key is a mistake of the application, never one bucket for everybody. */
function checkKey(policy: string, key: unknown): string {
  if (typeof key === "string" && key !== "") return key;
  throw new TypeError(`portcullis: the key function of limit "${policy}" must return a non-empty string`);
}

/** Redis and JavaScript count exactly up to here. */
const maxCount = 1_000_000_000_000;

function checkCount(policy: string, what: "limit" | "cost", value: unknown): number {
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= maxCount) return value as number;
  throw new RangeError(
    `portcullis: the ${what} function of limit "${policy}" must return a whole number from 0 to ${maxCount}`,
  );
}
