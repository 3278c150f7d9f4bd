import { randomBytes } from "node:crypto";
import type { SeenAddresses, PartitionOptions } from "./partition.js";
import type { TokenRefusal } from "../auth/token-refusal.js";
import type { VerifiedToken } from "../auth/verifier.js";
import type { Exchange } from "../http/exchange.js";
import type { GateExchange } from "../request/state.js";
import type { UnguardedWarning } from "../request/unguarded.js";
import type { Facts } from "../request/facts.js";
import type { Duration } from "../lib/duration.js";
import { durationSeconds } from "../lib/duration.js";
import { TwoGenerationCache } from "../lib/two-generation-cache.js";
import type { Keyspace } from "../store/keyspace.js";
import { withChanges } from "../store/ports/decisions.js";
import type { Consumption } from "../store/ports/decisions.js";
import { checkBucket, checkCount, maxWindowSeconds, maxCount, countsAddresses, KeptPolicy } from "./policy.js";
import type { TopKeyEntry, TopKeysReporter, TopKeysTable } from "./top-keys.js";
import type { Terms, OverrideCache } from "./overrides.js";
import { applyOverride, withBlocks } from "./overrides.js";
import { PartitionFinder, showPartition } from "./partition.js";
import type { AppliedPolicy, PartitionPart, Policy } from "./policy.js";

/** Partitions whose consumption is cached, for each policy. */
const maxPartitions = 10_000;

type Maybe<T> = T | undefined;

const noPolicies: readonly never[] = [];

/** The policies that a request consumes, or the refusal of a token that does not say whom to count. */
export type Consumed<Raw> = readonly AppliedPolicy<Raw>[] | TokenRefusal;

export interface ConsumptionFactoryOptions<Raw> extends PartitionOptions {
  readonly overrides: OverrideCache;
  readonly topKeys: TopKeysReporter;
  readonly unguarded: UnguardedWarning<Raw>;
}

/** A consumption that only reads the counter of a client. */
export interface PeekedConsumption {
  readonly consumption: Consumption;
  /** Undefined if a function of the application decides it. */
  readonly limit: number | undefined;
  readonly windowSeconds: number | undefined;
}

/** Terms of a policy that its functions have decided. */
export interface DecidedTerms {
  readonly limit?: number | undefined;
  readonly burst?: number | undefined;
  readonly windowSeconds?: number | undefined;
}

/** A policy of a group, with what is the same for many requests. */
export interface GroupMember<Raw> {
  readonly policy: Policy<Raw>;
  /** Does the token alone say whom it counts? */
  readonly isByUser: boolean;
  readonly isByAddress: boolean;
  /** Clients by partition. */
  readonly clients: TwoGenerationCache<string, KeptPolicy<Raw>>;
  /** The generation of overrides under which the clients were made. */
  generation: number;
  readonly topKeys: TopKeysTable;
}

/** Makes the consumptions of a request from policies. */
export class ConsumptionFactory<Raw> {
  readonly #keyspace: Keyspace;
  readonly #partitions: PartitionFinder<Raw>;
  /** Several guards may apply one policy. */
  readonly #members = new WeakMap<Policy<Raw>, GroupMember<Raw>>();
  /** Makes slots unique among all processes. */
  readonly #slotPrefix = randomBytes(9).toString("base64url");
  readonly #overrides: OverrideCache;
  readonly #topKeys: TopKeysReporter;
  readonly #unguarded: UnguardedWarning<Raw>;
  #slots = 0;

  constructor(options: ConsumptionFactoryOptions<Raw>) {
    this.#keyspace = options.keyspace;
    this.#overrides = options.overrides;
    this.#topKeys = options.topKeys;
    this.#unguarded = options.unguarded;
    this.#partitions = new PartitionFinder(options);
  }

  /** Findings about client addresses in the requests so far. */
  get addresses(): SeenAddresses {
    return this.#partitions;
  }

  /** Checks the address of a client, and warns once, for a caller that counts addresses itself. */
  examineAddress(exchange: Exchange<Raw>): void {
    this.#partitions.address(exchange);
  }

