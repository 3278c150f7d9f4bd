import { randomBytes } from "node:crypto";

/** Told of a message, and whether this process sent it itself. Must not throw. */
export type ChannelListener = (message: string, own: boolean) => void;

/**
 * What processes tell each other: every message reaches every process that listens at most once, its sender included, in
 * no particular order. Nothing keeps messages for those who are away. So they only ever say that something changed, and
 * whoever keeps state by them passes `onGap`.
 */
export interface Channels {
  /** Rejects with a StoreFault if it could not be sent, and with a RangeError if it is longer than 64 KiB. */
  publish(channel: string, message: string): Promise<void>;
  /**
   * Calls the listener with every message of a channel, until the function that is returned is called. `onGap` is called
   * when this process begins to listen, and after every time in which it may have missed messages: forget what was kept by
   * them, and ask anew. Names of channels are constants of the code: letters, digits, `.`, `_` and `-`.
   */
  subscribe(channel: string, listener: ChannelListener, onGap?: () => void): () => void;
  /** Has everything been heard that was said longer than this ago? */
  isAlive(withinMs: number): boolean;
}

/** What became of a message that arrived. */
export type MessageOutcome = "heard" | "own" | "garbage" | "huge";

/** Longest message in bytes: a message says that something changed, and is no way to move data. */
export const maxMessageBytes = 65_536;

/** Channels of what all services of a Redis share; every other one is a service's own. */
export const sharedChannels: ReadonlySet<string> = new Set(["sessions"]);

const channelName = /^[A-Za-z0-9_.-]{1,64}$/;

export function checkChannel(channel: string): void {
  if (!channelName.test(channel)) throw new TypeError("the name of a channel is 1 to 64 letters, digits, ., _ and -");
}

export function checkMessage(message: string): void {
  if (Buffer.byteLength(message) > maxMessageBytes)
    throw new RangeError(`a message is at most ${maxMessageBytes} bytes long`);
}

/** A message with its sender and a number: what tells own ones and second copies apart. */
export interface Envelope {
  readonly origin: string;
  /** Unique among the messages of all processes. */
  readonly id: string;
  readonly message: string;
}

/** Puts the messages of one process into envelopes: `1:<origin>:<number>:<message>`. */
export class Sender {
  readonly origin: string = randomBytes(9).toString("base64url");
  #sent = 0;

  seal(message: string): string {
    this.#sent += 1;
    return `1:${this.origin}:${this.#sent.toString(36)}:${message}`;
  }
}

const sealed = /^1:([A-Za-z0-9_-]{12}):([0-9a-z]{1,11}):/;

/** Undefined for whatever no release of ours has sent. */
export function openEnvelope(text: string): Envelope | undefined {
  const match = sealed.exec(text);
  if (match === null) return undefined;
  const [head, origin = "", number = ""] = match;
  return { origin, id: `${origin}:${number}`, message: text.slice(head.length) };
}

/** Who listens to what in this process. */
export class Listeners {
  readonly #channels = new Map<string, Set<Subscription>>();

  /** Returns how to remove it, which says whether it was the last of its channel. */
  add(channel: string, listener: ChannelListener, onGap: () => void = () => undefined): () => boolean {
    const subscription = { listener, onGap };
    const known = this.#channels.get(channel) ?? new Set();
    this.#channels.set(channel, known.add(subscription));
    return () => {
      if (!known.delete(subscription) || known.size > 0) return false;
      this.#channels.delete(channel);
      return true;
    };
  }

  has(channel: string): boolean {
    return this.#channels.has(channel);
  }

  tell(channel: string, message: string, own: boolean): void {
    for (const { listener } of [...(this.#channels.get(channel) ?? [])]) listener(message, own);
  }

  reportGap(channel: string): void {
    for (const { onGap } of [...(this.#channels.get(channel) ?? [])]) onGap();
  }
}

interface Subscription {
  readonly listener: ChannelListener;
  readonly onGap: () => void;
}
