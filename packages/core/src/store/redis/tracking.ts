import type { Logger } from "../../telemetry/logger.js";
import type { Connection } from "./connect.js";
import type { RedisLike } from "./client.js";
import { StoreFault } from "../ports/decisions.js";
import { faultOfError, readInteger } from "./replies.js";
import { keyPrefixOf } from "./topology.js";

/** Who wants to know when keys with a prefix change. Prefixes of one tracking must not begin with each other. */
export interface TrackedPrefix {
  readonly prefix: string;
  /** This key was written, deleted, expired or evicted. */
  invalidate(key: string): void;
  /** Any key may have changed unheard: forget them all, and what is being read as well. */
  flush(): void;
}

/** Who wants to hear what is said on a channel. */
export interface ChannelSubscriber {
  hear(message: Buffer): void;
  /** Messages may have been missed. Also called when this begins to listen. */
  gap(): void;
}

export interface TrackingOptions {
  readonly connection: Connection;
  readonly logger: Logger;
  /** A proof of life is asked for this often. @default 500 */
  readonly heartbeatMs?: number;
  /** A connection that owes a proof for longer is made anew. @default 2000 */
  readonly patienceMs?: number;
}

const invalidations = "__redis__:invalidate";

/**
 * Redis' client-side-caching invalidation: one more connection to each master, which tracks key prefixes in broadcast
 * mode and hears channels too. (It redirects its invalidations to itself, which RESP2 permits to a subscriber.) One for
 * each Redis, whatever is heard of it; it connects when the first wants to hear something.
 *
 * Messages of a connection arrive in order. So an answered ping proves that everything invalidated before the ping was
 * sent has been heard, and `isAlive(ms)` means: whatever changed longer than that ago is known here. After each
 * (re)connection everything is flushed. To be free of races, mark a key as in flight before asking Redis for it, let
 * `invalidate` and `flush` clear the mark, and keep an answer only if its mark still stands.
 */
export class Tracking {
  readonly #connection: Connection;
  readonly #logger: Logger;
  readonly #heartbeatMs: number;
  readonly #patienceMs: number;
  /** What the client puts before every key, which whoever tracks knows nothing of. */
  readonly #keyPrefix: string;
  readonly #tracked: TrackedPrefix[] = [];
  readonly #channels = new Map<string, ChannelSubscriber>();
  readonly #nodes = new Map<string, Node>();
  readonly #waiting = new Set<() => void>();
  #provenAt = Number.NEGATIVE_INFINITY;
  #heart: NodeJS.Timeout | undefined;
  #stopListening: (() => void) | undefined;
  #complained = false;
  #closed = false;

  constructor({ connection, logger, heartbeatMs = 500, patienceMs = 2000 }: TrackingOptions) {
    this.#connection = connection;
    this.#keyPrefix = keyPrefixOf(connection.client);
    this.#logger = logger;
    this.#heartbeatMs = heartbeatMs;
    this.#patienceMs = patienceMs;
  }

