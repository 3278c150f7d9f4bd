import { randomBytes } from "node:crypto";

/** Receives a message; `own` says that this process has sent it. Must not throw. */
export type ChannelListener = (message: string, own: boolean) => void;

/**
 * Messages between processes (publish and subscribe). A message reaches each subscribed process at most once, its
 * sender included, in no particular order. No message is kept for a process that is away. A message therefore says only
 * that something has changed, and a subscriber that keeps state passes `onGap`.
 */
export interface Channels {
  /** Sends a message. Rejects with a StoreFault if the store cannot send it, and with a RangeError above 66 KiB. */
  publish(channel: string, message: string): Promise<void>;
  /**
   * Calls the listener with every message of a channel, until the returned function is called. `onGap` is called when
   * the subscription begins, and whenever messages may have been lost: drop the state that rests on messages, and read
   * it anew. A channel name is a constant in the code: letters, digits, `.`, `_` and `-`.
   */
  subscribe(channel: string, listener: ChannelListener, onGap?: () => void): () => void;
  /** Has every message been received that is older than this? */
  isAlive(withinMs: number): boolean;
}

/**
 * The outcome of a message that has arrived, as metrics name it. Of the channels of the application: `invalid` (the schema
 * refuses it), `read` (it came from the log and not by an announcement).
 */
export type MessageOutcome = "heard" | "own" | "garbage" | "huge" | "invalid" | "read";

/** The maximum size of a payload of the application in bytes. Other messages report changes and carry no data. */
export const maxPayloadBytes = 65_536;

/** The maximum size of a message in bytes: a payload with its topic, its event and its ids. */
export const maxMessageBytes: number = maxPayloadBytes + 2048;

/** Channels that all services of a Redis share. Every other channel belongs to one service. */
export const sharedChannels: ReadonlySet<string> = new Set(["sessions"]);

const channelName = /^[A-Za-z0-9_.-]{1,64}$/;

export function checkChannel(channel: string): void {
  if (!channelName.test(channel)) throw new TypeError("the name of a channel is 1 to 64 letters, digits, ., _ and -");
}

export function checkMessage(message: string): void {
  if (Buffer.byteLength(message) > maxMessageBytes)
    throw new RangeError(`a message is at most ${maxMessageBytes} bytes long`);
}

/** A message with its sender and its number, by which own messages and second copies are found. */
export interface Envelope {
  readonly origin: string;
  /** Unique among the messages of all processes. */
  readonly id: string;
  readonly message: string;
}

/** Writes the envelopes of one process: `1:<origin>:<number>:<message>`. */
export class Sender {
  readonly origin: string = randomBytes(9).toString("base64url");
  #sent = 0;

  seal(message: string): string {
    this.#sent += 1;
    return `1:${this.origin}:${this.#sent.toString(36)}:${message}`;
  }
}

const sealed = /^1:([A-Za-z0-9_-]{12}):([0-9a-z]{1,11}):/;

/** Reads an envelope. Undefined for text that is no envelope. */
export function openEnvelope(text: string): Envelope | undefined {
  const match = sealed.exec(text);
  if (match === null) return undefined;
  const [head, origin = "", number = ""] = match;
  return { origin, id: `${origin}:${number}`, message: text.slice(head.length) };
}

/** The listeners of this process, by channel. */
export class Listeners {
  readonly #channels = new Map<string, Set<Subscription>>();

  /** Returns a function that removes the listener, and returns true if it was the last one of its channel. */
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

  dispatch(channel: string, message: string, own: boolean): void {
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
