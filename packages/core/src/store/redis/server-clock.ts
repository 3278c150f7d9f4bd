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

/**
 * How far our wall clock is from Redis'. What is kept is Redis' time by our monotonic clock, so that a wall clock that
 * jumps is found out without asking again: also where every token is refused by it, so that nothing more is asked.
 */
export class ClockComparison {
  readonly #toleranceMs: number;
  /** Redis' time less that of our monotonic clock. */
  #offsetMs: number | undefined;
  /** How far the offset may be wrong: Redis read its clock at some time between our sending and our receiving. */
  #uncertaintyMs = 0;
  #comparedAt = Number.NEGATIVE_INFINITY;

  constructor(toleranceMs: number) {
    this.#toleranceMs = toleranceMs;
  }

  /** When the clocks were last compared, or are about to be; of {@link performance}. */
  get comparedAt(): number {
    return this.#comparedAt;
  }

  /** Notes that an answer is under way, so that nobody else asks. */
  begin(): void {
    this.#comparedAt = performance.now();
  }

  /** Notes what time it was for Redis after `sentAt`, of {@link performance}. */
  compare(sentAt: number, serverTimeMs: number): void {
    // What is no time says nothing of the clocks.
    if (!(serverTimeMs > 0)) return;
    const now = performance.now();
    this.#comparedAt = now;
    this.#offsetMs = serverTimeMs - (sentAt + now) / 2;
    this.#uncertaintyMs = (now - sentAt) / 2;
  }

  /** Are the clocks further apart than is forgiven, as far as is known? */
  differs(): boolean {
    if (this.#offsetMs === undefined) return false;
    const apartMs = Math.abs(Date.now() - performance.now() - this.#offsetMs);
    return apartMs > this.#toleranceMs + this.#uncertaintyMs;
  }
}
