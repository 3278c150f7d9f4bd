import { GrowingLru } from "../lib/growing-lru.js";

/** The number of tags whose last purge is remembered. */
const maxTags = 10_000;

/** The last purges of tags, numbered in their order. A purge that was forgotten counts for every tag. */
export class PurgeLog {
  readonly #last = new GrowingLru<string, number>({
    max: maxTags,
    dispose: (purge, _key, reason) => {
      if (reason === "evict") this.#lastForgotten = purge;
    },
  });
  #count = 0;
  #lastForgotten = 0;

  /** The number of the last purge of any tag. */
  get count(): number {
    return this.#count;
  }

  /** Notes a purge of the tag with this key. */
  note(key: string): void {
    this.#last.set(key, (this.#count += 1));
  }

  /** Notes a purge of every tag. */
  noteAll(): void {
    this.#last.clear();
    this.#lastForgotten = this.#count += 1;
  }

  /** The number of the last purge of the tag with this key; 0 for none. */
  lastOf(key: string): number {
    return this.#count === 0 ? 0 : (this.#last.peek(key) ?? this.#lastForgotten);
  }
}
