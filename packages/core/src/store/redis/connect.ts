import type { Script } from "./scripts/lua.js";
import type { RedisLike } from "./client.js";
import { listenTo, muteSocket } from "./client.js";
import { connectMasters, isClusterNode, refreshSlots } from "./cluster-nodes.js";
import { Cluster } from "ioredis";
import type { Redis } from "ioredis";
import type { Logger } from "../../telemetry/logger.js";
import { Telemetry } from "../../telemetry/telemetry.js";
import { ConnectionWait } from "./connection-wait.js";
import type { Cause } from "./outages.js";
import { Diagnosis } from "./diagnosis.js";
import { addressIn, causeOf, endedClient, isVague, OutageReport } from "./outages.js";
import { followCredentials, PasswordSource } from "./password.js";
import type { TellUnreadable, UnreadablePart } from "./replies.js";
import { faultOfError, createUnreadableReport } from "./replies.js";
import { closeSilent, stillAnswers } from "./silent-connections.js";
import type { ClientOverrides, OwnClient, RedisPlace } from "./topology.js";
import { adapts, copyClient, createClient, findUnsafeOptions, retrySoon } from "./topology.js";
import { StoreFault } from "../ports/fault.js";
import { clearTimeout, monotonicNow, setImmediate, setTimeout } from "../../lib/real-timers.js";

export interface Connection {
  /** Another client once the server has shown that it is a node of a Cluster: before the first connection is reported. */
  readonly client: RedisLike;
  readonly isCluster: boolean;
  /** Options that the client of the user should have and does not have. */
  readonly unsafeOptions: readonly string[];
  /** False until the first connection is made, and true afterwards. */
  readonly hasConnected: () => boolean;
  /** How long calls wait for the connection; undefined if they never do. */
  readonly wait?: ConnectionWait | undefined;
  /** Can commands be sent now? */
  isUp(): boolean;
  /** The cause for which there is no connection; undefined while there is one, or while it is made. */
  readonly cause?: (() => Cause | undefined) | undefined;
  /**
   * Calls the listener at each connection, and when a Cluster loses a node. Returns a function that removes the
   * listener.
   */
  onConnect(listener: () => void): () => void;
  /**
   * Connects anew, after a read-only replica has answered: the address may lead to the master by now. At most once in
   * 10 s, since reads work on a replica and fail during the reconnection.
   */
  leaveReplica(): void;
  /** Reports values and replies that cannot be read, and calls that fail. */
  readonly unreadable?: TellUnreadable | undefined;
  /** The password of a client of our own that changes. */
  readonly password?: PasswordSource | undefined;
  /** Ends a client of our own within 300 ms, even with a stopped server. A client of the user stays open. */
  close(): Promise<void>;
}

