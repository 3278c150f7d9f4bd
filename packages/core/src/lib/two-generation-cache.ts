export interface TwoGenerationCacheOptions<Value> {
  /** Maximum number of entries. The cache keeps at least the last half of it. */
  readonly max: number;
  /** Maximum weight of all entries. @default unlimited */
  readonly maxWeight?: number | undefined;
  /** The weight of one entry. @default 0 */
  readonly weightOf?: ((value: Value) => number) | undefined;
}

/**
 * A bounded cache for the path of every request. It approximates "least recently used" by two generations, as hashlru and
 * quick-lru do: entries that are used move to the young generation, and when that is full, the old one is dropped. A use
 * costs one look-up; the moves within the list of an exact LRU cache cost several times as much.
 */
export class TwoGenerationCache<Key, Value> {
  readonly #maxYoung: number;
  readonly #maxYoungWeight: number;
  readonly #weightOf: ((value: Value) => number) | undefined;
  #young = new Map<Key, Value>();
  #old = new Map<Key, Value>();
  #weight = 0;

  constructor({ max, maxWeight = Number.POSITIVE_INFINITY, weightOf }: TwoGenerationCacheOptions<Value>) {
    // A generation of a cache for one entry would be empty.
    this.#maxYoung = Math.max(1, Math.floor(max / 2));
    this.#maxYoungWeight = maxWeight / 2;
    this.#weightOf = weightOf;
  }

  /** The number of entries. */
  get size(): number {
    let size = this.#young.size;
    for (const key of this.#old.keys()) if (!this.#young.has(key)) size += 1;
    return size;
  }

  get isEmpty(): boolean {
    return this.#young.size === 0 && this.#old.size === 0;
  }

  get(key: Key): Value | undefined {
    const value = this.#young.get(key);
    if (value !== undefined || this.#old.size === 0) return value;
    const old = this.#old.get(key);
    if (old !== undefined) this.set(key, old);
    return old;
  }

  set(key: Key, value: Value): void {
    const weight = this.#weightOf?.(value) ?? 0;
    if (weight > this.#maxYoungWeight) {
      this.delete(key);
      return;
    }
    const former = this.#young.get(key);
    if (former === undefined) {
      if (this.#young.size >= this.#maxYoung || this.#weight + weight > this.#maxYoungWeight) this.#turn();
    } else this.#weight -= this.#weightOf?.(former) ?? 0;
    this.#weight += weight;
    this.#young.set(key, value);
  }

  delete(key: Key): void {
    const young = this.#young.get(key);
    if (young !== undefined) this.#weight -= this.#weightOf?.(young) ?? 0;
    this.#young.delete(key);
    this.#old.delete(key);
  }

  clear(): void {
    this.#young.clear();
    this.#old.clear();
    this.#weight = 0;
  }

  #turn(): void {
    this.#old = this.#young;
    this.#young = new Map();
    this.#weight = 0;
  }
}
