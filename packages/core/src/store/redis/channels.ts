import type { LRUCache } from "lru-cache";
import { GrowingLru } from "../../lib/growing-lru.js";
import type { Logger } from "../../telemetry/logger.js";
import type { ChannelListener, Channels, MessageOutcome } from "../ports/channels.js";
import { Listeners, Sender, checkChannel, checkMessage, maxMessageBytes, openEnvelope } from "../ports/channels.js";
import type { Keyspace } from "../keyspace.js";
import type { Connection } from "./connect.js";
import { callWithin } from "./connect.js";
import type { Tracking } from "./tracking.js";
import { queueMicrotask } from "../../lib/real-timers.js";

export interface RedisChannelsOptions {
  readonly connection: Connection;
  readonly tracking: Tracking;
  readonly keys: Keyspace;
  readonly deadlineMs: number;
  readonly logger: Logger;
  readonly observe?: ((outcome: MessageOutcome) => void) | undefined;
}

/** Maximum size of an envelope. */
const maxBytes = maxMessageBytes + 64;

/**
 * Channels in Redis, received on the connections of {@link Tracking}. In a Cluster a message reaches every node and is
 * received from each master; second copies are dropped. So no message is lost if a link between two nodes fails.
 */
export class RedisChannels implements Channels {
  readonly #options: RedisChannelsOptions;
  readonly #sender = new Sender();
  readonly #listeners = new Listeners();
  /** Functions that unsubscribe, by channel. */
  readonly #stops = new Map<string, () => void>();
  /** The ids of received messages; undefined if there are no second copies. */
  #seen: LRUCache<string, true> | undefined;

  constructor(options: RedisChannelsOptions) {
    this.#options = options;
  }

  async publish(channel: string, message: string): Promise<void> {
    const { connection, deadlineMs } = this.#options;
    const name = this.nameOf(channel);
    const envelope = this.seal(message);
    await callWithin(deadlineMs, connection, () => connection.client.call("PUBLISH", name, envelope));
  }

  subscribe(channel: string, listener: ChannelListener, onGap?: () => void): () => void {
    const name = this.nameOf(channel);
    const remove = this.#listeners.add(channel, listener, onGap);
    let listening = true;
    if (this.#stops.has(channel)) {
      queueMicrotask(() => {
        if (listening) onGap?.();
      });
    } else {
      const stop = this.#options.tracking.subscribe(name, {
        receive: (bytes) => this.#receive(channel, bytes),
        gap: () => this.#listeners.reportGap(channel),
      });
      this.#stops.set(channel, stop);
    }
    return () => {
      listening = false;
      if (!remove()) return;
      this.#stops.get(channel)?.();
      this.#stops.delete(channel);
    };
  }

  isAlive(withinMs: number): boolean {
    return this.#options.tracking.isAlive(withinMs);
  }

  /** The name of a channel in Redis, for a script that publishes. */
  nameOf(channel: string): string {
    checkChannel(channel);
    return this.#options.keys.channel(channel);
  }

  /** A message in its envelope, for a script that publishes. */
  seal(message: string): string {
    checkMessage(message);
    return this.#sender.seal(message);
  }

  #receive(channel: string, bytes: Buffer): void {
    const { observe, logger } = this.#options;
    const envelope = bytes.length > maxBytes ? undefined : openEnvelope(bytes.toString());
    if (envelope === undefined) {
      observe?.(bytes.length > maxBytes ? "huge" : "garbage");
      return;
    }
    const { id, message } = envelope;
    if (this.#options.connection.isCluster) this.#seen ??= new GrowingLru({ max: 10_000 });
    if (this.#seen?.has(id) === true) return;
    this.#seen?.set(id, true);
    const own = envelope.origin === this.#sender.origin;
    observe?.(own ? "own" : "heard");
    try {
      this.#listeners.dispatch(channel, message, own);
    } catch {
      // An error here would end the process, since this runs in an event handler of the client.
      logger.warn({}, "portcullis: a listener on a channel threw");
    }
  }
}
