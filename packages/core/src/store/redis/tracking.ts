import type { Redis } from "ioredis";
import type { Logger } from "../../telemetry/logger.js";
import type { Connection } from "./connect.js";
import { muteSocket } from "./client.js";
import type { RedisLike } from "./client.js";
import type { SignalledPrefix } from "../ports/cache.js";
import { StoreFault } from "../ports/fault.js";
import { faultOfError, readInteger } from "./replies.js";
import type { ListeningClient, ListeningNode } from "./listening-client.js";
import { addressOf, disarmed, listenerOptions, mastersOf, renew } from "./listening-client.js";
import { causeOf } from "./outages.js";
import { followCredentials } from "./password.js";
import { keyPrefixOf } from "./topology.js";
import { clearInterval, clearTimeout, monotonicNow, setInterval, setTimeout } from "../../lib/real-timers.js";

/** The subscriber of one channel. */
export interface ChannelSubscriber {
  receive(message: Buffer): void;
  /** Called when messages may have been lost, and when the subscription begins. */
  gap(): void;
}

export interface TrackingOptions {
  readonly connection: Connection;
  readonly logger: Logger;
  /** Time between two pings on each connection. @default 500 */
  readonly heartbeatMs?: number;
  /** A connection whose ping is not answered for this time is made anew. @default 2000 */
  readonly proofTimeoutMs?: number;
  /** Called at every heartbeat: do all connections tell of changes? */
  readonly observe?: ((isListening: boolean) => void) | undefined;
}

const invalidations = "__redis__:invalidate";

/** The time to make the connection, before its failure is reported. */
const patienceMs = 3000;
/** Permissions change seldom, and each attempt is a gap for the channels. */
const refusalRetryMs = 30_000;

/**
 * Invalidation messages (Redis' client-side caching) and messages of channels, on one more connection to each master.
 * The connection tracks key prefixes in broadcast mode, and redirects the invalidations to itself, which RESP2 permits
 * to a subscriber. There is one Tracking for each Redis. It connects when the first prefix is tracked or the first
 * channel is subscribed to.
 *
 * Messages of a connection arrive in order. An answered ping therefore proves that every earlier message has arrived,
 * and `isAlive(ms)` means that every change of more than `ms` ago is known here. Each new connection flushes
 * everything. To avoid a race, open a read ticket for a key before Redis is asked for it, let `invalidate` and `flush`
 * end the ticket, and keep the answer only if the ticket is still current.
 */
export class Tracking {
  readonly #connection: Connection;
  readonly #logger: Logger;
  readonly #heartbeatMs: number;
  readonly #proofTimeoutMs: number;
  /** The client puts this before every key. Tracked prefixes do not contain it. */
  readonly #keyPrefix: string;
  readonly #tracked: SignalledPrefix[] = [];
  readonly #channels = new Map<string, ChannelSubscriber>();
  readonly #nodes = new Map<string, ListeningNode>();
  readonly #waiting = new Set<() => void>();
  #provenAt = Number.NEGATIVE_INFINITY;
  #heartbeat: NodeJS.Timeout | undefined;
  #stopListening: (() => void) | undefined;
  #hasWarned = false;
  /** The reason for which a connection cannot be made, while there is one to the same server for calls. */
  #failure: string | undefined;
  #closed = false;
  readonly #observe: ((isListening: boolean) => void) | undefined;

  constructor({ connection, logger, heartbeatMs = 500, proofTimeoutMs = 2000, observe }: TrackingOptions) {
    this.#connection = connection;
    this.#observe = observe;
    this.#keyPrefix = keyPrefixOf(connection.client);
    this.#logger = logger;
    this.#heartbeatMs = heartbeatMs;
    this.#proofTimeoutMs = proofTimeoutMs;
  }

  /**
   * Tracks a prefix. No prefix may begin with another one, but several parts may track the same. Connections that listen
   * already are made anew for a new prefix, since Redis takes no commands from a subscriber.
   */
  track(tracked: SignalledPrefix): void {
    const isNew = this.#tracked.every(({ prefix }) => prefix !== tracked.prefix);
    this.#tracked.push(tracked);
    if (isNew) for (const node of this.#nodes.values()) if (node.tracks) renew(node);
    this.#start();
  }

  /** Subscribes to a channel; each channel has one subscriber. Returns a function that unsubscribes. */
  subscribe(channel: string, subscriber: ChannelSubscriber): () => void {
    this.#channels.set(channel, subscriber);
    for (const node of this.#nodes.values()) if (node.listens) void this.#listen(node, channel);
    this.#start();
    return () => this.#unsubscribe(channel, subscriber);
  }

  #start(): void {
    if (this.#heartbeat !== undefined || this.#closed) return;
    this.#heartbeat = setInterval(() => this.#checkNodes(), this.#heartbeatMs);
    this.#heartbeat.unref();
    let first = !this.#connection.hasConnected();
    // A failover may have led the other connection to another master: follow it.
    this.#stopListening = this.#connection.onConnect(() => {
      if (first) this.#checkNodes();
      else for (const node of this.#nodes.values()) renew(node);
      first = false;
    });
    // Redis takes no AUTH from a subscriber.
    this.#connection.password?.onRenewal(() => {
      for (const node of this.#nodes.values()) renew(node);
    });
    if (!first) this.#checkNodes();
  }

