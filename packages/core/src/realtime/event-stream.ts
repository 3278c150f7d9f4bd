import type { BodySink, StreamBody } from "../http/stream-body.js";
import type { ChannelGap, ChannelMessage, Subscription, SubscribeOptions } from "./channel-options.js";
import type { ConnectionEnd, WatchedConnection } from "./connection-types.js";
import { formatEvent, formatPosition, formatRetry, heartbeat } from "./event-format.js";
import type { Beats } from "./heartbeats.js";
import { clearTimeout, setTimeout } from "../lib/real-timers.js";

/** Why a stream ends: the reason of its connection, or `slow` for a client that does not read fast enough. */
export type StreamEnd = ConnectionEnd | "slow";

/** The parts that all streams of one `gate.events()` share. */
export interface StreamContext {
  readonly maxBuffered: number;
  readonly retryMs: number;
  readonly beats: Beats;
  /** The bytes of a message, made once for all streams of the process; undefined for a message that cannot be sent. */
  readonly encode: (data: unknown, message: ChannelMessage) => Uint8Array | undefined;
  readonly subscribe: (
    listener: (data: unknown, message: ChannelMessage) => void,
    options: SubscribeOptions,
  ) => Subscription;
  /** Is the gate unable to say whether tokens are revoked? */
  readonly isDegraded: () => boolean;
  /** Called when the stream ends, before its client is told. */
  readonly onEnd: (stream: EventStream, reason: StreamEnd) => void;
}

/** Missed messages come a page at a time, when fewer bytes than these wait. */
const readyBytes = 65_536;
/** A client that does not read gets so long to read the reason for the end of its stream. */
const graceMs = 5000;

/**
 * One stream of events to one client. It holds a subscription, a watched connection and a place among the heartbeats, and gives
 * all of them back at its end, whichever side ends it.
 */
export class EventStream implements StreamBody {
  readonly topics: readonly string[];
  readonly #context: StreamContext;
  readonly #after: string | undefined;
  /** Undefined before `watch()`. */
  #connection: WatchedConnection | undefined;
  #sink: BodySink | undefined;
  #subscription: Subscription | undefined;
  /** The reason for which the stream has ended, or `left` if its response is over. */
  #ended: StreamEnd | "left" | undefined;
  #isChannelDegraded = false;
  #saidDegraded = false;
  /** The id of the last message or position that the client has. */
  #position: string | undefined;
  #grace: NodeJS.Timeout | undefined;
  #writtenBytes = 0;
  /** The bytes that had left this process at the last beat; undefined if none waited then. */
  #sentAtBeat: number | undefined;

  /** @param after the id after which the client goes on */
  constructor(topics: readonly string[], after: string | undefined, context: StreamContext) {
    this.topics = topics;
    this.#after = after;
    this.#context = context;
  }

  /** Ends with this connection. It may have ended already. */
  watch(connection: WatchedConnection): void {
    this.#connection = connection;
    if (this.#ended !== undefined) connection.end();
  }

  open(sink: BodySink): void {
    if (this.#ended === "left") return sink.end();
    this.#sink = sink;
    const { retryMs, beats, subscribe } = this.#context;
    // Also the first byte, with which the head goes out.
    sink.write(formatRetry(retryMs));
    if (this.#ended !== undefined) return this.#sayEnd(this.#ended);
    this.#subscription = subscribe((data, message) => this.#receive(data, message), {
      topic: this.topics,
      after: this.#after,
      isReady: () => sink.waitingBytes < readyBytes,
      onGap: (reason) => this.#sayGap(reason),
      onState: (state) => {
        this.#isChannelDegraded = state === "degraded";
        this.noteState();
      },
    });
    beats.add(this);
    this.noteState();
    // Also a client that gets no message before its connection breaks can resume.
    void this.#subscription.ready.then(() => this.#sayPosition());
  }

  /** Tells the client once when the gate begins to be degraded, and once when it has recovered. */
  noteState(): void {
    const isDegraded = this.#isChannelDegraded || this.#context.isDegraded();
    if (isDegraded === this.#saidDegraded || this.#sink === undefined || this.#ended !== undefined) return;
    this.#saidDegraded = isDegraded;
    this.#write(formatEvent({ event: isDegraded ? "degraded" : "recovered", data: {} }));
  }

  /** Keeps the connection in use, and the id of the client near the end of the log, where nothing is trimmed. */
  beat(): void {
    if (this.#isStalled()) return this.end("slow");
    if (!this.#sayPosition()) this.#write(heartbeat);
  }

  /** Ends the stream and tells its client the reason. */
  end(reason: StreamEnd): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    this.#release(reason === "slow" ? reason : undefined);
    this.#context.onEnd(this, reason);
    this.#sayEnd(reason);
  }

  /** The response is over. */
  leave(): void {
    clearTimeout(this.#grace);
    this.#sink = undefined;
    if (this.#ended !== undefined) return;
    this.#ended = "left";
    this.#release();
  }

  /** Moves the client to the position of the subscription; returns false if it is there. */
  #sayPosition(): boolean {
    const position = this.#subscription?.position;
    if (position === undefined || position === this.#position) return false;
    this.#position = position;
    this.#write(formatPosition(position));
    return true;
  }

  #receive(data: unknown, message: ChannelMessage): void {
    if (message.id !== undefined) this.#position = message.id;
    this.#write(this.#context.encode(data, message));
  }

  #sayGap(reason: ChannelGap): void {
    this.#write(formatEvent({ event: "gap", data: { reason } }));
  }

  #write(chunk: string | Uint8Array | undefined): void {
    const sink = this.#sink;
    if (sink === undefined || chunk === undefined || this.#ended !== undefined) return;
    // What waits is memory of this process. Before the write, so that one large message alone ends nothing.
    if (sink.waitingBytes > this.#context.maxBuffered && !this.#isResuming()) return this.end("slow");
    this.#writtenBytes += chunk.length;
    sink.write(chunk);
  }

  /** Missed messages wait for the client, so they are no sign of a slow one. */
  #isResuming(): boolean {
    return this.#after !== undefined && this.#subscription !== undefined && this.#subscription.position === undefined;
  }

  /** Has the client read nothing since the last beat, although bytes wait? */
  #isStalled(): boolean {
    const waiting = this.#sink?.waitingBytes ?? 0;
    const before = this.#sentAtBeat;
    this.#sentAtBeat = waiting === 0 ? undefined : this.#writtenBytes - waiting;
    return before !== undefined && this.#sentAtBeat !== undefined && this.#sentAtBeat <= before;
  }

  #sayEnd(reason: StreamEnd | "left"): void {
    const sink = this.#sink;
    if (sink === undefined) return;
    sink.write(formatEvent({ event: "end", data: { reason } }) ?? "");
    sink.end();
    this.#grace = setTimeout(() => sink.breakOff(), graceMs).unref();
  }

  #release(reason?: "slow"): void {
    this.#subscription?.stop();
    this.#subscription = undefined;
    this.#context.beats.delete(this);
    this.#connection?.end(reason);
  }
}
