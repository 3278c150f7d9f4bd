import { LRUCache } from "lru-cache";

type Options<Key extends object | string, Value extends object | string | number | boolean> = Omit<
  LRUCache.OptionsSizeLimit<Key, Value, unknown>,
  "maxSize" | "sizeCalculation"
> & {
  /** Maximum number of entries. */
  readonly max: number;
  /** Maximum size of all entries. @default unlimited */
  readonly maxSize?: number | undefined;
  /** The size of an entry. Needs `maxSize`. */
  readonly sizeCalculation?: LRUCache.SizeCalculator<Key, Value> | undefined;
};

/**
 * An LRU cache whose memory grows with its entries. A cache of lru-cache with `max` makes room for all of them at once, which
 * takes 0.2 us and 30 bytes for each: a gate with its dozen caches took 30 ms to make. Bounded by size it grows, so that the
 * number of entries is a size here.
 */
export class GrowingLru<Key extends object | string, Value extends object | string | number | boolean> extends LRUCache<
  Key,
  Value
> {
  readonly #most: number;

  constructor({ max, maxSize, sizeCalculation, ...options }: Options<Key, Value>) {
    super(
      maxSize === undefined || sizeCalculation === undefined
        ? { ...options, maxSize: max, sizeCalculation: () => 1 }
        : { ...options, maxSize, sizeCalculation },
    );
    this.#most = max;
  }

  override set(key: Key, value: Value | undefined, options?: LRUCache.SetOptions<Key, Value, unknown>): this {
    super.set(key, value, options);
    while (this.size > this.#most) this.pop();
    return this;
  }
}