  /** Has every message arrived that is older than `withinMs`? */
  isAlive(withinMs: number): boolean {
    return monotonicNow() - this.#provenAt <= withinMs;
  }

  /** Has Redis refused to tell of changes, or to send messages, since it last did so? */
  get isRefused(): boolean {
    return this.#hasWarned;
  }

  /** The reason for which the listening connection cannot be made, although Redis answers calls; undefined without one. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Waits up to `ms` until the connections listen. Resolves to false if they do not. */
  async ready(ms: number): Promise<boolean> {
    if (this.isAlive(this.#proofTimeoutMs) || this.#closed) return !this.#closed;
    return new Promise((resolve) => {
      const timer = setTimeout(() => settle(false), ms);
      const wake = (): void => settle(true);
      const settle = (ready: boolean): void => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve(ready && !this.#closed);
      };
      this.#waiting.add(wake);
    });
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#heartbeat);
    this.#stopListening?.();
    for (const node of this.#nodes.values()) node.client.disconnect();
    this.#nodes.clear();
    this.#provenAt = Number.NEGATIVE_INFINITY;
    for (const wake of [...this.#waiting]) wake();
  }

  #checkNodes(): void {
    if (this.#closed) return;
    this.#reconcile();
    for (const node of this.#nodes.values()) {
      if (node.armed) this.#ping(node);
      // A client may end for good; connect.ts says why.
      else if (node.client.status === "end") node.client.connect().catch(() => undefined);
      else this.#endStalled(node);
    }
    this.#checkFailure();
  }

  /** Reports that connections cannot be made, once for each reason. */
  #checkFailure(): void {
    const nodes = [...this.#nodes.values()];
    this.#observe?.(nodes.length > 0 && nodes.every(({ armed, isRefused }) => armed && !isRefused));
    const now = monotonicNow();
    const failed = nodes.find(({ armed, since }) => !armed && now - since > patienceMs);
    if (failed === undefined || !this.#connection.isUp()) {
      if (nodes.every(({ armed }) => armed)) this.#failure = undefined;
      return;
    }
    const reason = failed.reason ?? "no answer";
    if (this.#failure === reason || this.#hasWarned) return;
    this.#failure = reason;
    this.#logger.warn({ reason }, `portcullis: the listening connection to Redis cannot be made: ${reason}`);
  }

  /** Ends a connection that was made but never began to listen: with a silent peer it would not end by itself. */
  #endStalled(node: ListeningNode): void {
    if (node.connectedAt === undefined || monotonicNow() - node.connectedAt <= this.#proofTimeoutMs) return;
    this.#disarm(node);
    renew(node);
  }

  /** Opens a connection to each master of now, and closes those to former masters. */
  #reconcile(): void {
    const { client } = this.#connection;
    const masters = new Map<string, RedisLike>();
    if (this.#connection.isCluster) for (const node of mastersOf(client)) masters.set(addressOf(node), node);
    else masters.set("", client);
    for (const [address, node] of this.#nodes) {
      const master = masters.get(address);
      if (master !== undefined) {
        node.master = master;
        continue;
      }
      this.#nodes.delete(address);
      node.client.disconnect();
    }
    for (const [address, master] of masters) if (!this.#nodes.has(address)) this.#open(address, master);
    this.#updateProof();
  }

  #open(address: string, master: RedisLike): void {
    if (master.duplicate === undefined) return this.#warn(new StoreFault("refused"));
    const client = master.duplicate(listenerOptions) as ListeningClient;
    const node: ListeningNode = {
      client,
      master,
      leaving: false,
      since: monotonicNow(),
      reason: undefined,
      ...disarmed,
    };
    this.#nodes.set(address, node);
    if (this.#connection.password === undefined) followCredentials(client, () => node.master);
    else this.#connection.password.guard(client as unknown as Redis, "mute");
    client.on("error", (error: Error) => {
      muteSocket(client);
      node.reason = causeOf(error).reason;
      if (/^(?:WRONGPASS|NOAUTH)/.test(node.reason)) this.#connection.password?.refused();
    });
    client.on("connect", () => {
      node.connectedAt = monotonicNow();
      node.leaving = false;
    });
    client.on("ready", () => void this.#arm(node));
    client.on("close", () => {
      node.leaving = false;
      if (node.armed) node.since = monotonicNow();
      this.#disarm(node);
    });
    client.on("messageBuffer", (channel: Buffer, message: Buffer | Buffer[] | null) => {
      this.#receive(channel.toString(), message);
    });
    client.connect().catch(() => undefined);
  }

  async #arm(node: ListeningNode): Promise<void> {
    const { client } = node;
    try {
      const isRefused = this.#tracked.length > 0 && !(await this.#trackOn(node));
      node.tracks = true;
      node.listens = true;
      await client.subscribe(invalidations, ...this.#channels.keys());
      this.#flush();
      this.#reportGaps();
      node.armed = true;
      node.reason = undefined;
      node.isRefused = isRefused;
      this.#ping(node);
      if (isRefused) setTimeout(() => node.isRefused && renew(node), refusalRetryMs).unref();
      else this.#hasWarned = false;
    } catch (error) {
      node.reason = causeOf(error).reason;
      this.#warn(error);
      if (!this.#closed && client.status === "ready") setTimeout(() => renew(node), 1000).unref();
    }
  }

  /**
   * Tracks the prefixes. Resolves to false if the server refuses, for want of a permission or since it does not know the
   * command: then the connection still receives messages, but nothing proves that changes are told.
   */
  async #trackOn(node: ListeningNode): Promise<boolean> {
    try {
      const id = readInteger(await node.client.call("CLIENT", "ID"));
      node.tracks = true;
      const prefixes = [...new Set(this.#tracked.map(({ prefix }) => this.#keyPrefix + prefix))];
      const options = prefixes.flatMap((prefix) => ["PREFIX", prefix]);
      await node.client.call("CLIENT", "TRACKING", "ON", "REDIRECT", id, "BCAST", ...options);
      return true;
    } catch (error) {
      if (faultOfError(error).reply === undefined) throw error;
      this.#warn(error);
      return false;
    }
  }

  /** Subscribes to a channel on a connection that listens already. Earlier messages of the channel are a gap. */
  async #listen(node: ListeningNode, channel: string): Promise<void> {
    try {
      await node.client.subscribe(channel);
      this.#channels.get(channel)?.gap();
    } catch (error) {
      this.#warn(error);
      if (!this.#closed && node.client.status === "ready") renew(node);
    }
  }

  #unsubscribe(channel: string, subscriber: ChannelSubscriber): void {
    if (this.#channels.get(channel) !== subscriber) return;
    this.#channels.delete(channel);
    for (const node of this.#nodes.values()) {
      if (node.listens) node.client.unsubscribe(channel).catch(() => undefined);
    }
  }

  #disarm(node: ListeningNode): void {
    Object.assign(node, disarmed);
    this.#updateProof();
  }

  /** Sends a ping if none is pending. A ping that is pending for too long shows a connection that only looks alive. */
  #ping(node: ListeningNode): void {
    const now = monotonicNow();
    if (node.askedAt !== undefined) {
      if (now - node.askedAt <= this.#proofTimeoutMs) return;
      this.#disarm(node);
      renew(node);
      return;
    }
    node.askedAt = now;
    node.client.call("PING").then(
      () => {
        if (node.askedAt !== now) return;
        node.askedAt = undefined;
        node.provenAt = node.isRefused ? Number.NEGATIVE_INFINITY : now;
        this.#updateProof();
        if (this.isAlive(this.#proofTimeoutMs)) for (const wake of [...this.#waiting]) wake();
      },
      () => undefined,
    );
  }

  #updateProof(): void {
    this.#provenAt =
      this.#nodes.size === 0
        ? Number.NEGATIVE_INFINITY
        : Math.min(...Array.from(this.#nodes.values(), ({ provenAt }) => provenAt));
  }

  #receive(channel: string, message: Buffer | Buffer[] | null): void {
    if (channel !== invalidations) {
      if (Buffer.isBuffer(message)) this.#channels.get(channel)?.receive(message);
      return;
    }
    if (!Array.isArray(message)) return this.#flush();
    for (const bytes of message) {
      const named = bytes.toString();
      if (!named.startsWith(this.#keyPrefix)) continue;
      const key = named.slice(this.#keyPrefix.length);
      for (const tracked of this.#tracked) if (key.startsWith(tracked.prefix)) tracked.invalidate(key);
    }
  }

  #flush(): void {
    for (const tracked of this.#tracked) tracked.flush();
  }

  #reportGaps(): void {
    for (const subscriber of this.#channels.values()) subscriber.gap();
  }

  #warn(error: unknown): void {
    this.#connection.unreadable?.("tracking", error);
    const fault = faultOfError(error).kind;
    if (fault === "unreachable" || this.#hasWarned || this.#closed) return;
    this.#hasWarned = true;
    const { reason } = causeOf(error);
    this.#logger.warn({ fault, reason }, `portcullis: Redis refuses to tell of changes: ${reason}`);
  }
}
