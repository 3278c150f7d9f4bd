import type { ChannelListener, Channels, MessageOutcome } from "../ports/channels.js";
import { Listeners, checkChannel, checkMessage } from "../ports/channels.js";
import { queueMicrotask } from "../../lib/real-timers.js";

export interface MemoryChannelsOptions {
  readonly observe?: ((outcome: MessageOutcome) => void) | undefined;
}

/** Channels within one process. Messages arrive asynchronously, as in Redis. */
export class MemoryChannels implements Channels {
  readonly #listeners = new Listeners();
  readonly #observe: (outcome: MessageOutcome) => void;

  constructor({ observe = () => undefined }: MemoryChannelsOptions = {}) {
    this.#observe = observe;
  }

  async publish(channel: string, message: string): Promise<void> {
    checkChannel(channel);
    checkMessage(message);
    await Promise.resolve();
    if (this.#listeners.has(channel)) this.#observe("own");
    this.#listeners.dispatch(channel, message, true);
  }

  subscribe(channel: string, listener: ChannelListener, onGap?: () => void): () => void {
    checkChannel(channel);
    const remove = this.#listeners.add(channel, listener, onGap);
    let listening = true;
    queueMicrotask(() => {
      if (listening) onGap?.();
    });
    return () => {
      listening = false;
      remove();
    };
  }

  isAlive(): boolean {
    return true;
  }
}
