import type { BreakerControl } from "../../lib/breaker.js";
import { Breaker } from "../../lib/breaker.js";
import { Telemetry } from "../../telemetry/telemetry.js";
import { StoreFault } from "../ports/fault.js";
import type { LockAnswer, LockClaim, LockKeys, LockRequest, LockStore } from "../ports/locks.js";
import { fenceMs, lockChannel, withdrawnLockMs } from "../ports/locks.js";
import type { RedisChannels } from "./channels.js";
import { cork } from "./client.js";
import type { Connection } from "./connect.js";
import { callWithin, runScript } from "./connect.js";
import { groupBySlot, hashTag } from "./hash-slot.js";
import { faultOfError, readFlag, readInteger, readListOf } from "./replies.js";
import type { Script } from "./scripts/lua.js";
import { extendLocksScript, releaseLocksScript, takeLocksScript } from "./scripts/locks.js";

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
  readonly #deadlineMs: number;
  readonly #breaker: Breaker;
  readonly #channel: string;
  readonly #stop: () => void;
  #gathers = false;

  constructor({ connection, channels, deadlineMs, telemetry = new Telemetry() }: RedisLockStoreOptions) {
    this.#connection = connection;
    this.#channels = channels;
    this.#channel = channels.nameOf(lockChannel);
    this.#deadlineMs = deadlineMs;
    this.#breaker = new Breaker({ name: "redis.locks", telemetry });
    this.#stop = connection.onConnect(() => this.#breaker.allowProbe());
  }

  get breakers(): readonly BreakerControl[] {
    return [this.#breaker];
  }

  async take(request: LockRequest): Promise<LockAnswer> {
    const slots = this.#slotsOf(request.keys);
    if (slots.length === 1) return this.#takeSlot(request);
    const fences: number[] = [];
    try {
      return await this.#takeSlots(request, slots, fences);
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
        return answer;
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

  async extend({ keys, owner }: LockClaim, fence: number, leaseMs: number): Promise<boolean> {
    const kept = await this.#eachSlot(keys, async (slot) =>
      this.#run(
        extendLocksScript,
        slot.flatMap(({ lock, fence: key }) => [lock, key]),
        [owner, leaseMs, leaseMs + fenceMs, fence],
        readFlag,
      ),
    );
    return kept.every((one) => one);
  }

  async release({ keys, owner }: LockClaim): Promise<boolean> {
    if (keys.length === 1) return (await this.#release(keys, owner, "")) === 1;
    const counts = await this.#eachSlot(keys, async (slot) => this.#release(slot, owner, ""));
    return counts.reduce((sum, count) => sum + count, 0) === keys.length;
  }

  async withdraw({ keys, owner }: LockClaim): Promise<void> {
    await this.#eachSlot(keys, async (slot) => this.#release(slot, owner, withdrawnLockMs));
  }

  close(): void {
    this.#stop();
  }

  async #takeSlot({ keys, owner, leaseMs, waits }: LockRequest): Promise<LockAnswer> {
    return this.#run(
      takeLocksScript,
      [keys[0]?.withdrawn ?? "", ...keys.flatMap(({ lock, fence }) => [lock, fence])],
      [owner, leaseMs, leaseMs + fenceMs, waits ? "1" : ""],
      readAnswer,
    );
  }

  async #release(slot: readonly LockKeys[], owner: string, noteMs: number | ""): Promise<number> {
    const locks = slot.map(({ lock }) => lock);
    const note = noteMs === "" ? [] : slot.slice(0, 1).map(({ withdrawn }) => withdrawn);
    const messages = locks.map((lock) => this.#channels.seal(lock));
    const args = [owner, this.#channel, noteMs, ...messages];
    return this.#run(releaseLocksScript, [...locks, ...note], args, readInteger);
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

  /** Calls of one turn are sent in one write. */
  #gather(): void {
    if (this.#gathers) return;
    this.#gathers = true;
    const corked = cork(this.#connection.client);
    process.nextTick(() => {
      this.#gathers = false;
      corked.release();
    });
  }

  async #run<T>(
    script: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
    read: (reply: unknown) => T,
  ): Promise<T> {
    const connection = this.#connection;
    if (!this.#breaker.enter()) throw new StoreFault("open");
    this.#gather();
    try {
      const value = await callWithin(
        this.#deadlineMs,
        connection,
        async () => read(await runScript(connection.client, script, keys, args)),
        "lock",
      );
      this.#breaker.succeed();
      return value;
    } catch (error) {
      const fault = faultOfError(error);
      if (fault.outage) this.#breaker.fail();
      else this.#breaker.succeed();
      if (this.#breaker.state === "open" && fault.reply === "READONLY") connection.leaveReplica();
      throw fault;
    }
  }
}

function tagOf(key: LockKeys | undefined): number {
  return Number(hashTag(key?.lock ?? ""));
}

function readAnswer(reply: unknown): LockAnswer {
  const [taken, number] = readListOf(reply, 2);
  return readFlag(taken) ? { fence: readInteger(number, 1) } : { waitMs: readInteger(number) };
}
