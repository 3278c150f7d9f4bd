import type { Duration } from "../lib/duration.js";
import { durationMs } from "../lib/duration.js";
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkObject,
  kindOf,
  optionError,
  rangeError,
} from "../lib/validate.js";

/** Options of {@link GateChannels.define}. */
export interface ChannelOptions<T> {
  /**
   * Checks a payload: returns it, or throws. It runs when a message is published, and again when it is received; what it returns
   * is sent and delivered. A received message that fails is ignored and counted. Must not be async.
   */
  readonly schema: (value: unknown) => T;
  /**
   * Keep messages in a log in Redis, so that every subscriber gets each of them at least once and in order, and can resume.
   * Without it a message reaches each process at most once, in a Cluster in no certain order. @default false
   */
  readonly reliable?: boolean | undefined;
  /** About so many messages are kept, 100 to 1,000,000; for a reliable channel. @default 10_000 */
  readonly maxLength?: number | undefined;
  /** About so long a message is kept, `"1s"` to `"7d"`; for a reliable channel. @default "1h" */
  readonly maxAge?: Duration | undefined;
}

/** Options of {@link Channel.publish}. */
export interface PublishOptions {
  /** The subject of the message, such as `"order 42"`: 1 to 200 characters. @default none: only subscribers of all topics get it */
  readonly topic?: string | undefined;
  /** The kind of message, such as `"paid"`: 1 to 64 letters, digits, `_`, `-`, `.` and `:`. @default none */
  readonly event?: string | undefined;
}

/**
 * Why messages may be missing. `trimmed`: the log no longer keeps them (`maxLength`, `maxAge`). `lost`: Redis has lost the end of
 * the log, or the id is of another log. `missed`: the process could not receive for a time; on channels that are not reliable.
 */
export type ChannelGap = "trimmed" | "lost" | "missed";

/** Options of {@link Channel.subscribe}. */
export interface SubscribeOptions {
  /** One topic, or up to 1000 of them. @default all messages, also those without a topic */
  readonly topic?: string | readonly string[] | undefined;
  /**
   * Resume after the message with this id; for a reliable channel. The id may come from a client: any text that the log does not
   * know is a gap. @default messages from now on
   */
  readonly after?: string | undefined;
  /** Called where messages may be missing, before the next message. The subscription goes on with the messages that there are. */
  readonly onGap?: ((reason: ChannelGap) => void) | undefined;
  /**
   * Called with `"degraded"` when this process does not receive messages, and with `"recovered"` when it does again. It notices
   * within some seconds.
   */
  readonly onState?: ((state: "degraded" | "recovered") => void) | undefined;
  /**
   * May missed messages come now, after `after`? It is asked before each page of them (at most 256 messages); while it returns
   * false, they wait for it. @default always
   */
  readonly isReady?: (() => boolean) | undefined;
  /** Ends the subscription. */
  readonly signal?: AbortSignal | undefined;
}

/** A message without its payload. All listeners of a process get the same object. */
export interface ChannelMessage {
  /** The id of a message of a reliable channel, for `after`: at most 64 letters, digits and `-`. */
  readonly id: string | undefined;
  /** Empty for a message without a topic. */
  readonly topic: string;
  /** Name of the event, as `publish()` got it. */
  readonly event: string | undefined;
  /** Has this process published it? */
  readonly own: boolean;
}

/**
 * Gets each message. The payload is shared by all listeners of a process; its JSON objects are frozen before the schema sees
 * them. An error that it throws, or a promise that rejects, is logged and ends nothing.
 */
export type ChannelListener<T> = (data: T, message: ChannelMessage) => unknown;

/** A subscription of this process. */
export interface Subscription {
  /** Ends the subscription: the listener is not called again, also if `stop()` is called in a listener. */
  stop(): void;
  /**
   * Resolves when every message that is published from now on will reach the listener, and when the missed ones have been
   * delivered after `after`. It waits while Redis is down, resolves at `stop()`, and never rejects.
   */
  readonly ready: Promise<void>;
  /**
   * The id up to which the listener has got every message, for `after` of a later subscription: it may be newer than the last
   * message for the listener. Undefined until `ready`, after `stop()`, and on a channel that is not reliable.
   */
  readonly position: string | undefined;
}

/** Messages of one kind between all processes of the service. */
export interface Channel<T> {
  /** Name of the channel. */
  readonly name: string;
  /** Does the channel keep messages for subscribers that resume? */
  readonly reliable: boolean;
  /**
   * Publishes a message to all subscribers of all processes, also of this one. Resolves to its id on a reliable channel. Rejects
   * with a {@link StoreFault} (503) within the deadline if Redis does not answer: the message may have been sent (not if `kind` is
   * "open"), and nothing is repeated. Rejects with the error of the schema, with a TypeError for what JSON cannot express, and with a
   * RangeError above 64 KiB of JSON.
   */
  publish(data: T, options?: PublishOptions): Promise<string | undefined>;
  /**
   * Resolves to the id of the last message of a reliable channel, or of the begin of its log. Read the id, then the data that a client
   * starts with, and let it subscribe `after` the id: it misses nothing in between. Rejects as `publish()` does.
   */
  lastId(): Promise<string>;
  /** Calls the listener with every message, never before `subscribe()` has returned. */
  subscribe(listener: ChannelListener<T>, options?: SubscribeOptions): Subscription;
}