  /** The members of a group, for {@link create}. Policies of one name share the table of their busiest clients. */
  groupOf(policies: readonly Policy<Raw>[]): readonly GroupMember<Raw>[] {
    return policies.map((policy) => {
      let member = this.#members.get(policy);
      if (member === undefined) {
        member = {
          policy,
          isByUser: policy.isPlain && policy.per.length === 1 && policy.per[0] === "user",
          isByAddress: policy.isPlain && countsAddresses(policy),
          clients: new TwoGenerationCache({ max: maxPartitions }),
          generation: this.#overrides.generation,
          topKeys: this.#topKeys.tableOf(policy.name),
        };
        this.#members.set(policy, member);
      }
      return member;
    });
  }

  /**
   * Makes the consumptions of these policies, in their order; none for a policy that is skipped or has counted this request
   * already. Returns a refusal if a policy counts by a claim that identifies nobody. Synchronous for plain policies.
   */
  create(
    group: readonly GroupMember<Raw>[],
    exchange: GateExchange<Raw>,
    token: VerifiedToken | undefined,
  ): Consumed<Raw> | Promise<Consumed<Raw>> {
    const [only] = group;
    if (only === undefined) return noPolicies;
    if (group.length === 1 && only.policy.isPlain) {
      const alone = this.#consumptionOf(only, exchange, token);
      if (alone === undefined) return noPolicies;
      if (!(alone instanceof Promise))
        return alone instanceof KeptPolicy ? alone.alone : "code" in alone ? alone : [alone];
      return alone.then((one) => (one === undefined ? noPolicies : "code" in one ? one : [one]));
    }
    const applied: (AppliedPolicy<Raw> | Promise<Maybe<AppliedPolicy<Raw> | TokenRefusal>>)[] = [];
    let refusal: Maybe<TokenRefusal>;
    let isAsync = false;
    for (const member of group) {
      const consumption = this.#consumptionOf(member, exchange, token);
      if (consumption === undefined) continue;
      if ("code" in consumption) {
        refusal ??= consumption;
        continue;
      }
      isAsync ||= consumption instanceof Promise;
      applied.push(consumption);
    }
    if (!isAsync) return refusal ?? (applied as AppliedPolicy<Raw>[]);
    return Promise.all(applied.map(async (one) => one)).then((all) => {
      const consumptions: AppliedPolicy<Raw>[] = [];
      for (const one of all) {
        if (one === undefined) continue;
        if ("code" in one) refusal ??= one;
        else consumptions.push(one);
      }
      return refusal ?? consumptions;
    });
  }

