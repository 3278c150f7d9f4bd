import type { CacheStore } from "../store/ports/cache.js";
import { withdrawnMs } from "../store/ports/cache.js";
import { RetryQueue } from "./invalidation-retries.js";

/** Gives back leases that this process does not use, or cannot: whoever waits for them would wait until they run out. */
export class LeaseReleases {
  readonly #store: CacheStore;
  readonly #retries = new RetryQueue();

  constructor(store: CacheStore) {
    this.#store = store;
  }

  /**
   * Does nothing to a lease of another owner. One of those who wait then takes over. A lease that this overtakes, on a newer
   * connection than its request, is not given any more.
   */
  giveBack(key: string, owner: string): void {
    const attempt = (): Promise<unknown> => this.#store.withdraw(key, owner);
    attempt().catch(() => this.#retries.add(owner, attempt, withdrawnMs));
  }

  close(): void {
    this.#retries.close();
  }
}
