import { LRUCache } from "lru-cache";
import type { Keyspace } from "../store/keyspace.js";
import type { TopKeysPart, LimitOverrides } from "../store/ports/limit-overrides.js";

/** Clients counted at once for one policy; the busiest stay. */
const maxClients = 256;
/** Clients compared to find a quiet one to evict. */
const sampleSize = 8;
/** Of so many requests of clients that are not in a full table, one brings its client into it. */
const strangersForOne = 8;
/** Clients of one policy in one report. */
const maxReported = 50;
const intervalMs = 5000;
/** Clients whose addresses or principals are kept in this process. */
const maxNames = 2000;

/** A client of one policy and its requests. */
export interface TopKey {
  readonly partition: string;
  /** The address or principal of the client; it never leaves this process. */
  readonly key: string | undefined;
  readonly points: number;
}

interface TableEntry extends TopKey {
  points: number;
  slot: number;
}

/** Counts the requests of each client of one policy since the last report. Bounded; O(1) a request. */
export class TopKeysTable {
  readonly #byPartition = new Map<string, TableEntry>();
  #clients: TableEntry[] = [];
  /** Requests of clients that were not in the full table. */
  #strangers = 0;

  /** False for a client that is not in the table yet. */
  add(partition: string, points: number): boolean {
    const known = this.#byPartition.get(partition);
    if (known === undefined) return false;
    known.points += points;
    return true;
  }

  insert({ partition, key, points }: TopKey): void {
    const isFull = this.#clients.length >= maxClients;
    // Clients with few requests would only evict each other. A busy one is soon drawn.
    if (isFull && (this.#strangers += 1) % strangersForOne !== 0) return;
    const slot = isFull ? this.#evictOne() : this.#clients.length;
    const client = { partition, key, points, slot };
    this.#clients[slot] = client;
    this.#byPartition.set(partition, client);
  }

  /** Returns the busiest clients, busiest first, and empties the table. */
  take(): readonly TopKey[] {
    const clients = this.#clients;
    this.#clients = [];
    this.#byPartition.clear();
    return clients.sort((one, other) => other.points - one.points).slice(0, maxReported);
  }

  /** Evicts the quietest of a few random clients. */
  #evictOne(): number {
    let least: TableEntry | undefined;
    for (let drawn = 0; drawn < sampleSize; drawn += 1) {
      const client = this.#clients[Math.floor(Math.random() * this.#clients.length)];
      if (client !== undefined && (least === undefined || client.points < least.points)) least = client;
    }
    if (least !== undefined) this.#byPartition.delete(least.partition);
    return least?.slot ?? 0;
  }
}

/** Reports the busiest clients of this process to the store from time to time, beside the requests. */
export class TopKeysReporter {
  readonly #records: LimitOverrides;
  readonly #keyspace: Keyspace;
  readonly #tables = new Map<string, TopKeysTable>();
  readonly #names = new LRUCache<string, string>({ max: maxNames });
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(records: LimitOverrides, keyspace: Keyspace) {
    this.#records = records;
    this.#keyspace = keyspace;
  }

  /** Counts a request; false for a client that must be introduced first. */
  add(policy: string, partition: string, points: number): boolean {
    return this.#tables.get(policy)?.add(partition, points) === true;
  }

  introduce(policy: string, client: TopKey): void {
    if (this.#closed) return;
    let table = this.#tables.get(policy);
    if (table === undefined) {
      table = new TopKeysTable();
      this.#tables.set(policy, table);
    }
    table.insert(client);
    this.#timer ??= setTimeout(() => this.#report(), intervalMs).unref();
  }

  /** The address or principal of a client; undefined if it was not among the busiest of this process. */
  keyOf(policy: string, partition: string): string | undefined {
    return this.#names.get(`${policy}:${partition}`);
  }

  /** The busiest clients of all processes. Rejects with a StoreFault. */
  async busiest(policy: string, limit: number): Promise<readonly TopKeysPart[]> {
    await this.#flush(policy);
    return this.#records.readTopKeys(this.#keyspace.topKeys(policy), limit);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #report(): void {
    this.#timer = undefined;
    if (this.#closed) return;
    // A report that fails is lost: it decides nothing.
    for (const policy of this.#tables.keys()) this.#flush(policy).catch(() => undefined);
  }

  async #flush(policy: string): Promise<void> {
    const clients = this.#tables.get(policy)?.take() ?? [];
    for (const { partition, key } of clients) if (key !== undefined) this.#names.set(`${policy}:${partition}`, key);
    const counts = clients.filter(({ points }) => points > 0);
    if (counts.length > 0) await this.#records.addTopKeys(this.#keyspace.topKeys(policy), counts);
  }
}
