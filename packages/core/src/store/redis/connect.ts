import type { RedisLike } from "./client.js";
import { Cluster } from "ioredis";
import type { Logger } from "../../telemetry/logger.js";
import { Telemetry } from "../../telemetry/telemetry.js";
import type { TellUnreadable, UnreadablePart } from "./replies.js";
import { faultOfError, createUnreadableReport } from "./replies.js";
import type { Script } from "./scripts/script.js";
import type { OwnClient, RedisPlace } from "./topology.js";
import { createClient, findUnsafeOptions, retrySoon } from "./topology.js";
import { StoreFault } from "../ports/decisions.js";

export interface Connection {
  readonly client: RedisLike;
  readonly isCluster: boolean;
  /** What options a client that the user made should have and has not. */
  readonly unsafeOptions: readonly string[];
  /** False until the first connection is made; true ever after, so that a lost connection fails at once. */
  readonly hasConnected: () => boolean;
  /** Can commands go out now? */
  isUp(): boolean;
  /** Calls the listener whenever a connection is made, or a Cluster goes on without a node; returns how to stop that. */
  onConnect(listener: () => void): () => void;
  /** Calls the listener when the gate closes the connection; returns how to stop that. */
  onClose?(listener: () => void): () => void;
  /**
   * Connects anew, since the server says it is a read-only replica and the address may lead to the master by now. Not more
   * often than every 10 s: reads work on a replica too, and would fail meanwhile.
   */
  leaveReplica(): void;
  /** Told of values and replies that cannot be read. */
  readonly unreadable?: TellUnreadable | undefined;
  /** Ends our own client within 300 ms, even on a stopped server; a client the user made is left to its user. */
  close(): Promise<void>;
}

/** What a client of a Cluster tells besides. */
interface ClusterNodes {
  on(event: "-node", listener: () => void): unknown;
  off(event: "-node", listener: () => void): unknown;
}

export interface ConnectOptions {
  readonly redis: RedisPlace | RedisLike;
  readonly deadlineMs: number;
  readonly logger: Logger;
  /** Loaded whenever a connection is made, so that the first request need not send their text. */
  readonly scripts: readonly Script[];
  readonly telemetry?: Telemetry | undefined;
}

const quitTimeoutMs = 300;
const replicaRetryMs = 10_000;

/** Connects at once; a server that is away is tried again for ever, and errors go to the log, never to the process. */
export function connect({
  redis,
  deadlineMs,
  logger,
  scripts,
  telemetry = new Telemetry(),
}: ConnectOptions): Connection {
  const own: OwnClient | undefined = "topology" in redis ? createClient(redis, deadlineMs) : undefined;
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

  /**
   * A client under Sentinel ends for good, retryStrategy or not, if it hears of a failover while it asks a sentinel for the
   * master (ioredis 5 and 6: the failover detector disconnects the connector that is connecting).
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

  /** A replica may have taken its place, without the last writes and without the scripts. */
  function greetSuccessor(): void {
    if (connected && !closing) greet();
  }

  function logError(error: Error): void {
    if (closing) return;
    logger.warn({ fault: faultOfError(error).kind }, "portcullis: the connection to Redis failed");
  }

  /** A Cluster is ready before its nodes are. */
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
 * A single call with a deadline, for what is not batched. Rejects with a StoreFault; what arrives later is dropped.
 * Before the first connection it waits for that, up to the deadline, or until the connection is closed.
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
    // Otherwise the timer would keep a process that has closed its gate from ending.
    const stop = connection.onClose?.(() => giveUp("unreachable"));
    if (stop !== undefined) stops.push(stop);
  });
}

/** A client of one node of a Cluster, as ioredis keeps it. */
interface NodeClient {
  readonly status: string;
  connect(): Promise<unknown>;
  once(event: "ready" | "end", listener: () => void): unknown;
  off(event: "ready" | "end", listener: () => void): unknown;
}

/** A node that is away must not keep those that are there from being used. */
const masterTimeoutMs = 1000;

/**
 * Resolves when a Cluster's masters are connected, or after a second. ioredis connects to a node when the first command
 * goes there, and until it has done so fails all others (with `enableOfflineQueue: false`): the first requests of a
 * process, and what it examines, would meet a Redis that seems away.
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

/** What a client of a Cluster has for its slots. */
interface SlotsClient {
  readonly status: string;
  refreshSlotsCache(): void;
  on(event: "-node", listener: () => void): unknown;
  off(event: "-node", listener: () => void): unknown;
}

const slotsEveryMs = 500;
/** For so long after a node has gone its successor is looked for at every tick. */
const seekingMs = 10_000;
const tickMs = 125;

/**
 * Asks a Cluster for its slots every half second, and four times as often when a node has gone; returns how to stop that. It
 * stands for `slotsRefreshInterval`, after which a process may never end: an answer that comes after `disconnect()` starts
 * the next round (ioredis 5 and 6).
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
