import { LRUCache } from "lru-cache";
import type { Keyspace } from "../store/keyspace.js";
import type { TopKeysPart, LimitOverrides } from "../store/ports/limit-overrides.js";

/** Clients counted at once for one policy: those that ask most stay. */
const capacity = 256;
/** Looked at to find one that asks little. */
const sample = 8;
/** Clients of one policy that are told to the others at a time. */
const told = 50;
const intervalMs = 5000;
/** Clients whose names are remembered in this process. */
const remembered = 2000;

/** A client who asks, under one policy. */
export interface TopKey {
  readonly partition: string;
  /** What the application knows it as; never leaves this process. */
  readonly key: string | undefined;
  readonly points: number;
}

interface Counted extends TopKey {
  points: number;
  slot: number;
}

/** How much the clients of one policy have asked for since the last time; bounded, O(1) a request. */
export class TopKeysTable {
  readonly #byPartition = new Map<string, Counted>();
  #askers: Counted[] = [];

  /** False for a client that must be introduced first. */
  add(partition: string, points: number): boolean {
    const known = this.#byPartition.get(partition);
    if (known === undefined) return false;
    known.points += points;
    return true;
  }

  introduce({ partition, key, points }: TopKey): void {
    const slot = this.#askers.length < capacity ? this.#askers.length : this.#forgetOne();
    const asker = { partition, key, points, slot };
    this.#askers[slot] = asker;
    this.#byPartition.set(partition, asker);
  }

  /** Those that asked most, the most first; it begins anew. */
  take(): readonly TopKey[] {
    const askers = this.#askers;
    this.#askers = [];
    this.#byPartition.clear();
    return askers.sort((one, other) => other.points - one.points).slice(0, told);
  }

  /** The least of a random few makes room. */
  #forgetOne(): number {
    let least: Counted | undefined;
    for (let drawn = 0; drawn < sample; drawn += 1) {
      const asker = this.#askers[Math.floor(Math.random() * this.#askers.length)];
      if (asker !== undefined && (least === undefined || asker.points < least.points)) least = asker;
    }
    if (least !== undefined) this.#byPartition.delete(least.partition);
    return least?.slot ?? 0;
  }
}

/** Tells the other processes now and then who asked most here; never on the way of a request. */
export class TopKeysReporter {
  readonly #records: LimitOverrides;
  readonly #keys: Keyspace;
  readonly #tables = new Map<string, TopKeysTable>();
  readonly #known = new LRUCache<string, string>({ max: remembered });
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(records: LimitOverrides, keys: Keyspace) {
    this.#records = records;
    this.#keys = keys;
  }

  /** Notes what a known client asks for; false for one that must be introduced. */
  add(policy: string, partition: string, points: number): boolean {
    return this.#tables.get(policy)?.add(partition, points) === true;
  }

  introduce(policy: string, asker: TopKey): void {
    if (this.#closed) return;
    let table = this.#tables.get(policy);
    if (table === undefined) {
      table = new TopKeysTable();
      this.#tables.set(policy, table);
    }
    table.introduce(asker);
    this.#timer ??= setTimeout(() => this.#report(), intervalMs).unref();
  }

  /** What this process knows a client as; undefined if it has not seen it among those that ask most. */
  keyOf(policy: string, partition: string): string | undefined {
    return this.#known.get(`${policy}:${partition}`);
  }

  /** Rejects with a StoreFault. */
  async busiest(policy: string, most: number): Promise<readonly TopKeysPart[]> {
    await this.#tell(policy);
    return this.#records.readDemand(this.#keys.demand(policy), most);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #report(): void {
    this.#timer = undefined;
    if (this.#closed) return;
    // What cannot be told is lost: it says who was busy, and decides nothing.
    for (const policy of this.#tables.keys()) this.#tell(policy).catch(() => undefined);
  }

  async #tell(policy: string): Promise<void> {
    const askers = this.#tables.get(policy)?.take() ?? [];
    for (const { partition, key } of askers) if (key !== undefined) this.#known.set(`${policy}:${partition}`, key);
    const demands = askers.filter(({ points }) => points > 0);
    if (demands.length > 0) await this.#records.addDemand(this.#keys.demand(policy), demands);
  }
}