/** Messages of the application between its processes. */
export interface GateChannels {
  /**
   * Defines a channel: once in a process for each name, with the same options in all processes of the service. The name is a constant
   * of the code: 1 to 60 letters, digits, `_`, `-` and `.`. It sends nothing and opens no connection.
   */
  define<T>(name: string, options: ChannelOptions<T>): Channel<T>;
}

/** The options of a channel after they were checked, with defaults. */
export interface ResolvedChannel<T> {
  readonly name: string;
  readonly schema: (value: unknown) => T;
  readonly reliable: boolean;
  readonly maxLength: number;
  readonly maxAgeMs: number;
}

const weekMs = 7 * 86_400_000;

export function resolveChannel<T>(name: unknown, options: ChannelOptions<T>): ResolvedChannel<T> {
  if (typeof name !== "string" || !/^[A-Za-z0-9_.-]{1,60}$/.test(name)) {
    const form = 'must be 1 to 60 letters, digits, _, - and ., such as "orders"';
    throw optionError("the name of a channel", `${form}: names that users choose are topics`);
  }
  checkObject("channels.define()", options, ["schema", "reliable", "maxLength", "maxAge"]);
  const { schema, reliable = false, maxLength = 10_000, maxAge = "1h" } = options;
  checkFunction("channels.define().schema", schema);
  checkBoolean("channels.define().reliable", reliable);
  for (const only of ["maxLength", "maxAge"] as const) {
    if (!reliable && options[only] !== undefined)
      throw optionError(`channels.define().${only}`, "needs reliable: true, since other channels keep no messages");
  }
  checkInteger("channels.define().maxLength", maxLength, 100, 1_000_000);
  const maxAgeMs = durationMs("channels.define().maxAge", maxAge, weekMs);
  if (maxAgeMs < 1000) throw rangeError("channels.define().maxAge", 'must be at least "1s"');
  return { name, schema, reliable, maxLength, maxAgeMs };
}

export function checkPublish(options: PublishOptions): void {
  checkObject("publish()", options, ["topic", "event"]);
  const { topic, event } = options;
  if (topic !== undefined) checkTopic("publish().topic", topic);
  if (event === undefined) return;
  if (typeof event !== "string")
    throw optionError("publish().event", `must be a name such as "paid", not ${kindOf(event)}`);
  if (!eventForm.test(event))
    throw rangeError("publish().event", 'must be 1 to 64 letters, digits, _, -, . and :, such as "paid"');
}

export const eventForm: RegExp = /^[A-Za-z0-9_.:-]{1,64}$/;

/** The subscription options after they were checked. */
export interface ResolvedSubscribe extends Omit<SubscribeOptions, "topic"> {
  /** Undefined: all messages. */
  readonly topics: ReadonlySet<string> | undefined;
}

export function resolveSubscribe(listener: unknown, options: SubscribeOptions, reliable: boolean): ResolvedSubscribe {
  checkFunction("subscribe()", listener);
  checkObject("subscribe()", options, ["topic", "after", "onGap", "onState", "isReady", "signal"]);
  const { topic, after, onGap, onState, isReady, signal } = options;
  if (onGap !== undefined) checkFunction("subscribe().onGap", onGap);
  if (onState !== undefined) checkFunction("subscribe().onState", onState);
  if (isReady !== undefined) checkFunction("subscribe().isReady", isReady);
  if (after !== undefined) {
    if (typeof after !== "string")
      throw optionError("subscribe().after", `must be the id of a message, not ${kindOf(after)}`);
    if (!reliable) throw optionError("subscribe().after", "needs a channel with reliable: true");
  }
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw optionError("subscribe().signal", `must be an AbortSignal, not ${kindOf(signal)}`);
  return { topics: topic === undefined ? undefined : topicsOf(topic), after, onGap, onState, isReady, signal };
}

const maxTopics = 1000;

function topicsOf(topic: unknown): ReadonlySet<string> {
  const list: readonly unknown[] = Array.isArray(topic) ? topic : [topic];
  if (list.length === 0)
    throw optionError("subscribe().topic", "must not be an empty list; leave it out for all messages");
  if (list.length > maxTopics) throw rangeError("subscribe().topic", `must be at most ${maxTopics} topics`);
  const topics = new Set<string>();
  for (const one of list) {
    checkTopic("subscribe().topic", one);
    topics.add(one);
  }
  return topics;
}

/** The text is not part of the error: it may name a user. */
export function checkTopic(option: string, topic: unknown): asserts topic is string {
  if (typeof topic !== "string") throw optionError(option, `must be a text such as "order 42", not ${kindOf(topic)}`);
  if (!isTopic(topic)) throw rangeError(option, "must have 1 to 200 characters of well-formed text");
}

export function isTopic(text: string): boolean {
  return text !== "" && text.length <= 200 && text.isWellFormed();
}
