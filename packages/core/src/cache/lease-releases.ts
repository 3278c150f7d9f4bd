import type { CacheStore } from "../store/cache-store.js";
import { Retries } from "./retries.js";

/** A command that was on its way when Redis stood still may run when it goes on, and only then does the lease begin. */
const repeatForMs = 60_000;

/** Gives back leases that this process does not use, or cannot: whoever waits for them would wait until they run out. */
export class LeaseReleases {
  readonly #store: CacheStore;
  readonly #retries = new Retries();

  constructor(store: CacheStore) {
    this.#store = store;
  }

  /** Does nothing to a lease of another owner. One of those who wait then takes over. */
  giveBack(key: string, owner: string): void {
    const attempt = (): Promise<unknown> => this.#store.settle(key, owner, { outcome: "failed" });
    attempt().catch(() => this.#retries.add(owner, attempt, repeatForMs));
  }

  close(): void {
    this.#retries.close();
  }
}
