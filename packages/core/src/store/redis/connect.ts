import type { RedisLike } from "./client.js";
import { Cluster } from "ioredis";
import type { Logger } from "../../telemetry/logger.js";
import { Telemetry } from "../../telemetry/telemetry.js";
import type { TellUnreadable, UnreadablePart } from "./replies.js";
import { faultOfError, createUnreadableReport, readTime } from "./replies.js";
import type { Script } from "./scripts/lua.js";
import { closeSilent } from "./silent-connections.js";
import type { ClientOverrides, OwnClient, RedisPlace } from "./topology.js";
import { copyClient, createClient, findUnsafeOptions, retrySoon } from "./topology.js";
import { StoreFault } from "../ports/fault.js";

export interface Connection {
  readonly client: RedisLike;
  readonly isCluster: boolean;
  /** Options that the client of the user should have and does not have. */
  readonly unsafeOptions: readonly string[];
  /** False until the first connection is made, and true afterwards: on a lost connection calls fail at once. */
  readonly hasConnected: () => boolean;
  /** Can commands be sent now? */
  isUp(): boolean;
  /**
   * Calls the listener at each connection, and when a Cluster loses a node. Returns a function that removes the
   * listener.
   */
  onConnect(listener: () => void): () => void;
  /** Calls the listener when the gate closes the connection, or has closed it. Returns a function that removes the listener. */
  onClose?(listener: () => void): () => void;
  /**
   * Connects anew, after a read-only replica has answered: the address may lead to the master by now. At most once in
   * 10 s, since reads work on a replica and fail during the reconnection.
   */
  leaveReplica(): void;
  /** Reports values and replies that cannot be read. */
  readonly unreadable?: TellUnreadable | undefined;
  /** Ends a client of our own within 300 ms, even with a stopped server. A client of the user stays open. */
  close(): Promise<void>;
}

/** The events of a Cluster client. */
interface ClusterNodes {
  on(event: "-node", listener: () => void): unknown;
  off(event: "-node", listener: () => void): unknown;
}

export interface ConnectOptions {
  readonly redis: RedisPlace | RedisLike;
  readonly deadlineMs: number;
  readonly logger: Logger;
  /** Scripts that are loaded at each connection, so that the first request need not send their text. */
  readonly scripts: readonly Script[];
  readonly telemetry?: Telemetry | undefined;
  /** Makes a client of our own also where the user has given one: a copy with these options. */
  readonly further?: ClientOverrides | undefined;
  /** A connection of our own is closed when it has been silent for so long while replies are pending. */
  readonly silenceMs?: number | undefined;
}

const quitTimeoutMs = 300;
/** A connection may be silent for at least so long: calls have passed their deadlines long before it is closed. */
const minSilenceMs = 1000;
const replicaRetryMs = 10_000;

