import { createHash } from "node:crypto";
import type { Auth } from "../auth/claims.js";
import type { TokenSource } from "../auth/credentials.js";
import { readCredentials } from "../auth/credentials.js";
import type { Challenges } from "../guard/challenges.js";
import type { Denied, Header, Reply, Verdict } from "../http/verdict.js";
import { deny } from "../http/verdict.js";
import type { Check, GateExchange } from "../request/state.js";
import type { UnguardedWarning } from "../request/unguarded.js";
import type { Logger } from "../telemetry/logger.js";
import type { ChannelMessage } from "./channel-options.js";
import type { Connections } from "./connection-types.js";
import { ConnectionLimitError } from "./connection-types.js";
import { formatEvent, reservedEvents } from "./event-format.js";
import type { EventFacts, ResolvedEvents } from "./event-options.js";
import { lastEventId, refuseRequest, topicsOf } from "./event-request.js";
import type { StreamContext, StreamEnd } from "./event-stream.js";
import { EventStream } from "./event-stream.js";
import { Heartbeats } from "./heartbeats.js";

export interface EventServices<Raw> {
  readonly connections: Pick<Connections, "watch" | "isDegraded" | "onDegraded">;
  readonly challenges: Pick<Challenges, "credentialsRequired" | "badCredentials">;
  readonly unguarded: Pick<UnguardedWarning, "noteRefusal">;
  readonly sources: readonly TokenSource<Raw>[];
  readonly logger: Logger;
  /** Unix milliseconds. */
  readonly now: () => number;
}

const streamFields: readonly Header[] = [
  ["Content-Type", "text/event-stream"],
  // Compressing middleware and proxies would hold events back.
  ["Cache-Control", "no-store, no-transform"],
  ["X-Accel-Buffering", "no"],
];

/** The answer that stops an EventSource (WHATWG HTML, 9.2.3). */
const stopped: Reply = { allowed: false, status: 204, headers: [["Cache-Control", "no-store"]], body: "" };

/** The streams of events of one gate. */
export class EventService<Raw> {
  readonly #services: EventServices<Raw>;
  readonly #cookies: readonly TokenSource<Raw>[];
  readonly #streams = new Set<EventStream>();
  readonly #ended = new EndedTokens();
  readonly #encoded = new WeakMap<ChannelMessage, Uint8Array>();
  #stopListening: (() => void) | undefined;
  #hasWarned = false;
  #isDraining = false;

  constructor(services: EventServices<Raw>) {
    this.#services = services;
    this.#cookies = services.sources.filter(({ kind }) => kind === "cookie");
  }

