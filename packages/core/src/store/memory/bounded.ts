/** The part of an entry that a bounded table uses. */
export interface Entry {
  readonly key: string;
  /** The end of the entry, in milliseconds of the store's clock. */
  endsAt: number;
  /** Consumption of the entry; the lowest weight is dropped first. */
  weight: number;
  /** At or above this weight the entry refuses requests, and is not dropped before its end. */
  pinnedFrom: number;
  /** An owner may fill only a share of the table; undefined is no owner. */
  readonly owner: string | undefined;
  position: number;
  ownerPosition: number;
}

export interface BoundedTableOptions {
  readonly now: () => number;
  readonly capacity: number;
  readonly random?: (() => number) | undefined;
}

/** Random entries of one round in the search for an entry to drop, and the maximum number of rounds. */
const sample = 16;
const rounds = 4;
/** An owner may hold one eighth of the table. */
const shares = 8;

/**
 * A bounded table of entries by key, without timers, O(1) for each call. A full table drops the entry with the lowest
 * weight of a random sample, and never one that refuses. So a flood of new keys drops its own entries: it neither frees
 * a client that is over the limit, nor refuses one that is not. An owner with a full share drops one of its own
 * entries.
 */
export class BoundedTable<E extends Entry> {
  readonly #now: () => number;
  readonly #capacity: number;
  readonly #share: number;
  readonly #random: () => number;
  readonly #entries = new Map<string, E>();
  /** The same entries in a list, to draw a random one. */
  readonly #list: E[] = [];
  readonly #owned = new Map<string, E[]>();
  #hand = 0;

  constructor({ now, capacity, random = Math.random }: BoundedTableOptions) {
    this.#now = now;
    this.#capacity = capacity;
    this.#share = Math.max(1, Math.floor(capacity / shares));
    this.#random = random;
  }

  get size(): number {
    return this.#list.length;
  }

  get(key: string): E | undefined {
    return this.#entries.get(key);
  }

  /**
   * Adds an entry. Returns false if no other entry may be dropped. With `force`, an entry that refuses is dropped if
   * there is no other: for counters where an uncounted request is worse than a client that is freed too early.
   */
  add(entry: E, force = false): boolean {
    this.#sweep();
    const owned = entry.owner === undefined ? undefined : this.#owned.get(entry.owner);
    if (owned !== undefined && owned.length >= this.#share) {
      if (!this.#makeRoom(owned, force)) return false;
    } else if (this.#list.length >= this.#capacity && !this.#makeRoom(this.#list, force)) {
      return false;
    }
    entry.position = this.#list.length;
    this.#list.push(entry);
    this.#entries.set(entry.key, entry);
    if (entry.owner !== undefined) this.#own(entry, entry.owner);
    return true;
  }

  remove(entry: E): void {
    this.#entries.delete(entry.key);
    const last = this.#list.pop();
    if (last !== undefined && last !== entry) {
      last.position = entry.position;
      this.#list[entry.position] = last;
    }
    if (entry.owner !== undefined) this.#disown(entry, entry.owner);
  }

  #own(entry: E, owner: string): void {
    const owned = this.#owned.get(owner);
    entry.ownerPosition = owned?.length ?? 0;
    if (owned === undefined) this.#owned.set(owner, [entry]);
    else owned.push(entry);
  }

  #disown(entry: E, owner: string): void {
    const owned = this.#owned.get(owner);
    const last = owned?.pop();
    if (owned === undefined || last === undefined) return;
    if (last !== entry) {
      last.ownerPosition = entry.ownerPosition;
      owned[entry.ownerPosition] = last;
    }
    if (owned.length === 0) this.#owned.delete(owner);
  }

  /** Drops ended entries without a timer: two steps of a clock hand for each addition. */
  #sweep(): void {
    const now = this.#now();
    for (let step = 0; step < 2 && this.#list.length > 0; step += 1) {
      this.#hand = (this.#hand + 1) % this.#list.length;
      const entry = this.#list[this.#hand];
      if (entry !== undefined && entry.endsAt <= now) this.remove(entry);
    }
  }

  #makeRoom(among: readonly E[], force: boolean): boolean {
    const now = this.#now();
    let least: E | undefined;
    let soonest: E | undefined;
    for (let drawn = 0; drawn < sample * rounds; drawn += 1) {
      if (drawn >= sample && least !== undefined) break;
      const entry = among[Math.floor(this.#random() * among.length)];
      if (entry === undefined) continue;
      const ended = entry.endsAt <= now;
      if (!ended && entry.weight >= entry.pinnedFrom) {
        if (force && (soonest === undefined || entry.endsAt < soonest.endsAt)) soonest = entry;
        continue;
      }
      if (least === undefined || ended || entry.weight < least.weight) least = entry;
      if (ended) break;
    }
    least ??= soonest;
    if (least === undefined) return false;
    this.remove(least);
    return true;
  }
}
