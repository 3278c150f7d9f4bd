import type { BreakerControl } from "../../resilience/breaker.js";
import { Breaker } from "../../resilience/breaker.js";
import type { CacheEntry, CacheStore } from "../ports.js";
import { StoreFault } from "../ports.js";
import { Batcher } from "./batcher.js";
import { Telemetry } from "../../telemetry/telemetry.js";
import type { Connection } from "./connect.js";
import { callWithin } from "./deadline.js";

export interface RedisCacheStoreOptions {
  readonly connection: Connection;
  readonly deadlineMs: number;
  readonly telemetry?: Telemetry | undefined;
}

/** Keys of one MGET. */
const maxBatch = 256;

/** Cached values in Redis. All reads of a turn of the event loop, of all requests, are one MGET (one per slot in Cluster). */
export class RedisCacheStore implements CacheStore {
  readonly #connection: Connection;
  readonly #deadlineMs: number;
  readonly #breaker: Breaker;
  readonly #reads: Batcher<string, string | null>;

  constructor({ connection, deadlineMs, telemetry = new Telemetry() }: RedisCacheStoreOptions) {
    this.#breaker = new Breaker({ name: "redis.cache", telemetry });
    this.#connection = connection;
    this.#deadlineMs = deadlineMs;
    this.#reads = new Batcher({
      send: (keys) => this.#read(keys),
      breaker: this.#breaker,
      observe: (call) => telemetry.storeCalled({ store: "cache", ...call }),
      ready: connection.hasConnected,
      deadlineMs,
      maxBatch,
    });
    connection.onConnect(() => {
      this.#breaker.hasten();
      this.#reads.wake();
    });
  }

  async getMany(keys: readonly string[]): Promise<(string | undefined)[]> {
    const values = await Promise.all(keys.map(async (key) => this.#reads.ask(key)));
    return values.map((value) => {
      if (value instanceof StoreFault) throw value;
      return value ?? undefined;
    });
  }

  async setMany(entries: readonly CacheEntry[]): Promise<void> {
    await this.#write(entries, ({ key, value, ttlMs }) =>
      this.#connection.client.call("SET", key, value, "PX", Math.ceil(ttlMs)),
    );
  }

  async deleteMany(keys: readonly string[]): Promise<void> {
    await this.#write(keys, (key) => this.#connection.client.call("DEL", key));
  }

  get breakers(): readonly BreakerControl[] {
    return [this.#breaker];
  }

  close(): void {
    this.#reads.close();
  }

  #read(keys: readonly string[]): Promise<(string | null)[]> {
    const { client, isCluster } = this.#connection;
    return isCluster ? readAcrossSlots(client, keys) : readTogether(client, keys);
  }

  async #write<T>(items: readonly T[], write: (item: T) => Promise<unknown>): Promise<void> {
    if (this.#breaker.state === "open") throw new StoreFault("open");
    await callWithin(this.#deadlineMs, this.#connection, () => Promise.all(items.map(write)));
  }
}

async function readTogether(client: Connection["client"], keys: readonly string[]): Promise<(string | null)[]> {
  return (await client.call("MGET", ...keys)) as (string | null)[];
}

/** One MGET for each hash tag of ours. */
async function readAcrossSlots(client: Connection["client"], keys: readonly string[]): Promise<(string | null)[]> {
  const slots = new Map<string, string[]>();
  for (const key of keys) {
    const tag = /\{([^}]*)\}/.exec(key)?.[1] ?? key;
    const slot = slots.get(tag);
    if (slot === undefined) slots.set(tag, [key]);
    else slot.push(key);
  }
  const values = new Map<string, string | null>();
  await Promise.all(
    [...slots.values()].map(async (slotKeys) => {
      const found = await readTogether(client, slotKeys);
      slotKeys.forEach((key, index) => values.set(key, found[index] ?? null));
    }),
  );
  return keys.map((key) => values.get(key) ?? null);
}