  /** A prefix that comes late makes the connections anew, since Redis takes no commands from a subscriber. */
  track(tracked: TrackedPrefix): void {
    this.#tracked.push(tracked);
    for (const node of this.#nodes.values()) if (node.tracks) renew(node);
    this.#start();
  }

  /** Each channel once. Returns how to stop. Messages that come while a connection is away are lost: then there is a gap. */
  subscribe(channel: string, subscriber: ChannelSubscriber): () => void {
    this.#channels.set(channel, subscriber);
    for (const node of this.#nodes.values()) if (node.listens) void this.#listen(node, channel);
    this.#start();
    return () => this.#unsubscribe(channel, subscriber);
  }

  #start(): void {
    if (this.#heart !== undefined || this.#closed) return;
    this.#heart = setInterval(() => this.#beat(), this.#heartbeatMs);
    this.#heart.unref();
    let first = !this.#connection.hasConnected();
    // A failover may have led the other connection to another master: follow it.
    this.#stopListening = this.#connection.onConnect(() => {
      if (first) this.#beat();
      else for (const node of this.#nodes.values()) renew(node);
      first = false;
    });
    if (!first) this.#beat();
  }

  /** Has everything been heard that changed longer than `withinMs` ago? */
  isAlive(withinMs: number): boolean {
    return performance.now() - this.#provenAt <= withinMs;
  }

  /** Resolves when the connections listen, or after `ms`, to whether they do. */
  async ready(ms: number): Promise<boolean> {
    if (this.isAlive(this.#patienceMs) || this.#closed) return !this.#closed;
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
    clearInterval(this.#heart);
    this.#stopListening?.();
    for (const node of this.#nodes.values()) node.client.disconnect();
    this.#nodes.clear();
    this.#provenAt = Number.NEGATIVE_INFINITY;
    for (const wake of [...this.#waiting]) wake();
  }

  #beat(): void {
    if (this.#closed) return;
    this.#reconcile();
    for (const node of this.#nodes.values()) {
      if (node.armed) this.#prove(node);
      // It may end for good as the other connection may (connect.ts).
      else if (node.client.status === "end") node.client.connect().catch(() => undefined);
      else this.#hurry(node);
    }
  }

  /** A connection that is made but does not come to listen, since its peer is silent, would never end by itself. */
  #hurry(node: Node): void {
    if (node.connectedAt === undefined || performance.now() - node.connectedAt <= this.#patienceMs) return;
    this.#disarm(node);
    renew(node);
  }

  /** One connection to each master there is now. */
  #reconcile(): void {
    const { client } = this.#connection;
    const masters = new Map<string, RedisLike>();
    if (this.#connection.isCluster) for (const node of mastersOf(client)) masters.set(addressOf(node), node);
    else masters.set("", client);
    for (const [address, node] of this.#nodes) {
      if (masters.has(address)) continue;
      this.#nodes.delete(address);
      node.client.disconnect();
    }
    for (const [address, master] of masters) if (!this.#nodes.has(address)) this.#open(address, master);
    this.#judge();
  }

  #open(address: string, master: RedisLike): void {
    if (master.duplicate === undefined) return this.#complain(new StoreFault("refused"));
    const client = master.duplicate(listenerOptions) as ListeningClient;
    const node: Node = { client, leaving: false, ...disarmed };
    this.#nodes.set(address, node);
    client.on("error", () => undefined);
    client.on("connect", () => {
      node.connectedAt = performance.now();
      node.leaving = false;
    });
    client.on("ready", () => void this.#arm(node));
    client.on("close", () => {
      node.leaving = false;
      this.#disarm(node);
    });
    client.on("messageBuffer", (channel: Buffer, message: Buffer | Buffer[] | null) => {
      this.#hear(channel.toString(), message);
    });
    client.connect().catch(() => undefined);
  }

  async #arm(node: Node): Promise<void> {
    const { client } = node;
    try {
      if (this.#tracked.length > 0) {
        const id = readInteger(await client.call("CLIENT", "ID"));
        node.tracks = true;
        const prefixes = this.#tracked.flatMap(({ prefix }) => ["PREFIX", this.#keyPrefix + prefix]);
        await client.call("CLIENT", "TRACKING", "ON", "REDIRECT", id, "BCAST", ...prefixes);
      }
      node.tracks = true;
      node.listens = true;
      await client.subscribe(invalidations, ...this.#channels.keys());
      this.#flush();
      this.#reportGaps();
      node.armed = true;
      this.#prove(node);
      this.#complained = false;
    } catch (error) {
      this.#complain(error);
      if (!this.#closed && client.status === "ready") setTimeout(() => renew(node), 1000).unref();
    }
  }

  /** One more channel on a connection that listens already: what was said before it did is a gap. */
  async #listen(node: Node, channel: string): Promise<void> {
    try {
      await node.client.subscribe(channel);
      this.#channels.get(channel)?.gap();
    } catch (error) {
      this.#complain(error);
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

  #disarm(node: Node): void {
    Object.assign(node, disarmed);
    this.#judge();
  }

  /** Asks for a proof of life, if none is owed; one that is owed for too long means a connection that only looks alive. */
  #prove(node: Node): void {
    const now = performance.now();
    if (node.askedAt !== undefined) {
      if (now - node.askedAt <= this.#patienceMs) return;
      this.#disarm(node);
      renew(node);
      return;
    }
    node.askedAt = now;
    node.client.call("PING").then(
      () => {
        if (node.askedAt !== now) return;
        node.askedAt = undefined;
        node.provenAt = now;
        this.#judge();
        if (this.isAlive(this.#patienceMs)) for (const wake of [...this.#waiting]) wake();
      },
      () => undefined,
    );
  }

  #judge(): void {
    this.#provenAt =
      this.#nodes.size === 0
        ? Number.NEGATIVE_INFINITY
        : Math.min(...Array.from(this.#nodes.values(), ({ provenAt }) => provenAt));
  }

  #hear(channel: string, message: Buffer | Buffer[] | null): void {
    if (channel !== invalidations) {
      if (Buffer.isBuffer(message)) this.#channels.get(channel)?.hear(message);
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

  #complain(error: unknown): void {
    this.#connection.unreadable?.("tracking", error);
    const fault = faultOfError(error).kind;
    if (fault === "unreachable" || this.#complained || this.#closed) return;
    this.#complained = true;
    this.#logger.warn({ fault }, "portcullis: Redis refuses to tell of changes");
  }
}

interface Node {
  readonly client: ListeningClient;
  /** Its connection is told to close, so that another is made. */
  leaving: boolean;
  /** Redis was told the prefixes there were; one more needs another connection. */
  tracks: boolean;
  /** Redis was told the channels there were. */
  listens: boolean;
  armed: boolean;
  /** When there was a connection at all. */
  connectedAt: number | undefined;
  /** When the last ping that was answered went out. */
  provenAt: number;
  /** When the ping that is not answered went out. */
  askedAt: number | undefined;
}

/**
 * Makes another connection, once however many reasons there are: until a connection has closed, ioredis adds a listener to
 * it each time, and a Cluster that loses nodes gives many reasons at once.
 */
function renew(node: Node): void {
  if (node.leaving || !["connecting", "connect", "ready"].includes(node.client.status)) return;
  node.leaving = true;
  node.client.disconnect(true);
}

const disarmed = {
  tracks: false,
  listens: false,
  armed: false,
  connectedAt: undefined,
  provenAt: Number.NEGATIVE_INFINITY,
  askedAt: undefined,
};

function mastersOf(client: RedisLike): RedisLike[] {
  return (client as unknown as { nodes(role: "master"): RedisLike[] }).nodes("master");
}

function addressOf(node: RedisLike): string {
  const { host, port } = (node as unknown as { options: { host?: string; port?: number } }).options;
  return `${host ?? ""}:${port ?? 0}`;
}

/** What this needs of a connection of its own. */
export interface ListeningClient {
  readonly status: string;
  connect(): Promise<unknown>;
  disconnect(reconnect?: boolean): void;
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
  subscribe(...channels: string[]): Promise<unknown>;
  unsubscribe(...channels: string[]): Promise<unknown>;
  on(event: string, listener: (...values: never[]) => void): unknown;
}

/** A heartbeat takes the place of time-outs: a subscriber that hears nothing may just have nothing to hear. */
export const listenerOptions: object = {
  protocol: 2,
  lazyConnect: true,
  connectionName: "portcullis-tracking",
  keyPrefix: "",
  readOnly: false,
  enableOfflineQueue: false,
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  commandTimeout: undefined,
  socketTimeout: undefined,
  connectTimeout: 1000,
  disconnectTimeout: 500,
  retryStrategy: (attempt: number): number => Math.random() * Math.min(1000, 50 * 2 ** Math.min(attempt, 5)) + 25,
};
