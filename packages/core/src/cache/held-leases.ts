import type { CacheStore } from "../store/ports/cache.js";

/** How long closing waits for the store: with the other good-byes less than the second that closing may take. */
const goodbyeMs = 250;

/** A lease that this process holds, while it makes a value. */
interface HeldLease {
  readonly key: string;
  readonly owner: string;
}

/** The leases of a process, so that they end with it: whoever waits for one would wait until it runs out. */
export class HeldLeases {
  readonly #store: CacheStore;
  readonly #held = new Set<HeldLease>();
  #closing: Promise<void> | undefined;

  constructor(store: CacheStore) {
    this.#store = store;
  }

  /** Returns what to call when the lease has ended otherwise. */
  add(lease: HeldLease): () => void {
    this.#held.add(lease);
    return () => void this.#held.delete(lease);
  }

  /** Ends all, as if their values could not be made: one of those who wait takes over. The store must not be closed. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    if (this.#held.size === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, goodbyeMs)));
    const ends = Array.from(this.#held, async ({ key, owner }) =>
      this.#store.settle(key, owner, { outcome: "failed" }),
    );
    await Promise.race([Promise.allSettled(ends), late]);
    clearTimeout(timer);
  }
}
