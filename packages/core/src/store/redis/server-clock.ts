import { monotonicNow } from "../../lib/real-timers.js";
import type { Connection } from "./connect.js";
import { readTime } from "./replies.js";

/** Interval of the questions for the time: clocks drift apart. */
const refreshMs = 60_000;

/** Redis' time, computed by the monotonic clock: processes with wrong wall clocks agree on the age of a value. */
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

  /** Unix milliseconds; by the clock of this process before the first connection. */
  now(): number {
    const now = monotonicNow();
    if (now - this.#askedAt > refreshMs && this.#connection.isUp()) void this.#ask();
    return this.#offsetMs === undefined ? Date.now() : now + this.#offsetMs;
  }

  close(): void {
    this.#stop();
  }

  async #ask(): Promise<void> {
    const sentAt = monotonicNow();
    this.#askedAt = sentAt;
    try {
      const theirs = readTime(await this.#connection.client.call("TIME"));
      this.#offsetMs = theirs - (sentAt + monotonicNow()) / 2;
    } catch (error) {
      // An outage is reported elsewhere. The last offset stays in use.
      this.#connection.unreadable?.("clock", error);
    }
  }
}
