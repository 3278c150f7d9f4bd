/** An entry of a {@link FairTable}. */
export interface FairEntry {
  readonly key: string;
  /** Milliseconds of the table's clock; from then on it may go. */
  expiresAt: number;
  /** Its place in the table, which alone writes it. */
  slot: number;
}

export interface FairTableOptions<Entry> {
  readonly now: () => number;
  readonly capacity: number;
  /** What it costs to forget an entry; undefined for one that must not be forgotten while it lives. */
  readonly weigh: (entry: Entry) => number | undefined;
  readonly random?: () => number;
}

/** Entries looked at to find one that may be forgotten; and the rounds of that. */
const sample = 16;
const rounds = 4;

/**
 * Entries by key, bounded, without timers, O(1) for each call. When it is full, the lightest of a random sample makes room,
 * never one that must stay: so a flood of new keys pushes out the flood.
 */
export class FairTable<Entry extends FairEntry> {
  readonly #options: FairTableOptions<Entry>;
  readonly #entries = new Map<string, Entry>();
  /** The same entries by position, to draw a random one. */
  readonly #slots: Entry[] = [];
  #hand = 0;

  constructor(options: FairTableOptions<Entry>) {
    this.#options = options;
  }

  get size(): number {
    return this.#slots.length;
  }

  /** A live entry. */
  get(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    return entry !== undefined && entry.expiresAt > this.#options.now() ? entry : undefined;
  }

  /** In place of what has this key. False if there is no room, because everything else must stay. */
  set(entry: Entry): boolean {
    const old = this.#entries.get(entry.key);
    if (old !== undefined) this.#remove(old);
    this.#sweep();
    if (this.#slots.length >= this.#options.capacity && !this.#makeRoom()) return false;
    entry.slot = this.#slots.length;
    this.#slots.push(entry);
    this.#entries.set(entry.key, entry);
    return true;
  }

  delete(key: string): void {
    const entry = this.#entries.get(key);
    if (entry !== undefined) this.#remove(entry);
  }

  /** Two steps of a clock hand for each addition: what has expired goes away without a timer. */
  #sweep(): void {
    const now = this.#options.now();
    for (let step = 0; step < 2 && this.#slots.length > 0; step += 1) {
      this.#hand = (this.#hand + 1) % this.#slots.length;
      const entry = this.#slots[this.#hand];
      if (entry !== undefined && entry.expiresAt <= now) this.#remove(entry);
    }
  }

  #makeRoom(): boolean {
    const { now, weigh, random = Math.random } = this.#options;
    let lightest: Entry | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (let drawn = 0; drawn < sample * rounds; drawn += 1) {
      if (drawn >= sample && lightest !== undefined) break;
      const entry = this.#slots[Math.floor(random() * this.#slots.length)];
      if (entry === undefined) continue;
      const weight = entry.expiresAt <= now() ? -1 : weigh(entry);
      if (weight === undefined || weight >= least) continue;
      [lightest, least] = [entry, weight];
    }
    if (lightest === undefined) return false;
    this.#remove(lightest);
    return true;
  }

  #remove(entry: Entry): void {
    this.#entries.delete(entry.key);
    const last = this.#slots.pop();
    if (last === undefined || last === entry) return;
    last.slot = entry.slot;
    this.#slots[entry.slot] = last;
  }
}
