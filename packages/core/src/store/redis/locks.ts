import type { BreakerControl } from "../../lib/breaker.js";
import { Breaker } from "../../lib/breaker.js";
import { Telemetry } from "../../telemetry/telemetry.js";
import { StoreFault } from "../ports/fault.js";
import type { LockAnswer, LockClaim, LockKeys, LockRequest, LockStore } from "../ports/locks.js";
import { fenceMs, lockChannel, withdrawnLockMs } from "../ports/locks.js";
import type { RedisChannels } from "./channels.js";
import type { Connection } from "./connect.js";
import { groupBySlot, hashTag } from "./hash-slot.js";
import { readFlag, readInteger } from "./replies.js";
import { ScriptClient } from "./script-client.js";
import { keyPrefixOf } from "./topology.js";
import { extendLocksScript, noteWithdrawalScript, releaseLocksScript, takeLocksScript } from "./scripts/locks.js";

export interface RedisLockStoreOptions {
  readonly connection: Connection;
  readonly channels: RedisChannels;
  readonly deadlineMs: number;
  readonly telemetry?: Telemetry | undefined;
}

/**
 * Locks in Redis: one script call takes all names of a claim, and one gives them back. In a Cluster there is one call for
 * each hash slot; the slots are taken one after another, in one order for all processes.
 */
export class RedisLockStore implements LockStore {
  readonly #connection: Connection;
  readonly #channels: RedisChannels;
  readonly #calls: ScriptClient;
  readonly #breaker: Breaker;
  readonly #channel: string;
  readonly #stop: () => void;
  /** Where a key begins behind the prefix of the client, if there is one: the last argument of a release. */
  readonly #keyStart: readonly number[];

  constructor({ connection, channels, deadlineMs, telemetry = new Telemetry() }: RedisLockStoreOptions) {
    this.#connection = connection;
    this.#channels = channels;
    this.#channel = channels.nameOf(lockChannel);
    this.#breaker = new Breaker({ name: "redis.locks", telemetry });
    this.#calls = new ScriptClient({ connection, deadlineMs, breaker: this.#breaker, part: "lock" });
    const prefixBytes = Buffer.byteLength(keyPrefixOf(connection.client));
    this.#keyStart = prefixBytes === 0 ? [] : [prefixBytes + 1];
    this.#stop = connection.onConnect(() => this.#breaker.allowProbe());
  }

