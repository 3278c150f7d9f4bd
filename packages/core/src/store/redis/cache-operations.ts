import type { CacheEntry, Claim } from "../ports/cache.js";
import type { StoreFault } from "../ports/decisions.js";
import type { RedisLike } from "./client.js";
import { faultOfError, faultOfPart } from "./faults.js";
import { readListOf } from "./replies.js";
import { callEachSlot } from "./hash-slot.js";
import { cacheArguments, cacheScript } from "./scripts/cache.js";
import { runScript } from "./scripts/script.js";

/** One operation of the cache script; see there. */
export interface CacheOperation {
  readonly name: "set" | "del" | "gen" | "renew" | "lease" | "extend" | "settle" | "withdraw" | "keep";
  /** Of keep, any of its keys. */
  readonly key: string;
  /** All keys of keep; they share a slot. */
  readonly keys?: readonly string[];
  readonly args: readonly (string | number)[];
}

/** What the script lists for one operation, to be read as the operation says. */
export type OperationAnswer = readonly unknown[];

export interface KeepLimits {
  /** The generations live at least so long. */
  readonly lifeMs: number;
  /** No generation is made later; by the clock of Redis. */
  readonly untilMs: number;
}

/** Runs operations in one script call, or in a Cluster in one for each slot, at once. */
export async function runOperations(
  client: RedisLike,
  isCluster: boolean,
  channel: string,
  operations: readonly CacheOperation[],
): Promise<(OperationAnswer | StoreFault)[]> {
  if (!isCluster) return runTogether(client, channel, operations);
  return callEachSlot(
    operations,
    ({ key }) => key,
    (slot) => runTogether(client, channel, slot).catch((error: unknown) => slot.map(() => faultOfError(error))),
  );
}

/** Stores entries if the generations that they name are granted; all keys share a slot, unless there is only one server. */
export function keepOperation(
  entries: readonly CacheEntry[],
  claims: readonly Claim[],
  limits: KeepLimits,
): CacheOperation {
  const { lifeMs, untilMs } = limits;
  const keys = [...claims, ...entries].map(({ key }) => key);
  return {
    name: "keep",
    key: keys[0] ?? "",
    keys,
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
  const keys = operations.flatMap(keysOf);
  const args = operations.flatMap(({ name, args: own }) => [
    name,
    ...(name === "keep" ? own : Array.from({ length: cacheArguments }, (_, index) => own[index] ?? "")),
  ]);
  const replies = readListOf(await runScript(client, cacheScript, keys, [channel, ...args]), operations.length);
  return replies.map((reply) => (Array.isArray(reply) ? (reply as OperationAnswer) : faultOfPart(reply)));
}

function keysOf({ name, key, keys: all, args: [owner] }: CacheOperation): readonly string[] {
  if (all !== undefined) return all;
  const keys = [key, leaseOf(key)];
  return name === "lease" || name === "withdraw" ? [...keys, withdrawalOf(key, String(owner))] : keys;
}

/** Where it is noted that an owner does not want the lease of a value any more: an owner asks for one lease only. */
function withdrawalOf(key: string, owner: string): string {
  const family = key.replace(/portcullis:(\d+):cache:([^{:]*:[^{:]*):(\{[^}]*\}).*$/s, "portcullis:$1:withdrawn:$2:$3");
  return `${family}:${owner}`;
}

/**
 * Where the lease of a value is: in its slot, and not among what is tracked. Service and namespace stand between the family
 * and the hash tag, so that no prefix is taken for the family.
 */
function leaseOf(key: string): string {
  return key.replace(/portcullis:(\d+):cache:([^{:]*:[^{:]*):\{/, "portcullis:$1:making:$2:{");
}
