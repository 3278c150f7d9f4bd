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
      // An outage is reported elsewhere. The last offset stays in use.
      this.#connection.unreadable?.("clock", error);
    }
  }
}

/**
 * Compares the wall clock of this process with Redis' time. Redis' time is kept relative to the monotonic clock, so
 * that a jump of the wall clock is detected without another question, even if every token is refused and nothing is
 * asked.
 */
export class ClockComparison {
  readonly #toleranceMs: number;
  /** Redis' time minus the monotonic clock. */
  #offsetMs: number | undefined;
  /** Maximum error of the offset: Redis has read its clock at some time between request and reply. */
  #uncertaintyMs = 0;
  #comparedAt = Number.NEGATIVE_INFINITY;

  constructor(toleranceMs: number) {
    this.#toleranceMs = toleranceMs;
  }

  /** The time of the last comparison, finished or in progress, by {@link performance}. */
  get comparedAt(): number {
    return this.#comparedAt;
  }

  /** Notes that a comparison is in progress. */
  begin(): void {
    this.#comparedAt = performance.now();
  }

  /** Notes Redis' time in the reply to a request that was sent at `sentAt`, by {@link performance}. */
  compare(sentAt: number, serverTimeMs: number): void {
    // A reply without a time says nothing about the clocks.
    if (!(serverTimeMs > 0)) return;
    const now = performance.now();
    this.#comparedAt = now;
    this.#offsetMs = serverTimeMs - (sentAt + now) / 2;
    this.#uncertaintyMs = (now - sentAt) / 2;
  }

  /** Do the clocks differ by more than the tolerance? False while that is unknown. */
  differs(): boolean {
    if (this.#offsetMs === undefined) return false;
    const apartMs = Math.abs(Date.now() - performance.now() - this.#offsetMs);
    return apartMs > this.#toleranceMs + this.#uncertaintyMs;
  }
}