  get breakers(): readonly BreakerControl[] {
    return [this.#breaker];
  }

  take(request: LockRequest): Promise<LockAnswer> {
    if (!this.#connection.isCluster || request.keys.length === 1) return this.#takeSlot(request);
    return this.#takeAll(request);
  }

  async extend({ keys, owner }: LockClaim, fence: number, leaseMs: number): Promise<boolean> {
    const kept = await this.#eachSlot(keys, async (slot) =>
      this.#calls.run(extendLocksScript, [slot.length, ...slot.map(lockOf), owner, leaseMs + fenceMs, fence], readFlag),
    );
    return kept.every((one) => one);
  }

  release({ keys, owner }: LockClaim): Promise<boolean> {
    const [first] = keys;
    if (keys.length > 1 || first === undefined) return this.#releaseAll({ keys, owner });
    const args = ["1", first.lock, owner, this.#channel, this.#channels.seal(""), ...this.#keyStart];
    return this.#calls.run(releaseLocksScript, args, readReleased);
  }

  async #releaseAll({ keys, owner }: LockClaim): Promise<boolean> {
    const counts = await this.#eachSlot(keys, async (slot) => this.#release(slot, owner));
    return counts.reduce((sum, count) => sum + count, 0) === keys.length;
  }

  async withdraw(claim: LockClaim): Promise<void> {
    const { keys, owner } = claim;
    await this.#eachSlot(keys, async ([first]) => {
      if (first === undefined) return;
      const note = `${first.withdrawal}:${owner}`;
      await this.#calls.run(noteWithdrawalScript, [2, first.lock, note, owner, withdrawnLockMs], readFlag);
    });
    await this.release(claim);
  }

  close(): void {
    this.#stop();
  }

  async #takeAll(request: LockRequest): Promise<LockAnswer> {
    const fences: number[] = [];
    try {
      return await this.#takeSlots(request, this.#slotsOf(request.keys), fences);
    } catch (error) {
      // The breaker may open after the first slot. The caller then has to know that locks may have been taken.
      if (fences.length > 0 && error instanceof StoreFault && !error.mayHaveRun) throw new StoreFault("unreachable");
      throw error;
    }
  }

  async #takeSlots(
    request: LockRequest,
    slots: readonly (readonly LockKeys[])[],
    fences: number[],
  ): Promise<LockAnswer> {
    for (const [index, keys] of slots.entries()) {
      const answer = await this.#takeSlot({ ...request, keys });
      if ("waitMs" in answer) {
        if (index > 0) await this.release({ owner: request.owner, keys: slots.slice(0, index).flat() });
        // This release is told to those that wait, also to this caller. If it asked again then, it would never rest.
        return { ...answer, among: keys };
      }
      fences.push(answer.fence);
    }
    const fence = Math.max(...fences);
    // Every name has to remember the fence that its holder shows.
    const lower = slots.filter((_, index) => fences[index] !== fence).flat();
    if (lower.length === 0) return { fence };
    if (await this.extend({ owner: request.owner, keys: lower }, fence, request.leaseMs)) return { fence };
    await this.release(request);
    return { waitMs: 1 };
  }

  #takeSlot(request: LockRequest): Promise<LockAnswer> {
    const { keys, owner, leaseMs, waits } = request;
    const [first] = keys;
    const rest = waits ? [owner, leaseMs + fenceMs] : [owner, leaseMs + fenceMs, "1"];
    const args =
      keys.length === 1 && first !== undefined
        ? ["1", first.lock, ...rest]
        : [keys.length, ...keys.map(lockOf), ...rest];
    return this.#calls.run(takeLocksScript, args, readAnswer).then((answer) => answer ?? this.#takeNoted(request));
  }

  /** Within a minute after a withdrawal. */
  async #takeNoted({ keys, owner, leaseMs, waits }: LockRequest): Promise<LockAnswer> {
    const [first] = keys;
    const note = `${first?.withdrawal ?? ""}:${owner}`;
    const args = [keys.length + 1, ...keys.map(lockOf), note, owner, leaseMs + fenceMs, waits ? "" : "1", "1"];
    return (await this.#calls.run(takeLocksScript, args, readAnswer)) ?? { waitMs: 0 };
  }

  #release(slot: readonly LockKeys[], owner: string): Promise<number> {
    const locks = slot.map(lockOf);
    const seals = locks.map(() => this.#channels.seal(""));
    const args = [locks.length, ...locks, owner, this.#channel, ...seals, ...this.#keyStart];
    return this.#calls.run(releaseLocksScript, args, readInteger);
  }

  /** Keys that one script may use together, in an order that all processes share. */
  #slotsOf(keys: readonly LockKeys[]): readonly (readonly LockKeys[])[] {
    if (!this.#connection.isCluster || keys.length === 1) return [keys];
    return groupBySlot(keys, ({ lock }) => lock).sort(([one], [other]) => tagOf(one) - tagOf(other));
  }

  /** Calls for all slots at once, and waits for all answers also if one fails. */
  async #eachSlot<T>(keys: readonly LockKeys[], call: (slot: readonly LockKeys[]) => Promise<T>): Promise<T[]> {
    const settled = await Promise.allSettled(this.#slotsOf(keys).map(call));
    return settled.map((one) => {
      if (one.status === "rejected") throw one.reason;
      return one.value;
    });
  }
}

function lockOf({ lock }: LockKeys): string {
  return lock;
}

function tagOf(key: LockKeys | undefined): number {
  return Number(hashTag(key?.lock ?? ""));
}

/** Did the owner hold the only lock? */
function readReleased(reply: unknown): boolean {
  return readInteger(reply) === 1;
}

/** Undefined if notes of withdrawals have to be looked at. */
function readAnswer(reply: unknown): LockAnswer | undefined {
  if (reply === null) return undefined;
  const number = readInteger(reply, Number.MIN_SAFE_INTEGER);
  return number > 0 ? { fence: number } : { waitMs: 0 - number };
}
