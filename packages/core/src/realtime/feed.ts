import type { Channels } from "../store/ports/channels.js";
import type { MessageReader, Subscriber } from "./subscribers.js";
import { Subscribers } from "./subscribers.js";
import { monotonicNow } from "../lib/real-timers.js";

/** Brings the messages of one channel to its subscribers in this process. */
export interface Feed<T> {
  readonly size: number;
  add(subscriber: Subscriber<T>): void;
  delete(subscriber: Subscriber<T>): void;
  /** The id up to which a subscriber has got every message; undefined if it is not known. */
  positionOf(subscriber: Subscriber<T>): string | undefined;
  /** Called every second while there are subscribers. */
  tick(): void;
}

/** A process whose listening connection was not heard from for so long does not receive. */
export const aliveMs = 3000;

export interface LiveFeedOptions<T> {
  readonly channel: string;
  readonly channels: Channels;
  readonly reader: MessageReader<T>;
}

/** The feed of a channel that keeps no messages. */
export class LiveFeed<T> implements Feed<T> {
  readonly #options: LiveFeedOptions<T>;
  readonly #subscribers = new Subscribers<T>();
  #stopListening: (() => void) | undefined;
  /** When the subscription in the store last began; undefined before the first time. */
  #begunAt: number | undefined;
  /** Has it been alive for a while? A Cluster reports a gap for each node at the begin. */
  #settled = false;

  constructor(options: LiveFeedOptions<T>) {
    this.#options = options;
  }

  get size(): number {
    return this.#subscribers.size;
  }

  add(subscriber: Subscriber<T>): void {
    const { channel, channels, reader } = this.#options;
    this.#subscribers.add(subscriber);
    if (this.#receives()) subscriber.markReady();
    this.#stopListening ??= channels.subscribe(
      channel,
      (body, own) => {
        const received = reader.read(body, own);
        if (received !== undefined) this.#subscribers.dispatch(received);
      },
      () => this.#reportGap(),
    );
  }

  delete(subscriber: Subscriber<T>): void {
    this.#subscribers.delete(subscriber);
    if (this.size > 0) return;
    this.#stopListening?.();
    this.#stopListening = undefined;
    this.#begunAt = undefined;
    this.#settled = false;
  }

  positionOf(): undefined {
    return undefined;
  }

  tick(): void {
    const isAlive = this.#options.channels.isAlive(aliveMs);
    this.#settled ||= this.#begunAt !== undefined && isAlive;
    for (const subscriber of this.#subscribers.all()) {
      subscriber.reportState(!isAlive);
      if (this.#receives()) subscriber.markReady();
    }
  }

  /** The heartbeat proves it only some time after the begin. */
  #receives(): boolean {
    if (this.#begunAt === undefined) return false;
    return monotonicNow() - this.#begunAt <= aliveMs || this.#options.channels.isAlive(aliveMs);
  }

  /** The subscription has begun, or has begun anew. */
  #reportGap(): void {
    this.#begunAt = monotonicNow();
    for (const subscriber of this.#subscribers.all()) {
      if (this.#settled) subscriber.reportGap("missed");
      subscriber.markReady();
    }
  }
}
