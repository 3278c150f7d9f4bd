import { GrowingLru } from "../lib/growing-lru.js";
import type { Keyspace } from "../store/keyspace.js";
import type { TopKeysPart, LimitOverrides } from "../store/ports/limit-overrides.js";
import { clearTimeout, setTimeout } from "../lib/real-timers.js";

/** Clients counted at once for one policy; the busiest stay. */
const maxClients = 256;
/** Clients compared to find a quiet one to evict. */
const sampleSize = 8;
/** Requests of clients that are not in a full table, of which one brings its client into it. */
const strangersForOne = 32;
/** Clients of one policy in one report. */
const maxReported = 50;
const intervalMs = 5000;
/** Clients whose addresses or principals are kept in this process. */
const maxNames = 2000;

/** A client of one policy and its requests. */
export interface TopKey {
  readonly partition: string;
  /** The address or principal of the client; it never leaves this process. */
  readonly client: string | undefined;
  readonly points: number;
}

/** A client in a table. */
export interface TopKeyEntry extends TopKey {
  client: string | undefined;
  points: number;
  /** Its place in the table; below 0 if it is not there. */
  place: number;
}

/** Counts the requests of each client of one policy since the last report. Bounded; O(1) a request. */
export class TopKeysTable {
  readonly #byPartition = new Map<string, TopKeyEntry>();
  #clients: TopKeyEntry[] = [];
  /** Requests of clients that were not in the full table. */
  #strangers = 0;

  /**
   * Does it count a client that may not be in the table? Clients with few requests would only evict each other from a full
   * table, so it counts few of their requests. A busy client is soon in the table.
   */
  admits(): boolean {
    return this.#clients.length < maxClients || (this.#strangers += 1) % strangersForOne === 0;
  }

  /** Counts the points of a client, and returns it; undefined for a client that is not in the table yet. */
  add(partition: string, points: number): TopKeyEntry | undefined {
    const known = this.#byPartition.get(partition);
    if (known !== undefined) known.points += points;
    return known;
  }

  insert(client: TopKeyEntry): void {
    client.place = this.#clients.length < maxClients ? this.#clients.length : this.#evictOne();
    this.#clients[client.place] = client;
    this.#byPartition.set(client.partition, client);
  }

  /** Returns the busiest clients, busiest first, and empties the table. */
  take(): readonly TopKey[] {
    const clients = this.#clients;
    this.#clients = [];
    this.#byPartition.clear();
    for (const client of clients) client.place = -1;
    const busiest = clients.sort((one, other) => other.points - one.points).slice(0, maxReported);
    // The entries may count on, in the next table.
    return busiest.map(({ partition, client, points }) => ({ partition, client, points }));
  }

  /** Evicts the quietest of a few random clients. */
  #evictOne(): number {
    let least: TopKeyEntry | undefined;
    for (let drawn = 0; drawn < sampleSize; drawn += 1) {
      const client = this.#clients[Math.floor(Math.random() * this.#clients.length)];
      if (client !== undefined && (least === undefined || client.points < least.points)) least = client;
    }
    if (least === undefined) return 0;
    const { place } = least;
    least.place = -1;
    this.#byPartition.delete(least.partition);
    return place;
  }
}

/** Reports the busiest clients of this process to the store from time to time, beside the requests. */
export class TopKeysReporter {
  readonly #records: LimitOverrides;
  readonly #keyspace: Keyspace;
  readonly #tables = new Map<string, TopKeysTable>();
  readonly #names = new GrowingLru<string, string>({ max: maxNames });
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(records: LimitOverrides, keyspace: Keyspace) {
    this.#records = records;
    this.#keyspace = keyspace;
  }

  /** The table of a policy, which stays the same. */
  tableOf(policy: string): TopKeysTable {
    let table = this.#tables.get(policy);
    if (table === undefined) {
      table = new TopKeysTable();
      this.#tables.set(policy, table);
    }
    return table;
  }

  /** Brings a client into the table of its policy, unless this is closed. */
  introduce(policy: string, client: TopKeyEntry): void {
    if (this.#closed) return;
    this.tableOf(policy).insert(client);
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
    for (const { partition, client } of clients)
      if (client !== undefined) this.#names.set(`${policy}:${partition}`, client);
    const counts = clients.filter(({ points }) => points > 0);
    if (counts.length > 0) await this.#records.addTopKeys(this.#keyspace.topKeys(policy), counts);
  }
}
