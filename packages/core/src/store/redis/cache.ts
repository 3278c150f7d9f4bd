import type { BreakerControl } from "../../lib/breaker.js";
import { Breaker } from "../../lib/breaker.js";
import { Telemetry } from "../../telemetry/telemetry.js";
import type {
  CacheEntry,
  CacheQuestion,
  CacheRead,
  CacheStore,
  GenerationClaim,
  Lease,
  LeaseOutcome,
} from "../ports/cache.js";
import {
  cacheChannel,
  eventLetter,
  withdrawnMs,
  isGeneration,
  newGeneration,
  renewalMs,
  renewedGeneration,
} from "../ports/cache.js";
import { StoreFault } from "../ports/fault.js";
import type { BatchCall } from "./batcher.js";
import { Batcher } from "./batcher.js";
import type { RedisChannels } from "./channels.js";
import { Keyspace } from "../keyspace.js";
import type { CacheReading } from "./cache-reads.js";
import { readTexts } from "./cache-reads.js";
import type { Connection } from "./connect.js";
import { callEachSlot, groupBySlot } from "./hash-slot.js";
import {
  readFlag,
  readInteger,
  readListOf,
  readText,
  unreadable,
  faultOfError,
  faultOfPart,
  throwFaultOfClientKeys,
} from "./replies.js";
import { ServerClock } from "./server-clock.js";
import { runScript } from "./run-script.js";
import type { RedisLike } from "./client.js";
import { cacheArguments, cacheScript } from "./scripts/cache.js";

export interface RedisCacheStoreOptions {
  readonly connection: Connection;
  readonly channels: RedisChannels;
  readonly deadlineMs: number;
  readonly telemetry?: Telemetry | undefined;
  /** Called after the first round trip. */
  readonly onFirstUse?: (() => void) | undefined;
}

/** Maximum number of reads in one round trip. Each reads a value and its generations. */
const maxReads = 128;
/** Maximum number of operations of one script call. */
const maxOperations = 64;

/**
 * Cached values in Redis. All reads of one turn of the event loop are one MGET, and all writes are one script call; in
 * a Cluster, one for each hash slot.
 */
export class RedisCacheStore implements CacheStore {
  readonly #connection: Connection;
  readonly #channels: RedisChannels;
  readonly #clock: ServerClock;
  readonly #reading: Breaker;
  readonly #writing: Breaker;
  readonly #reads: Batcher<CacheQuestion, CacheReading>;
  readonly #operations: Batcher<CacheOperation, OperationAnswer>;
  readonly #returnListeners: (() => void)[] = [];