/** Connects at once, and retries without end. Errors go to the log and never end the process. */
export function connect({
  redis,
  deadlineMs,
  logger,
  scripts,
  telemetry = new Telemetry(),
  further,
  silenceMs = Math.max(minSilenceMs, 2 * deadlineMs),
}: ConnectOptions): Connection {
  const own: OwnClient | undefined =
    "topology" in redis ? createClient(redis, further) : further === undefined ? undefined : copyClient(redis, further);
  const client: RedisLike = own ?? (redis as RedisLike);
  const unsafeOptions = own === undefined ? findUnsafeOptions(client) : [];
  const isCluster = client.isCluster === true;
  const nodes = isCluster ? (client as unknown as ClusterNodes) : undefined;
  const listeners = new Set<() => void>();
  const closeListeners = new Set<() => void>();
  let connected = client.status === "ready";
  let closing = false;
  let leftReplicaAt = Number.NEGATIVE_INFINITY;
  let revival: NodeJS.Timeout | undefined;
  let stopRefreshing: (() => void) | undefined;
  let stopClosing: (() => void) | undefined;

  /**
   * Connects a client again that has ended. With Sentinel, ioredis 5 and 6 end a client for good, despite its
   * `retryStrategy`, if a failover is detected while the client asks a sentinel for the master.
   */
  function revive(client: OwnClient): void {
    if (closing) return;
    revival = setTimeout(() => void client.connect().catch(() => undefined), retrySoon(1));
    revival.unref();
  }

  function greet(): void {
    connected = true;
    for (const { source } of scripts) loadScript(client, source);
    for (const listener of listeners) listener();
  }

  /** A node is gone. The promoted replica may not have the last writes and the scripts. */
  function greetSuccessor(): void {
    if (connected && !closing) greet();
  }

  function logError(error: Error): void {
    if (closing) return;
    logger.warn({ fault: faultOfError(error).kind }, "portcullis: the connection to Redis failed");
  }

  /** A Cluster client is ready before its nodes are. */
  function ready(): void {
    if (!isCluster) greet();
    else void connectMasters(client).then(() => closing || client.status !== "ready" || greet());
  }

  client.on("ready", ready);
  nodes?.on("-node", greetSuccessor);
  if (own !== undefined) {
    own.on("error", logError);
    own.on("end", () => revive(own));
    if (own instanceof Cluster) stopRefreshing = refreshSlots(own);
    stopClosing = closeSilent(own, silenceMs);
    own.connect().catch(() => undefined);
  } else if (connected) {
    greet();
  } else if (client.status === "wait") {
    client.connect?.().catch(() => undefined);
  }

  return {
    client,
    isCluster,
    unsafeOptions,
    hasConnected: () => connected,
    isUp: () => client.status === "ready",
    onConnect(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    onClose(listener) {
      // A call that begins now, such as one that gives something back, would wait for its deadline.
      if (closing) queueMicrotask(listener);
      closeListeners.add(listener);
      return () => closeListeners.delete(listener);
    },
    unreadable: createUnreadableReport(logger, telemetry),
    leaveReplica() {
      if (own === undefined || performance.now() - leftReplicaAt < replicaRetryMs) return;
      leftReplicaAt = performance.now();
      own.disconnect(true);
    },
    async close() {
      closing = true;
      for (const listener of closeListeners) listener();
      clearTimeout(revival);
      stopRefreshing?.();
      client.off("ready", ready);
      nodes?.off("-node", greetSuccessor);
      if (own === undefined) return;
      if (own.status === "ready") await Promise.race([own.quit().catch(() => undefined), pause(quitTimeoutMs)]);
      own.disconnect();
      stopClosing?.();
    },
  };
}

function loadScript(client: RedisLike, source: string): void {
  const nodes =
    "nodes" in client && typeof client.nodes === "function"
      ? (client.nodes as (role: "master") => RedisLike[])("master")
      : [client];
  for (const node of nodes) node.call("SCRIPT", "LOAD", source).catch(() => undefined);
}

async function pause(ms: number): Promise<void> {
  await new Promise<void>((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}

/**
 * Makes a single call with a deadline. Rejects with a StoreFault; a later reply is dropped. Before the first connection
 * the call waits, up to the deadline or until the connection is closed.
 */
export async function callWithin<T>(
  deadlineMs: number,
  connection: Connection,
  call: () => Promise<T>,
  part: UnreadablePart = "other",
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const stops: (() => void)[] = [];
    const timer = setTimeout(() => setImmediate(() => giveUp("timeout")), deadlineMs);

    function stopWaiting(): void {
      for (const stop of stops) stop();
    }

    function giveUp(kind: "timeout" | "unreachable"): void {
      stopWaiting();
      clearTimeout(timer);
      reject(new StoreFault(kind));
    }

    function start(): void {
      stopWaiting();
      call()
        .then(resolve, (error: unknown) => {
          connection.unreadable?.(part, error);
          reject(faultOfError(error));
        })
        .finally(() => clearTimeout(timer));
    }

    if (connection.hasConnected()) {
      start();
      return;
    }
    stops.push(connection.onConnect(start));
    // Otherwise the timer would keep the process alive after the gate is closed.
    const stop = connection.onClose?.(() => giveUp("unreachable"));
    if (stop !== undefined) stops.push(stop);
  });
}

/** The ioredis client of one node of a Cluster. */
interface NodeClient {
  readonly status: string;
  connect(): Promise<unknown>;
  once(event: "ready" | "end", listener: () => void): unknown;
  off(event: "ready" | "end", listener: () => void): unknown;
}

/** Timeout of the connection to one master, so that a missing node does not delay the others. */
const masterTimeoutMs = 1000;

/**
 * Connects to the masters of a Cluster. Resolves when they are connected, or after a second. Otherwise ioredis would
 * connect to a node at its first command, and fail all other commands until then (with `enableOfflineQueue: false`):
 * the first requests and the examination would fail.
 */
export async function connectMasters(client: object): Promise<void> {
  if (!("nodes" in client) || typeof client.nodes !== "function") return;
  await Promise.all((client.nodes as (role: "master") => NodeClient[])("master").map(connected));
}

async function connected(node: NodeClient): Promise<void> {
  if (node.status === "ready") return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, masterTimeoutMs);
    function done(): void {
      clearTimeout(timer);
      node.off("ready", done);
      node.off("end", done);
      resolve();
    }
    node.once("ready", done);
    node.once("end", done);
    if (node.status === "wait") node.connect().catch(done);
  });
}