  /** An error is a rejection: another policy may be waiting for its functions, whose rejection nobody would hear. */
  #consumptionOf(
    member: GroupMember<Raw>,
    exchange: GateExchange<Raw>,
    token: VerifiedToken | undefined,
  ): Maybe<AppliedPolicy<Raw> | TokenRefusal> | Promise<Maybe<AppliedPolicy<Raw> | TokenRefusal>> {
    const { policy } = member;
    try {
      if (exchange.state.isDone(policy) || !this.#appliesTo(policy, exchange)) return undefined;
      return isPlain(policy)
        ? this.#plainConsumption(member, policy, exchange, token)
        : this.#consumption(member, exchange, token);
    } catch (error) {
      // Reading the address calls a function of the application, such as `trust proxy` of Express.
      return Promise.resolve().then(() => {
        throw error;
      });
    }
  }

  #appliesTo({ when, allow }: Policy<Raw>, exchange: Exchange<Raw>): boolean {
    if (when?.(exchange) === false) return false;
    return allow === undefined || !allow.has(exchange.ip) || this.#partitions.mayBeProxy(exchange);
  }

  #plainConsumption(
    member: GroupMember<Raw>,
    policy: PlainPolicy<Raw>,
    exchange: GateExchange<Raw>,
    token: VerifiedToken | undefined,
  ): Maybe<AppliedPolicy<Raw> | TokenRefusal> {
    const generation = this.#overrides.generation;
    const note = member.isByUser
      ? token?.note
      : member.isByAddress
        ? this.#partitions.knownAddress(exchange)
        : undefined;
    let applied: KeptPolicy<Raw> | undefined;
    if (note !== undefined && note.writer === member && note.generation === generation)
      applied = note.value as KeptPolicy<Raw>;
    else {
      const partition = this.#plainPartition(policy, exchange, token);
      if (typeof partition !== "string") return partition ?? this.#skip(member, exchange);
      if (member.generation !== generation) {
        member.generation = generation;
        member.clients.clear();
      }
      applied = member.clients.get(partition);
      if (applied === undefined) {
        applied = new KeptPolicy(this.#apply(policy, exchange, { ...policy, partition }), partition);
        member.clients.set(partition, applied);
      }
      if (note !== undefined) {
        note.writer = member;
        note.generation = generation;
        note.value = applied;
      }
    }
    const { topKey } = applied;
    if (topKey !== undefined && topKey.place >= 0) topKey.points += applied.cost;
    else if (member.topKeys.admits()) applied.topKey = this.#noteTopKey(member, applied, applied.cost, exchange, token);
    return policy.algorithm === "concurrency" ? this.#withSlot(applied) : applied;
  }

  /** A policy that counts users does not apply to an anonymous request. */
  #skip({ policy, clients }: GroupMember<Raw>, exchange: GateExchange<Raw>): undefined {
    // On other routes it has counted users.
    if (clients.isEmpty) this.#unguarded.noteUncounted(policy.name, exchange);
  }

  #plainPartition(
    { name: policy, per }: PlainPolicy<Raw>,
    exchange: Exchange<Raw>,
    token: VerifiedToken | undefined,
  ): Maybe<string | TokenRefusal> {
    let partition: Maybe<string>;
    for (const part of per) {
      const found = this.#partitions.find(part, exchange, token, policy);
      if (typeof found !== "string") return found;
      partition = partition === undefined ? found : `${partition}:${found}`;
    }
    return partition;
  }

  async #consumption(
    member: GroupMember<Raw>,
    exchange: GateExchange<Raw>,
    token: VerifiedToken | undefined,
  ): Promise<Maybe<AppliedPolicy<Raw> | TokenRefusal>> {
    const { policy } = member;
    const { name, per, limit, burst, windowSeconds, cost, skip } = policy;
    const {
      raw,
      state: { facts },
    } = exchange;
    if (skip !== undefined && (await skip(raw, facts))) return undefined;
    const parts: string[] = [];
    for (const part of per) {
      const found =
        typeof part === "function"
          ? this.#partitions.check(name, await part(raw, facts))
          : this.#partitions.find(part, exchange, token, name);
      if (typeof found !== "string") return found ?? this.#skip(member, exchange);
      parts.push(found);
    }
    const terms = {
      partition: parts.join(":"),
      limit: typeof limit === "function" ? checkCount(name, "limit", await limit(raw, facts)) : limit,
      burst: typeof burst === "function" ? checkCount(name, "burst", await burst(raw, facts)) : burst,
      cost: typeof cost === "function" ? checkCount(name, "cost", await cost(raw, facts)) : cost,
      windowSeconds:
        typeof windowSeconds === "function" ? windowOf(name, await windowSeconds(raw, facts)) : windowSeconds,
    };
    const applied = this.#apply(policy, exchange, terms);
    const isCounted = member.topKeys.add(terms.partition, terms.cost) !== undefined;
    if (!isCounted && member.topKeys.admits()) {
      const entry = { partition: terms.partition, client: undefined, points: 0, place: -1 };
      this.#noteTopKey(member, entry, terms.cost, exchange, token);
    }
    return policy.algorithm === "concurrency" ? this.#withSlot(applied) : applied;
  }

  /** Calls the functions that decide the terms of a policy, outside requests. Rejects with what they throw. */
  async decide({ name, limit, burst, windowSeconds }: Policy<Raw>, raw: Raw, facts: Facts): Promise<DecidedTerms> {
    return {
      limit: typeof limit === "function" ? checkCount(name, "limit", await limit(raw, facts)) : undefined,
      burst: typeof burst === "function" ? checkCount(name, "burst", await burst(raw, facts)) : undefined,
      windowSeconds: typeof windowSeconds === "function" ? windowOf(name, await windowSeconds(raw, facts)) : undefined,
    };
  }

  /** Makes a consumption of cost 0, which reads the counter of a client outside requests. */
  peek(policy: Policy<Raw>, partition: string, decided: DecidedTerms = {}): PeekedConsumption {
    const { name, algorithm } = policy;
    const overrides = this.#overrides.overridesOf(name);
    const override = overrides?.clients.get(partition) ?? overrides?.everybody;
    const limit = override?.limit ?? decided.limit ?? numberOr(policy.limit);
    const windowSeconds = override?.windowSeconds ?? decided.windowSeconds ?? numberOr(policy.windowSeconds);
    const isOpen = (windowSeconds === undefined && algorithm !== "fixed-window") || limit === undefined;
    if (isOpen && algorithm !== "fixed-window")
      throw new TypeError(`portcullis: limit "${name}" is decided by functions of a request, so pass peek() its facts`);
    const seconds = windowSeconds ?? 1;
    const consumption: Consumption = {
      key: this.#keyspace.quota(name, partition, algorithm, seconds),
      limit: limit ?? maxCount,
      windowSeconds: seconds,
      cost: 0,
      // With a counting mode, a fixed window would begin here.
      mode: algorithm === "fixed-window" ? undefined : { algorithm, shadow: false, block: undefined },
      burst: algorithm === "token-bucket" ? (decided.burst ?? numberOr(policy.burst) ?? limit) : undefined,
    };
    return { consumption, limit, windowSeconds };
  }

  /** The client that a policy counts, for logs. */
  nameOf<R>({ policy: { name }, consumption: { key } }: AppliedPolicy<R>): string {
    const infix = `}:${name}:`;
    return showPartition(key.slice(key.indexOf(infix) + infix.length), this.#keyspace);
  }

  #apply(policy: Policy<Raw>, exchange: Exchange<Raw>, terms: Terms): AppliedPolicy<Raw> {
    const { name, algorithm, mode } = policy;
    const overrides = this.#overrides.overridesOf(name);
    const { partition, limit, burst, windowSeconds, cost } =
      overrides === undefined ? terms : applyOverride(terms, overrides);
    const key = this.#keyspace.quota(name, partition, algorithm, windowSeconds);
    const owner = countsAddresses(policy) || hasNoAddress(exchange) ? undefined : this.#partitions.address(exchange);
    const refusesUnreadable: true | undefined = policy.onStoreError === "deny" && !policy.shadow ? true : undefined;
    if (overrides?.blocks.has(partition) === true) {
      // The limit of 0 refuses if the store cannot read the record of the block.
      const blocked = { limit: 0, cost: Math.max(1, cost), blockKey: this.#keyspace.quotaBlock(name, partition) };
      const rest = { key, windowSeconds, owner, refusesUnreadable, burst, mode: withBlocks(mode) };
      return { policy, consumption: { ...rest, ...blocked } };
    }
    const leased = policy.precision === "leased" ? true : undefined;
    const note = leased === undefined ? undefined : { lease: undefined };
    if (mode === undefined)
      return { policy, consumption: { key, limit, windowSeconds, cost, owner, refusesUnreadable, leased, note } };
    if (algorithm === "token-bucket") checkBucket(name, burst ?? limit, windowSeconds);
    const blockKey = mode.block === undefined ? undefined : this.#keyspace.quotaBlock(name, partition);
    return {
      policy,
      consumption: { key, limit, windowSeconds, cost, owner, refusesUnreadable, mode, burst, blockKey },
    };
  }

  #noteTopKey(
    { policy: { name, per }, topKeys }: GroupMember<Raw>,
    entry: TopKeyEntry,
    points: number,
    exchange: Exchange<Raw>,
    token: VerifiedToken | undefined,
  ): TopKeyEntry {
    const known = topKeys.add(entry.partition, points);
    if (known !== undefined) return known;
    const [part] = per;
    const alone = per.length === 1;
    // A principal of another gate would name another user here.
    const principal = token?.issuers === this.#keyspace.issuers ? token.auth.principal : undefined;
    entry.client = alone && part === "ip" ? exchange.ip : alone && part === "user" ? principal : undefined;
    entry.points = points;
    this.#topKeys.introduce(name, entry);
    return entry;
  }

  /** A consumption of one request alone. It names its members: a kept policy has many more, and is slow to spread. */
  #withSlot({ policy, consumption }: AppliedPolicy<Raw>): AppliedPolicy<Raw> {
    this.#slots += 1;
    const slot = `${this.#slotPrefix}${this.#slots.toString(36)}`;
    return { policy, consumption: withChanges(consumption, { slot }) };
  }
}

function windowOf(policy: string, window: Duration): number {
  return durationSeconds(`the window of limit "${policy}"`, window, maxWindowSeconds);
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

/** Calls no function of the application, so that its consumption is made at once. */
function isPlain<Raw>(policy: Policy<Raw>): policy is PlainPolicy<Raw> {
  return policy.isPlain;
}

/** An event on an open connection may come without an address. */
function hasNoAddress<Raw>(exchange: Exchange<Raw>): boolean {
  return exchange.ip === undefined && exchange.trustsEveryProxy === undefined;
}
