import type { Connection } from "./connect.js";
import { readTime } from "./replies.js";

/** After this long clocks may be apart by more than a cached value cares about. */
const refreshMs = 60_000;

/** What time it is for Redis, by a monotonic clock of ours: processes with wrong clocks agree on how old a value is. */
export class ServerClock {
  readonly #connection: Connection;
  readonly #stop: () => void;
  #offsetMs: number | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;

  constructor(connection: Connection) {
    this.#connection = connection;
    this.#stop = connection.onConnect(() => void this.#ask());
    if (connection.isUp()) void this.#ask();
  }

  /** Unix milliseconds; by our own clock before the first connection. */
  now(): number {
    const now = performance.now();
    if (now - this.#askedAt > refreshMs && this.#connection.isUp()) void this.#ask();
    return this.#offsetMs === undefined ? Date.now() : now + this.#offsetMs;
  }

  close(): void {
    this.#stop();
  }

  async #ask(): Promise<void> {
    const sentAt = performance.now();
    this.#askedAt = sentAt;
    try {
      const theirs = readTime(await this.#connection.client.call("TIME"));
      this.#offsetMs = theirs - (sentAt + performance.now()) / 2;
    } catch (error) {
      // An outage is noticed and reported by others; the last offset still holds.
      this.#connection.unreadable?.("clock", error);
    }
  }
}