  constructor({ connection, channels, deadlineMs, telemetry = new Telemetry(), onFirstUse }: RedisCacheStoreOptions) {
    this.#reading = new Breaker({ name: "redis.cache", telemetry });
    this.#writing = new Breaker({ name: "redis.cache.writes", telemetry });
    this.#connection = connection;
    this.#channels = channels;
    this.#clock = new ServerClock(connection);
    const giveUp = (_items: unknown, fault: StoreFault): void => connection.unreadable?.("cache", fault);
    let isUsed = false;
    const observe = (call: BatchCall): void => {
      telemetry.storeCalled({ store: "cache", ...call });
      if (!isUsed) onFirstUse?.();
      isUsed = true;
    };
    const { wait } = connection;
    const common = { wait, deadlineMs, observe };
    this.#reads = new Batcher({
      ...common,
      send: (reads) => readTexts(connection, reads).catch(throwFaultOfClientKeys),
      breaker: this.#reading,
      giveUp,
      settle: (read, answer) => settle(read as CacheRead, answer),
      maxBatch: maxReads,
      maxInFlight: 2,
    });
    this.#operations = new Batcher({
      ...common,
      send: (operations) => this.#operate(operations).catch(throwFaultOfClientKeys),
      breaker: this.#writing,
      judge: (_operations, answers) => this.#judge(answers),
      giveUp,
      maxBatch: maxOperations,
      maxInFlight: 2,
    });
    let isFirst = !connection.hasConnected();
    connection.onConnect(() => {
      if (!isFirst) for (const listener of this.#returnListeners) listener();
      isFirst = false;
      this.#reading.allowProbe();
      this.#writing.allowProbe();
    });
    wait?.onEnd(() => {
      this.#reads.wake();
      this.#operations.wake();
    });
  }

  now(): number {
    return this.#clock.now();
  }

  async getMany(keys: readonly string[]): Promise<readonly (string | undefined)[]> {
    return keys.length === 0 ? [] : (await this.#reads.askOrReject({ storeKey: undefined, along: keys })).along;
  }

  read(read: CacheRead): void {
    this.#reads.add(read);
  }

  async setMany(entries: readonly CacheEntry[]): Promise<void> {
    await this.#all(
      entries.map(({ key, value, ttlMs }) =>
        operationOn("set", key, [value, Math.ceil(ttlMs), "", this.#message(key)]),
      ),
    );
  }

  async deleteMany(keys: readonly string[]): Promise<void> {
    await this.#all(keys.map((key) => operationOn("del", key, ["", "", "", this.#message(key)])));
  }

  async ensureGenerations(keys: readonly string[], ttlMs: number): Promise<string[]> {
    const answers = await this.#all(keys.map((key) => operationOn("gen", key, [newGeneration(), Math.ceil(ttlMs)])));
    return answers.map(([generation]) => this.#readOrReport(() => readGeneration(generation)));
  }

  async renewGenerations(keys: readonly string[]): Promise<void> {
    await this.#all(
      keys.map((key) => operationOn("renew", key, [renewedGeneration(), renewalMs, "", this.#message(key)])),
    );
  }

  async keep(entries: readonly CacheEntry[], claims: readonly GenerationClaim[], untilMs: number): Promise<string[]> {
    const limits = { lifeMs: Math.max(0, ...entries.map(({ ttlMs }) => ttlMs)), untilMs };
    if (!this.#connection.isCluster) {
      const [answer] = await this.#all([keepOperation(entries, claims, limits)]);
      return this.#readOrReport(() => readListOf(answer, claims.length).map(readGenerationOrNone));
    }
    // An entry names its generations: a renewal between the two steps makes the entry a miss.
    const found = new Map<GenerationClaim, string>();
    const claimed = groupBySlot(claims, keyOf);
    const answers = await this.#all(claimed.map((slot) => keepOperation([], slot, limits)));
    this.#readOrReport(() => {
      for (const [index, slot] of claimed.entries()) {
        const generations = readListOf(answers[index], slot.length).map(readGenerationOrNone);
        slot.forEach((claim, place) => found.set(claim, generations[place] ?? ""));
      }
    });
    const generations = claims.map((claim) => found.get(claim) ?? "");
    if (claims.every(({ named }, index) => named === generations[index]))
      await this.#all(groupBySlot(entries, keyOf).map((slot) => keepOperation(slot, [], limits)));
    return generations;
  }

  async lease(key: string, owner: string, ms: number, force = false): Promise<Lease> {
    const [waitMs, found] = await this.#one("lease", key, [owner, ms, force ? "1" : ""]);
    return this.#readOrReport(() => {
      const value = readText(found);
      return { waitMs: readInteger(waitMs), value: value === "" ? undefined : value };
    });
  }

  async extend(key: string, owner: string, ms: number): Promise<boolean> {
    const [kept] = await this.#one("extend", key, [owner, ms]);
    return this.#readOrReport(() => readFlag(kept));
  }

  async endLease(key: string, owner: string, settlement: LeaseOutcome): Promise<boolean> {
    const { outcome } = settlement;
    const [value, ttlMs] = outcome === "filled" ? [settlement.value, Math.ceil(settlement.ttlMs)] : ["", ""];
    const [settled] = await this.#one("settle", key, [owner, ttlMs, value, this.#message(key), eventLetter(outcome)]);
    return this.#readOrReport(() => readFlag(settled));
  }

  async withdraw(key: string, owner: string): Promise<void> {
    await this.#one("withdraw", key, [owner, withdrawnMs, "", this.#message(key), eventLetter("failed")]);
  }

  onReturn(listener: () => void): void {
    this.#returnListeners.push(listener);
  }

  get breakers(): readonly BreakerControl[] {
    return [this.#reading, this.#writing];
  }

  close(): void {
    this.#reads.close();
    this.#operations.close();
    this.#clock.close();
  }

  #message(key: string): string {
    return this.#channels.seal(`${key} `);
  }

  async #one(...words: Parameters<typeof operationOn>): Promise<OperationAnswer> {
    const answer = await this.#operations.ask(operationOn(...words));
    if (answer instanceof StoreFault) throw answer;
    return answer;
  }

  /** Waits for all operations, also if one of them fails. */
  async #all(operations: readonly CacheOperation[]): Promise<OperationAnswer[]> {
    const answers = await Promise.all(operations.map(async (operation) => this.#operations.ask(operation)));
    return answers.map((answer) => {
      if (answer instanceof StoreFault) throw answer;
      return answer;
    });
  }

  /** Reads an answer. A fault is reported before it is thrown. */
  #readOrReport<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      this.#connection.unreadable?.("cache", error);
      throw error;
    }
  }

  async #operate(operations: readonly CacheOperation[]): Promise<(OperationAnswer | StoreFault)[]> {
    const { client, isCluster } = this.#connection;
    return runOperations(client, isCluster, this.#channels.nameOf(cacheChannel), operations);
  }

  #judge(answers: readonly (OperationAnswer | StoreFault)[]): void {
    const all = answers.filter((answer) => answer instanceof StoreFault);
    for (const fault of all) this.#connection.unreadable?.("cache", fault);
    const faults = all.filter(({ outage }) => outage);
    if (faults.length === 0) return this.#writing.succeed();
    this.#writing.fail();
    if (this.#writing.state === "open" && faults.some(({ reply }) => reply === "READONLY"))
      this.#connection.leaveReplica();
  }
}