  /**
   * Ends all streams, so that a server can close; their clients connect again, by then to another process. A stream that
   * begins after this ends at once.
   */
  drain(): void {
    this.#isDraining = true;
    for (const stream of [...this.#streams]) stream.end("closed");
  }

  /** Answers each request with a stream of the events of its user. */
  answer(options: ResolvedEvents<Raw>): Check<Raw> {
    const { channel, maxBuffered, heartbeatMs } = options;
    const context: Omit<StreamContext, "retryMs"> = {
      maxBuffered,
      beats: new Heartbeats(heartbeatMs),
      encode: (data, message) => this.#encode(data, message),
      subscribe: (listener, { after, ...rest }) =>
        channel.subscribe(listener, channel.reliable ? { after, ...rest } : rest),
      isDegraded: () => this.#services.connections.isDegraded,
      onEnd: () => undefined,
    };
    return (exchange) => this.#check(exchange, options, context);
  }

  async #check(
    exchange: GateExchange<Raw>,
    options: ResolvedEvents<Raw>,
    context: Omit<StreamContext, "retryMs">,
  ): Promise<Verdict> {
    const refused = refuseRequest(exchange);
    if (refused !== undefined) return refused;
    const { facts } = exchange.state;
    const { auth } = facts;
    if (auth === undefined) {
      this.#services.unguarded.noteRefusal("events()", exchange.state);
      return this.#services.challenges.credentialsRequired();
    }
    const foreign = this.#refuseOrigin(exchange);
    if (foreign !== undefined) return foreign;
    if (this.#ended.has(auth, this.#services.now())) return stopped;
    const topics = await authorizedTopics(exchange, facts as EventFacts, options);
    if ("problem" in topics) return topics;
    const after = lastEventId(exchange);
    if (typeof after === "object") return after;
    const head = { allowed: false, status: 200, headers: streamFields, removed: ["Content-Length"] } as const;
    if (exchange.method === "HEAD") return { ...head, form: "null", body: "" };
    const retryMs = Math.round(options.retryMs * (1 + Math.random()));
    const onEnd = (_stream: EventStream, reason: StreamEnd): void => this.#noteEnd(auth, reason);
    // A channel without a log has nothing to resume.
    const place = options.channel.reliable ? after : undefined;
    const stream = new EventStream(topics, place, { ...context, retryMs, onEnd });
    const limited = this.#admit(exchange, stream, auth);
    if (this.#isDraining) stream.end("closed");
    return limited ?? { ...head, form: "stream", body: stream };
  }

  /**
   * A page of another origin must not open streams with the cookie of a user. The guard knows a request for a stream by its
   * `Accept`, which a page may choose.
   */
  #refuseOrigin(exchange: GateExchange<Raw>): Denied | undefined {
    if (this.#cookies.length === 0) return undefined;
    const { method, raw, rawHeaders } = exchange;
    const handshake = { method, raw, rawHeaders, isHandshake: true, header: (name: string) => exchange.header(name) };
    const credentials = readCredentials(handshake, this.#cookies);
    return credentials.kind === "foreign_origin" ? this.#services.challenges.badCredentials(credentials) : undefined;
  }

  /** Gives a stream its connection. A stream ends with its response, also if it is never sent. */
  #admit(exchange: GateExchange, stream: EventStream, auth: Auth): Denied | undefined {
    try {
      stream.watch(this.#services.connections.watch(auth, (reason) => stream.end(reason), { kind: "sse" }));
    } catch (error) {
      if (error instanceof ConnectionLimitError) return error.denied;
      throw error;
    }
    this.#streams.add(stream);
    this.#stopListening ??= this.#services.connections.onDegraded(() => {
      for (const one of this.#streams) one.noteState();
    });
    exchange.onClose(() => {
      stream.leave();
      this.#streams.delete(stream);
      if (this.#streams.size > 0) return;
      this.#stopListening?.();
      this.#stopListening = undefined;
    });
    return undefined;
  }

  #noteEnd(auth: Auth, reason: StreamEnd): void {
    if (reason !== "closed" && reason !== "slow") this.#ended.add(auth);
  }

  #encode(data: unknown, message: ChannelMessage): Uint8Array | undefined {
    const known = this.#encoded.get(message);
    if (known !== undefined) return known;
    const { id, event } = message;
    const isReserved = event !== undefined && reservedEvents.has(event);
    const text = isReserved ? undefined : formatEvent({ id, event, data });
    if (text === undefined) return this.#warn();
    const bytes = Buffer.from(text);
    this.#encoded.set(message, bytes);
    return bytes;
  }

  /** Warns once about a message that no stream can send. */
  #warn(): undefined {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    const reserved = [...reservedEvents].join(", ");
    const text = `portcullis: streams of events skip messages that are not JSON, or whose event is one of ${reserved}`;
    this.#services.logger.warn({}, text);
  }
}

/** The topics of the request that its user may receive; a refusal if the user may not receive one of them. */
async function authorizedTopics<Raw>(
  exchange: GateExchange<Raw>,
  facts: EventFacts,
  { topics, authorize }: ResolvedEvents<Raw>,
): Promise<readonly string[] | Denied> {
  const list = topics === undefined ? topicsOf(exchange) : topics(facts, exchange.raw);
  if ("problem" in list || authorize === undefined) return list;
  for (const topic of list) {
    // A function in JavaScript may return anything: only true is a permission.
    if ((await (authorize(facts, topic) as unknown)) !== true)
      return deny("topic_refused", { cause: "events().authorize refuses a topic" });
  }
  return list;
}

/** A process remembers so many tokens whose streams have ended. */
const maxEnded = 10_000;

/**
 * Tokens whose streams have ended for good. EventSource connects again after each end: where the gate still accepts the token,
 * it would do so for ever.
 */
class EndedTokens {
  /** Digests of tokens, the oldest one first. */
  readonly #digests = new Set<string>();

  add(auth: Auth): void {
    this.#digests.add(digestOf(auth));
    if (this.#digests.size <= maxEnded) return;
    for (const oldest of this.#digests) {
      this.#digests.delete(oldest);
      return;
    }
  }

  has(auth: Auth, now: number): boolean {
    return auth.expiresAt * 1000 <= now || (this.#digests.size > 0 && this.#digests.has(digestOf(auth)));
  }
}

function digestOf({ token }: Auth): string {
  return createHash("sha256").update(token).digest("base64url");
}