/** The part of a Cluster client that refreshes its slots. */
interface SlotsClient {
  readonly status: string;
  refreshSlotsCache(): void;
  on(event: "-node", listener: () => void): unknown;
  off(event: "-node", listener: () => void): unknown;
}

const slotsEveryMs = 500;
/** How long after the loss of a node its successor is searched for at every tick. */
const seekingMs = 10_000;
const tickMs = 125;

/**
 * Refreshes the slots of a Cluster every half second, and four times as often after the loss of a node. Returns a
 * function that stops this. It replaces the option `slotsRefreshInterval`, with which a process may never end: in
 * ioredis 5 and 6, an answer after `disconnect()` starts the next refresh.
 */
export function refreshSlots(client: SlotsClient): () => void {
  let askedAt = performance.now();
  let goneAt = Number.NEGATIVE_INFINITY;
  const note = (): void => void (goneAt = performance.now());
  const timer = setInterval(() => {
    const now = performance.now();
    if (client.status !== "ready" || (now - goneAt > seekingMs && now - askedAt < slotsEveryMs - tickMs / 2)) return;
    askedAt = now;
    client.refreshSlotsCache();
  }, tickMs);
  timer.unref();
  client.on("-node", note);
  return () => {
    clearInterval(timer);
    client.off("-node", note);
  };
}

/** Runs a script by its digest. After a restart, a failover or SCRIPT FLUSH the server gets its text. */
export async function runScript(
  client: RedisLike,
  script: Script,
  keys: readonly string[],
  args: readonly (string | number)[],
): Promise<unknown> {
  return callScript(client, script, [keys.length, ...keys, ...args]);
}

/** The same, with the number of keys, the keys and the arguments in one list. */
export async function callScript(
  client: RedisLike,
  { sha1, source }: Script,
  words: readonly (string | number)[],
): Promise<unknown> {
  try {
    return await client.call("EVALSHA", sha1, ...words);
  } catch (error) {
    // Nothing has run yet, so that the second call counts nothing twice.
    if (!isUnknown(error)) throw error;
    return client.call("EVAL", source, ...words);
  }
}

/** Does the server not know the script? */
export function isUnknown(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith("NOSCRIPT");
}

/** Interval of the questions for the time: clocks drift apart. */
export const refreshMs = 60_000;

/** Redis' time, computed by the monotonic clock: processes with wrong wall clocks agree on the age of a value. */
export class ServerClock {
  readonly #connection: Connection;
  readonly #stop: () => void;
  #offsetMs: number | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;

  constructor(connection: Connection) {
    this.#connection = connection;
    this.#stop = connection.onConnect(() => void this.#ask());
    if (connection.isUp()) void this.#ask();
  }

  /** Unix milliseconds; by the clock of this process before the first connection. */
  now(): number {
    const now = performance.now();
    if (now - this.#askedAt > refreshMs && this.#connection.isUp()) void this.#ask();
    return this.#offsetMs === undefined ? Date.now() : now + this.#offsetMs;
  }

  close(): void {
    this.#stop();
  }

  async #ask(): Promise<void> {
    const sentAt = performance.now();
    this.#askedAt = sentAt;
    try {
      const theirs = readTime(await this.#connection.client.call("TIME"));
      this.#offsetMs = theirs - (sentAt + performance.now()) / 2;
    } catch (error) {
      // An outage is reported elsewhere. The last offset stays in use.
      this.#connection.unreadable?.("clock", error);
    }
  }
}
