import type { LoggedMessage } from "../store/ports/event-log.js";
import { writeId } from "../store/ports/event-log.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { ChannelGap, ChannelListener, ChannelMessage, ResolvedSubscribe } from "./channel-options.js";
import { eventForm, isTopic } from "./channel-options.js";

/** A message as it is sent: JSON of this object. Later releases may add members. */
interface Wire {
  readonly topic?: string | undefined;
  readonly event?: string | undefined;
  readonly data: unknown;
}

/** A message after its check. */
export interface Received<T> {
  readonly data: T;
  readonly message: ChannelMessage;
}

/** One subscription of the application. */
export class Subscriber<T> {
  readonly options: ResolvedSubscribe;
  readonly ready: Promise<void>;
  active = true;
  degraded = false;
  readonly #listener: ChannelListener<T>;
  readonly #logger: Logger;
  #markReady: () => void = () => undefined;

  constructor(listener: ChannelListener<T>, options: ResolvedSubscribe, logger: Logger) {
    this.#listener = listener;
    this.options = options;
    this.#logger = logger;
    this.ready = new Promise((resolve) => {
      this.#markReady = resolve;
    });
  }

  /** May missed messages come now? A question that fails is no reason to wait for ever. */
  get isReady(): boolean {
    try {
      return this.options.isReady?.() !== false;
    } catch {
      return true;
    }
  }

  markReady(): void {
    this.#markReady();
  }

  end(): void {
    this.active = false;
    this.#markReady();
  }

  wants(topic: string): boolean {
    return this.options.topics?.has(topic) ?? true;
  }

  receive({ data, message }: Received<T>): void {
    this.#call(() => this.#listener(data, message));
  }

  reportGap(reason: ChannelGap): void {
    this.#call(() => this.options.onGap?.(reason));
  }

  reportState(degraded: boolean): void {
    if (this.degraded === degraded) return;
    this.degraded = degraded;
    this.#call(() => this.options.onState?.(degraded ? "degraded" : "recovered"));
  }

  /** An error of one listener must not reach the other listeners, nor end the process. */
  #call(listener: () => unknown): void {
    if (!this.active) return;
    try {
      const result = listener();
      if (isThenable(result)) result.then(undefined, () => this.#warn());
    } catch {
      this.#warn();
    }
  }

  #warn(): void {
    this.#logger.warn({}, "portcullis: a listener of a channel failed");
  }
}

/** Subscribers by topic, so that a message costs no more than those who get it. */
export class Subscribers<T> {
  readonly #all = new Set<Subscriber<T>>();
  readonly #ofAllTopics = new Set<Subscriber<T>>();
  readonly #byTopic = new Map<string, Set<Subscriber<T>>>();

  get size(): number {
    return this.#all.size;
  }

  add(subscriber: Subscriber<T>): void {
    this.#all.add(subscriber);
    const { topics } = subscriber.options;
    if (topics === undefined) this.#ofAllTopics.add(subscriber);
    for (const topic of topics ?? []) {
      const known = this.#byTopic.get(topic);
      if (known === undefined) this.#byTopic.set(topic, new Set([subscriber]));
      else known.add(subscriber);
    }
  }

  delete(subscriber: Subscriber<T>): void {
    if (!this.#all.delete(subscriber)) return;
    this.#ofAllTopics.delete(subscriber);
    for (const topic of subscriber.options.topics ?? []) {
      const known = this.#byTopic.get(topic);
      known?.delete(subscriber);
      if (known?.size === 0) this.#byTopic.delete(topic);
    }
  }

  has(subscriber: Subscriber<T>): boolean {
    return this.#all.has(subscriber);
  }

  /** A copy: listeners may subscribe and stop meanwhile. */
  all(): readonly Subscriber<T>[] {
    return [...this.#all];
  }

  dispatch(received: Received<T>): void {
    const ofTopic = this.#byTopic.get(received.message.topic) ?? [];
    for (const subscriber of [...this.#ofAllTopics, ...ofTopic]) subscriber.receive(received);
  }
}

/** Writes messages of one channel, and reads those that are received. */
export class MessageReader<T> {
  readonly #schema: (value: unknown) => T;
  readonly #telemetry: Telemetry;

  constructor(schema: (value: unknown) => T, telemetry: Telemetry) {
    this.#schema = schema;
    this.#telemetry = telemetry;
  }

  /** Undefined for a message that cannot be read, or that the schema refuses; it is counted. */
  read(body: string, own: boolean, id?: string): Received<T> | undefined {
    const wire = parse(body);
    if (wire === undefined) {
      this.#telemetry.messageArrived("garbage");
      return undefined;
    }
    try {
      const data = this.#schema(wire.data);
      // A schema that is async has checked nothing yet.
      if (!isThenable(data)) return { data, message: { id, topic: wire.topic ?? "", event: wire.event, own } };
      data.then(undefined, () => undefined);
    } catch {
      // The error may quote the payload.
    }
    this.#telemetry.messageArrived("invalid");
    return undefined;
  }

  readLogged({ id, own, body }: LoggedMessage): Received<T> | undefined {
    if (body !== undefined) return this.read(body, own, writeId(id));
    this.#telemetry.messageArrived("garbage");
    return undefined;
  }
}

function parse(body: string): Wire | undefined {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, "data")) return undefined;
  const { topic, event, data } = value as Record<keyof Wire, unknown>;
  if (topic !== undefined && (typeof topic !== "string" || !isTopic(topic))) return undefined;
  if (event !== undefined && (typeof event !== "string" || !eventForm.test(event))) return undefined;
  freezeJson(data);
  return { topic, event, data };
}

/** Freezes parsed JSON without recursion, since it may be deep: one listener must not change it for the others. */
function freezeJson(root: unknown): void {
  const open: unknown[] = [root];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== "object" || value === null) continue;
    Object.freeze(value);
    for (const member of Object.values(value)) open.push(member);
  }
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