export interface ConnectOptions {
  readonly redis: RedisPlace | RedisLike;
  readonly deadlineMs: number;
  /** How long calls wait for the first connection, and once after the process stood still: all of them together. @default 500 */
  readonly connectDeadlineMs?: number | undefined;
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
const recheckMs = 25;

/** Connects at once, and retries without end. Errors go to the log and never end the process. */
export function connect({
  redis,
  deadlineMs,
  connectDeadlineMs = 500,
  logger,
  scripts,
  telemetry = new Telemetry(),
  further,
  silenceMs = Math.max(minSilenceMs, 2 * deadlineMs),
}: ConnectOptions): Connection {
  const place = "topology" in redis ? redis : undefined;
  const report = new OutageReport({
    logger,
    isUp: () => client.status === "ready",
    isBroken: () => telemetry.isBroken,
  });
  const password = sourceOf(place, report);
  const diagnosis =
    place === undefined || place.topology === "standalone"
      ? undefined
      : new Diagnosis(place, (cause) => isReady() || report.connectionFailed(cause));
  let own: OwnClient | undefined =
    place === undefined ? copyOf(redis as RedisLike, further) : createClient(place, further);
  let client: RedisLike = own ?? (redis as RedisLike);
  const unsafeOptions = own === undefined ? findUnsafeOptions(client) : [];
  const listeners = new Set<() => void>();
  let connected = client.status === "ready";
  const wait = new ConnectionWait({
    deadlineMs,
    connectDeadlineMs: Math.max(deadlineMs, connectDeadlineMs),
    isConnected: connected,
    check: () => void checkConnection(),
  });
  let closing = false;
  let hasErred = false;
  let leftReplicaAt = Number.NEGATIVE_INFINITY;
  let revival: NodeJS.Timeout | undefined;
  let stops: (() => void)[] = [];

  /**
   * Connects a client again that has ended. With Sentinel, ioredis 5 and 6 end a client for good, despite its
   * `retryStrategy`, if a failover is detected while the client asks a sentinel for the master.
   */
  function revive(client: OwnClient): void {
    if (closing || client !== own) return;
    revival = setTimeout(() => void client.connect().catch(() => undefined), retrySoon(1));
    revival.unref();
  }

  function greet(): void {
    greetNode();
    wait.connected();
  }

  function greetNode(): void {
    connected = true;
    report.connected();
    for (const { source } of scripts) loadScript(client, source);
    for (const listener of listeners) listener();
  }

  /** A node is gone. The promoted replica may not have the last writes and the scripts. */
  function greetSuccessor(): void {
    if (connected && !closing) greetNode();
  }

  /** After a standstill. What has closed is made again at once; what is silent is closed. */
  async function checkConnection(): Promise<void> {
    while (!closing && wait.isPromising) {
      if ((await stillAnswers(client, { own: own !== undefined, deadlineMs })) && isReady()) return wait.connected();
      await pause(recheckMs);
    }
  }

  function fail(error: unknown, key?: unknown, isOfLost = false): void {
    if (closing) return;
    hasErred = true;
    // ioredis asks for the slots on connections of their own.
    if (client.isCluster === true && error instanceof Error && error.message === "timeout") return;
    if (/^(?:WRONGPASS|NOAUTH)/.test(causeOf(error).reason)) password?.refused(client.isCluster);
    if (own !== undefined && adapts(own, error)) return;
    const cause = causeOf(error, addressIn(key) ?? place?.addresses[0]);
    if (!isOfLost) wait.failed(cause);
    if (diagnosis !== undefined && isVague(cause)) diagnosis.start(cause, password?.current);
    else report.connectionFailed(cause);
  }

  /** A lost connection to a node was reset; a node that is gone refuses the next one. */
  function failNode(error: unknown, key?: unknown): void {
    fail(error, key, /^(?:ECONNRESET|EPIPE)$/.test(causeOf(error).reason));
  }

  /** Closed without an error, before the server could be used: a proxy, or a port of another protocol. */
  function closed(wasReady: boolean): void {
    if (!wasReady && !hasErred) fail(new Error("closed"));
    hasErred = false;
  }

  function ready(): void {
    if (closing) return;
    // A Cluster client is ready before its nodes are.
    if (client.isCluster === true) void connectMasters(client).then(() => isReady() && greet());
    else if (place?.topology === "standalone" && place.path === undefined && !connected) void lookFirst(client, place);
    else greet();
  }

  function isReady(): boolean {
    return !closing && client.status === "ready";
  }

  /** Has the application ended its client? A client of the gate is made to connect again. */
  function isEnded(): boolean {
    return own === undefined && client.status === "end";
  }

  /** Looks whether the server is a node of a Cluster, and makes a client of the Cluster then. */
  async function lookFirst(first: RedisLike, place: RedisPlace): Promise<void> {
    const isNode = await isClusterNode(first);
    if (first !== client || !isReady()) return;
    if (!isNode || place.db !== 0) return greet();
    logger.debug({}, "portcullis: Redis is in cluster mode; it is used as a Cluster, as with redis+cluster://");
    replaceBy(createClient({ ...place, topology: "cluster" }, further));
  }

  function replaceBy(next: OwnClient): void {
    for (const stop of stops) stop();
    own?.on("error", () => undefined);
    own?.disconnect();
    own = next;
    client = next;
    begin();
  }

  function begin(): void {
    let wasReady = false;
    stops = [
      listenTo(client, "ready", () => {
        wasReady = true;
        ready();
      }),
      listenTo(client, "error", (error) => {
        muteSocket(client);
        fail(error, undefined, wasReady);
      }),
    ];
    if (client.isCluster === true)
      stops.push(listenTo(client, "-node", greetSuccessor), listenTo(client, "node error", failNode));
    if (own !== undefined) {
      const current = own;
      password?.protect(current);
      stops.push(
        listenTo(current, "end", () => revive(current)),
        listenTo(current, "close", () => {
          closed(wasReady);
          wasReady = false;
        }),
        closeSilent(current, silenceMs),
      );
      if (current instanceof Cluster) current.on("+node", (node: Redis) => node.on("error", () => muteSocket(node)));
      if (current instanceof Cluster) stops.push(refreshSlots(current, () => password?.check()));
      current.connect().catch(() => undefined);
    } else if (connected) {
      greet();
    } else if (client.status === "wait") {
      client.connect?.().catch(() => undefined);
    } else if (isEnded()) {
      wait.failed(endedClient);
      report.connectionFailed(endedClient);
    }
  }

  const tellUnreadable = createUnreadableReport(logger, telemetry);
  begin();

  return {
    get client() {
      return client;
    },
    get isCluster() {
      return client.isCluster === true;
    },
    unsafeOptions,
    hasConnected: () => connected,
    wait,
    isUp: () => connected && client.status === "ready",
    cause() {
      if (isEnded()) return endedClient;
      return (client.status === "ready" ? undefined : report.connection) ?? report.call;
    },
    onConnect(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    unreadable(part, error) {
      // What an examination or a listening connection is refused, they say themselves.
      if (!closing && part !== "examination" && part !== "tracking") report.callFailed(error);
      if (part !== "examination") tellUnreadable(part, error);
    },
    leaveReplica() {
      if (own === undefined || monotonicNow() - leftReplicaAt < replicaRetryMs) return;
      leftReplicaAt = monotonicNow();
      own.disconnect(true);
    },
    password,
    async close() {
      closing = true;
      clearTimeout(revival);
      wait.close();
      report.close();
      diagnosis?.close();
      password?.close();
      for (const stop of stops) stop();
      if (own === undefined) return;
      own.on("error", () => own !== undefined && muteSocket(own));
      if (own.status === "ready") await Promise.race([own.quit().catch(() => undefined), pause(quitTimeoutMs)]);
      own.disconnect();
    },
  };
}

/** The source of a password that changes. */
function sourceOf(place: RedisPlace | undefined, report: OutageReport): PasswordSource | undefined {
  if (typeof place?.password !== "function") return undefined;
  return new PasswordSource({
    get: place.password,
    username: place.username,
    onFailure: (reason) => report.connectionFailed({ fault: "refused", reason }),
    onRefusal: (error) => report.connectionFailed(causeOf(error, place.addresses[0])),
  });
}

/** A copy of a client of the user, which also follows changes of its password. */
function copyOf(client: RedisLike, further: ClientOverrides | undefined): OwnClient | undefined {
  if (further === undefined) return undefined;
  const copy = copyClient(client, further);
  if (copy !== undefined && client.isCluster !== true) followCredentials(copy, () => client);
  return copy;
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
 * Makes a single call with a deadline. Rejects with a StoreFault; a later reply is dropped. A call that waits for the
 * connection has more time, until the connection is closed. If too many calls wait, further ones are "overloaded".
 *
 * @param whose "background" for a call for which no request waits, such as one of a timer: it does not begin the wait for the
 *   connection, and is not counted among the calls that wait.
 */
export async function callWithin<T>(
  deadlineMs: number,
  connection: Connection,
  call: () => Promise<T>,
  part: UnreadablePart = "other",
  whose?: "background",
): Promise<T> {
  const { wait } = connection;
  const waitMs = (whose === undefined ? wait?.ms : wait?.backgroundMs) ?? 0;
  const isCounted = waitMs > 0 && whose === undefined;
  const refusal = isCounted ? wait?.enter() : undefined;
  if (refusal !== undefined) throw refusal;
  return new Promise<T>((resolve, reject) => {
    const timer = setTimeout(expire, Math.max(deadlineMs, waitMs));
    let hasExpired = false;

    /** After a blocked event loop, the reply is read first. A call that still waits is not sent any more. */
    function expire(): void {
      hasExpired = true;
      setImmediate(() => giveUp("timeout"));
    }

    function giveUp(kind: "timeout" | "unreachable"): void {
      if (waiting !== undefined) wait?.remove(waiting);
      clearTimeout(timer);
      reject(new StoreFault(kind));
    }

    async function send(): Promise<void> {
      if (hasExpired) return;
      try {
        resolve(await call());
      } catch (error) {
        connection.unreadable?.(part, error);
        reject(faultOfError(error));
      } finally {
        clearTimeout(timer);
      }
    }

    const waiting =
      waitMs === 0 ? undefined : { isCounted, begin: () => void send(), end: () => giveUp("unreachable") };
    if (waiting === undefined) void send();
    else wait?.add(waiting);
  });
}