function keyOf({ key }: { readonly key: string }): string {
  return key;
}

function readGeneration(reply: unknown): string {
  const generation = readGenerationOrNone(reply);
  if (generation === "") throw unreadable();
  return generation;
}

function readGenerationOrNone(reply: unknown): string {
  const generation = readText(reply);
  if (generation !== "" && !isGeneration(generation)) throw unreadable();
  return generation;
}

function settle(read: CacheRead, answer: CacheReading | StoreFault): void {
  if (answer instanceof StoreFault) read.fail(answer);
  else read.answer(answer.text, answer.along);
}

/** One operation of the cache script (scripts/cache.ts). */
interface CacheOperation {
  readonly name: "set" | "del" | "gen" | "renew" | "lease" | "extend" | "settle" | "withdraw" | "keep";
  /** The keys, as the script takes them. They share a hash slot. */
  readonly keys: readonly string[];
  readonly args: readonly (string | number)[];
}

/** The answer of the script to one operation; its elements depend on the operation. */
type OperationAnswer = readonly unknown[];

interface KeepLimits {
  /** The minimum life of the generations. */
  readonly lifeMs: number;
  /** No generation is created after this time, by the clock of Redis. */
  readonly untilMs: number;
}

/** Runs operations in one script call; in a Cluster, in one for each hash slot, at the same time. */
async function runOperations(
  client: RedisLike,
  isCluster: boolean,
  channel: string,
  operations: readonly CacheOperation[],
): Promise<(OperationAnswer | StoreFault)[]> {
  if (!isCluster) return runTogether(client, channel, operations);
  return callEachSlot(
    operations,
    ({ keys: [first = ""] }) => first,
    (slot) => runTogether(client, channel, slot).catch((error: unknown) => slot.map(() => faultOfError(error))),
  );
}

/** An operation that stores entries if their generations are current. In a Cluster all keys share a hash slot. */
function keepOperation(
  entries: readonly CacheEntry[],
  claims: readonly GenerationClaim[],
  limits: KeepLimits,
): CacheOperation {
  const { lifeMs, untilMs } = limits;
  return {
    name: "keep",
    keys: [...claims, ...entries].map(keyOf),
    args: [
      ...[claims.length, entries.length, Math.ceil(lifeMs), Math.floor(untilMs)],
      ...claims.flatMap(({ named, isNew }) => [named, isNew ? "1" : ""]),
      ...entries.flatMap(({ value, ttlMs, keepsLongerLife }) => [value, Math.ceil(ttlMs), keepsLongerLife ? "1" : ""]),
    ],
  };
}

async function runTogether(
  client: RedisLike,
  channel: string,
  operations: readonly CacheOperation[],
): Promise<(OperationAnswer | StoreFault)[]> {
  const keys = operations.flatMap(({ keys: own }) => own);
  const args = operations.flatMap(({ name, args: own }) => [
    name,
    ...(name === "keep" ? own : Array.from({ length: cacheArguments }, (_, index) => own[index] ?? "")),
  ]);
  const replies = readListOf(await runScript(client, cacheScript, keys, [channel, ...args]), operations.length);
  return replies.map((reply) => (Array.isArray(reply) ? (reply as OperationAnswer) : faultOfPart(reply)));
}

/** An operation on one key. A generation has no lease: to delete it, its key is passed twice. */
function operationOn(
  name: Exclude<CacheOperation["name"], "keep">,
  key: string,
  args: CacheOperation["args"],
): CacheOperation {
  if (name === "gen" || name === "renew") return { name, keys: [key], args };
  if (name === "del" && !Keyspace.isCacheEntry(key)) return { name, keys: [key, key], args };
  const lease = Keyspace.cacheLease(key);
  if (name !== "lease" && name !== "withdraw") return { name, keys: [key, lease], args };
  return { name, keys: [key, lease, Keyspace.cacheWithdrawal(key, String(args[0]))], args };
}
