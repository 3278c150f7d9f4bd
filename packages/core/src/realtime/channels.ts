import { jsonText } from "../lib/json.js";
import { optionError } from "../lib/validate.js";
import type { Keyspace } from "../store/keyspace.js";
import type { Channels } from "../store/ports/channels.js";
import { maxPayloadBytes } from "../store/ports/channels.js";
import type { EventLog, LogPlace } from "../store/ports/event-log.js";
import { writeId } from "../store/ports/event-log.js";
import { StoreFault } from "../store/ports/fault.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type {
  Channel,
  ChannelListener,
  ChannelOptions,
  GateChannels,
  PublishOptions,
  ResolvedChannel,
  SubscribeOptions,
  Subscription,
} from "./channel-options.js";
import { checkPublish, resolveChannel, resolveSubscribe } from "./channel-options.js";
import type { Feed } from "./feed.js";
import { LiveFeed } from "./feed.js";
import { LogFollower } from "./log-follower.js";
import { MessageReader, Subscriber, isThenable } from "./subscribers.js";
import { clearInterval, setInterval } from "../lib/real-timers.js";

export interface ChannelServiceOptions {
  readonly channels: Channels;
  readonly log: EventLog;
  readonly keys: Keyspace;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  /** Called at each definition, and at each use of a reliable channel. */
  readonly onUse: (use: "defined" | "reliable") => void;
  /** Called for a message with undefined members, which JSON leaves out. */
  readonly onDropped?: (() => void) | undefined;
}

const maxChannels = 1000;
const tickMs = 1000;

/** The channels of the application. One timer serves all of them while there are subscriptions. */
export class ChannelService implements GateChannels {
  readonly #options: ChannelServiceOptions;
  readonly #channels = new Map<string, DefinedChannel<unknown>>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: ChannelServiceOptions) {
    this.#options = options;
  }

  define<T>(name: string, options: ChannelOptions<T>): Channel<T> {
    const resolved = resolveChannel(name, options);
    if (this.#channels.has(name))
      throw optionError("channels.define()", "has defined this channel already: define it once, and share it");
    if (this.#channels.size >= maxChannels)
      throw optionError(
        "channels.define()",
        `defines at most ${maxChannels} channels; names that users choose are topics`,
      );
    const channel = new DefinedChannel(resolved, this.#options, {
      isClosed: () => this.#closed,
      onSubscribed: () => this.#startTimer(),
    });
    this.#channels.set(name, channel);
    this.#options.onUse("defined");
    return channel;
  }

  /** Is it a channel of this gate? */
  owns(channel: object): boolean {
    return [...this.#channels.values()].some((one) => one === channel);
  }

  /** Ends all subscriptions. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (const channel of this.#channels.values()) channel.close();
  }

  #startTimer(): void {
    this.#timer ??= setInterval(() => this.#tick(), tickMs).unref();
  }

  #tick(): void {
    const used = [...this.#channels.values()].filter(({ size }) => size > 0);
    for (const channel of used) channel.tick();
    if (used.length > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

interface ChannelOwner {
  isClosed(): boolean;
  onSubscribed(): void;
}

class DefinedChannel<T> implements Channel<T> {
  readonly name: string;
  readonly reliable: boolean;
  readonly #resolved: ResolvedChannel<T>;
  readonly #options: ChannelServiceOptions;
  readonly #owner: ChannelOwner;
  readonly #channel: string;
  readonly #place: LogPlace;
  readonly #feed: Feed<T>;
  readonly #stops = new Set<() => void>();

  constructor(resolved: ResolvedChannel<T>, options: ChannelServiceOptions, owner: ChannelOwner) {
    const { name, reliable, schema, maxLength, maxAgeMs } = resolved;
    const { channels, log, keys, telemetry } = options;
    this.name = name;
    this.reliable = reliable;
    this.#resolved = resolved;
    this.#options = options;
    this.#owner = owner;
    // Channels of Portcullis have no such prefix.
    const channel = `app.${name}`;
    this.#channel = channel;
    this.#place = {
      key: keys.coordination("event-log", name),
      headKey: keys.coordination("event-log", name, "head"),
      ...{ channel, maxLength, maxAgeMs },
    };
    const reader = new MessageReader(schema, telemetry);
    this.#feed = reliable
      ? new LogFollower({ place: this.#place, channel, channels, log, reader, telemetry })
      : new LiveFeed({ channel, channels, reader });
  }

  get size(): number {
    return this.#feed.size;
  }

  async publish(data: T, options: PublishOptions = {}): Promise<string | undefined> {
    checkPublish(options);
    const wire = this.#write(data, options);
    if (this.#owner.isClosed()) throw new StoreFault("unreachable");
    const { channels, log, telemetry } = this.#options;
    try {
      if (!this.reliable) {
        await channels.publish(this.#channel, wire);
        telemetry.channelPublished("published");
        return undefined;
      }
      this.#options.onUse("reliable");
      const id = await log.append(this.#place, wire);
      telemetry.channelPublished("published");
      return writeId(id);
    } catch (error) {
      if (error instanceof StoreFault) telemetry.channelPublished("failed", error.kind);
      throw error;
    }
  }

  subscribe(listener: ChannelListener<T>, options: SubscribeOptions = {}): Subscription {
    const resolved = resolveSubscribe(listener, options, this.reliable);
    const subscriber = new Subscriber(listener, resolved, this.#options.logger);
    const { signal } = resolved;
    const stop = (): void => {
      if (!subscriber.active) return;
      subscriber.end();
      this.#stops.delete(stop);
      signal?.removeEventListener("abort", stop);
      this.#feed.delete(subscriber);
    };
    const feed = this.#feed;
    const subscription: Subscription = {
      stop,
      ready: subscriber.ready,
      get position() {
        return feed.positionOf(subscriber);
      },
    };
    if (this.#owner.isClosed() || signal?.aborted === true) {
      subscriber.end();
      return subscription;
    }
    if (this.reliable) this.#options.onUse("reliable");
    signal?.addEventListener("abort", stop, { once: true });
    this.#stops.add(stop);
    this.#feed.add(subscriber);
    this.#owner.onSubscribed();
    return subscription;
  }

  async lastId(): Promise<string> {
    if (!this.reliable) throw optionError("lastId()", "needs a channel with reliable: true");
    if (this.#owner.isClosed()) throw new StoreFault("unreachable");
    this.#options.onUse("reliable");
    const { head } = await this.#options.log.read(this.#place, undefined);
    if (head === undefined) throw new StoreFault("unreadable");
    return writeId(head);
  }

  tick(): void {
    this.#feed.tick();
  }

  close(): void {
    for (const stop of [...this.#stops]) stop();
  }

  /** The JSON text of a message. */
  #write(data: T, { topic, event }: PublishOptions): string {
    const checked = this.#resolved.schema(data);
    if (isThenable(checked)) {
      checked.then(undefined, () => undefined);
      throw optionError("channels.define().schema", "must not be async");
    }
    const json = jsonText("publish()", checked, maxPayloadBytes, this.#options.onDropped);
    const head = topic === undefined ? "" : `"topic":${JSON.stringify(topic)},`;
    const kind = event === undefined ? "" : `"event":"${event}",`;
    return `{${head}${kind}"data":${json}}`;
  }
}
