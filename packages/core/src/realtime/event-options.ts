import type { Auth } from "../auth/claims.js";
import type { Duration } from "../lib/duration.js";
import { durationMs } from "../lib/duration.js";
import { checkFunction, checkInteger, checkObject, kindOf, optionError, rangeError } from "../lib/validate.js";
import type { DenyOptions } from "../http/verdict.js";
import type { Facts } from "../request/facts.js";
import type { Channel } from "./channel-options.js";
import { isTopic, maxTopicLength, maxTopics } from "./event-request.js";

/** The facts about a request for a stream of events. Its user is known. */
export type EventFacts = Facts & { readonly auth: Auth };

/** Options of `gate.events()`, which answers requests with streams of server-sent events. */
export interface EventsOptions<Raw = unknown> extends DenyOptions {
  /** The channel whose messages are sent: of `gate.channels.define()` of this gate. */
  readonly channel: Channel<unknown>;
  /**
   * The topics of a stream: a list, or a function of the user (and the framework's request or context) that returns one. At least
   * one, at most 32 of 1 to 200 characters. @default those that the client names: `?topic=a&topic=b`
   */
  readonly topics?: readonly string[] | ((facts: EventFacts, raw: Raw) => readonly string[]) | undefined;
  /**
   * May this user receive this topic? It is asked for each topic when a stream begins; one that it refuses refuses the request
   * (403). Required without `topics`, since clients may name any topic.
   */
  readonly authorize?: ((facts: EventFacts, topic: string) => boolean | Promise<boolean>) | undefined;
  /**
   * Interval of the comments that keep the connection in use, `"1s"` to `"10m"`. It must be shorter than the time after which
   * proxies close idle connections. @default "15s"
   */
  readonly heartbeat?: Duration | undefined;
  /**
   * Bytes that may wait for a client that does not read, 16 KiB to 64 MiB. The stream of a slower client ends with the reason
   * `slow`; the client connects again and resumes. @default 1_048_576
   */
  readonly maxBuffered?: number | undefined;
  /**
   * Time after which a client connects again when its connection breaks, `"100ms"` to `"10m"`. Each client gets a time between
   * this and its double, so that they do not come all at once. @default "2s"
   */
  readonly retry?: Duration | undefined;
}

export interface ResolvedEvents<Raw> {
  readonly channel: Channel<unknown>;
  /** Undefined: the client names them. */
  readonly topics: ((facts: EventFacts, raw: Raw) => readonly string[]) | undefined;
  readonly authorize: ((facts: EventFacts, topic: string) => boolean | Promise<boolean>) | undefined;
  readonly heartbeatMs: number;
  readonly maxBuffered: number;
  readonly retryMs: number;
}

const known = ["channel", "topics", "authorize", "heartbeat", "maxBuffered", "retry", "onDeny"];
const tenMinutes = 600_000;

/** @param owns is it a channel of this gate? */
export function resolveEvents<Raw>(
  options: EventsOptions<Raw>,
  owns: (channel: object) => boolean,
): ResolvedEvents<Raw> {
  const name = "events()";
  checkObject(name, options, known);
  const { channel, topics, authorize, heartbeat = "15s", maxBuffered = 1_048_576, retry = "2s" } = options;
  if (typeof channel !== "object" || (channel as unknown) === null || !owns(channel))
    throw optionError(`${name}.channel`, "must be a channel of this gate: gate.channels.define(name, { schema })");
  if (authorize !== undefined) checkFunction(`${name}.authorize`, authorize);
  if (topics === undefined && authorize === undefined) {
    const form = "or topics, such as topics: ({ auth }) => [`user:${auth.principal}`]";
    throw optionError(`${name}.authorize`, `is required where clients name the topics; give it, ${form}`);
  }
  checkInteger(`${name}.maxBuffered`, maxBuffered, 16_384, 67_108_864);
  const heartbeatMs = durationMs(`${name}.heartbeat`, heartbeat, tenMinutes);
  if (heartbeatMs < 1000) throw rangeError(`${name}.heartbeat`, 'must be at least "1s"');
  const retryMs = durationMs(`${name}.retry`, retry, tenMinutes);
  if (retryMs < 100) throw rangeError(`${name}.retry`, 'must be at least "100ms"');
  return { channel, topics: resolveTopics(`${name}.topics`, topics), authorize, heartbeatMs, maxBuffered, retryMs };
}

function resolveTopics<Raw>(name: string, topics: EventsOptions<Raw>["topics"]): ResolvedEvents<Raw>["topics"] {
  if (topics === undefined) return undefined;
  if (typeof topics === "function")
    return (facts, raw) =>
      checkTopics(`the result of ${name}`, (topics as (...given: unknown[]) => unknown)(facts, raw));
  const list = checkTopics(name, topics);
  return () => list;
}

/** A wrong list is an error of the application, never of the client. The topics are not part of the error: they may name a user. */
function checkTopics(name: string, topics: unknown): readonly string[] {
  if (!Array.isArray(topics)) throw optionError(name, `must be a list of topics, not ${kindOf(topics)}`);
  const list = [...new Set(topics as readonly unknown[])];
  if (list.length === 0 || list.length > maxTopics) throw rangeError(name, `must have 1 to ${maxTopics} topics`);
  if (!list.every(isTopic)) throw rangeError(name, `must have topics of 1 to ${maxTopicLength} characters`);
  return list;
}
