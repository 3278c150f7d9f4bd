import { Cluster, Redis } from "ioredis";
import type { ClusterOptions, RedisOptions } from "ioredis";
import type { RedisLike } from "./client.js";

export interface RedisAddress {
  readonly host: string;
  readonly port: number;
}

/** Certificates as `node:tls` takes them. The server's certificate is always checked. */
export interface RedisTls {
  /** The authority that signed the server's certificate, in PEM. @default those that Node trusts */
  readonly ca?: string | Buffer | (string | Buffer)[] | undefined;
  /** Our own certificate, where the server asks for one (mutual TLS), in PEM. */
  readonly cert?: string | Buffer | undefined;
  /** The key of our own certificate, in PEM. */
  readonly key?: string | Buffer | undefined;
  readonly passphrase?: string | undefined;
  /** The name on the server's certificate. @default the host */
  readonly servername?: string | undefined;
}

/** A Redis that Portcullis makes its own client for, resolved. */
export interface RedisPlace {
  readonly topology: "standalone" | "sentinel" | "cluster";
  /** The server, the sentinels, or some nodes of the cluster. */
  readonly addresses: readonly RedisAddress[];
  /** A unix socket instead of an address. */
  readonly path: string | undefined;
  /** Under which the sentinels know the master. */
  readonly masterName: string | undefined;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly sentinelUsername: string | undefined;
  readonly sentinelPassword: string | undefined;
  readonly db: number;
  readonly tls: RedisTls | undefined;
}

/** A client of our own: what the two classes of ioredis share. */
export type OwnClient = Redis | Cluster;

/** Makes a client that is not connected yet, with the options of the request path. */
export function createClient(place: RedisPlace, deadlineMs: number): OwnClient {
  const { topology, addresses, path, db } = place;
  const credentials = credentialsOf(place);
  const common = { ...requestPathOptions(deadlineMs), ...credentials };
  if (topology === "cluster") return new Cluster([...addresses], clusterOptions(credentials, deadlineMs));
  if (topology === "sentinel") {
    return new Redis({
      ...common,
      ...sentinelCredentialsOf(place),
      sentinels: [...addresses],
      db,
      failoverDetector: true,
      sentinelCommandTimeout: 300,
      sentinelRetryStrategy: (attempt: number) => Math.random() * Math.min(1000, 50 * attempt) + 10,
    });
  }
  return new Redis(path === undefined ? { ...common, ...addresses[0], db } : { ...common, path, db });
}

type SentinelCredentials = Pick<
  RedisOptions,
  "name" | "sentinelUsername" | "sentinelPassword" | "enableTLSForSentinelMode" | "sentinelTLS"
>;

function credentialsOf({ username, password, tls }: RedisPlace): Pick<RedisOptions, "username" | "password" | "tls"> {
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls: { ...tls } }),
  };
}

function sentinelCredentialsOf({
  masterName,
  sentinelUsername,
  sentinelPassword,
  tls,
}: RedisPlace): SentinelCredentials {
  return {
    ...(masterName === undefined ? {} : { name: masterName }),
    ...(sentinelUsername === undefined ? {} : { sentinelUsername }),
    ...(sentinelPassword === undefined ? {} : { sentinelPassword }),
    ...(tls === undefined ? {} : { enableTLSForSentinelMode: true, sentinelTLS: { ...tls } }),
  };
}

/** Milliseconds until a connection is tried again: soon at first, and never in step with other processes. */
export function retrySoon(attempt: number): number {
  return Math.random() * Math.min(1000, 50 * 2 ** Math.min(attempt, 6)) + 25;
}

/** How long ioredis lets a connection close before it destroys it. */
const disconnectMs = 500;
/** When clients last left a server, by the options that ioredis makes for each of them. */
const departures = new WeakMap<object, number>();

/**
 * A server that says so is no master any more: connect anew, and send nothing twice (1, not 2). Once for all replies
 * that say it: ioredis adds a listener to the connection for each, until it has closed.
 */
function leavesReplica(this: unknown, error: Error): false | 1 {
  if (!/^(READONLY|MASTERDOWN)/.test(error.message)) return false;
  if (typeof this !== "object" || this === null) return 1;
  const now = performance.now();
  const left = departures.get(this);
  if (left !== undefined && now - left < disconnectMs) return false;
  departures.set(this, now);
  return 1;
}

/**
 * Options for connections on the request path, as measured against stopped, killed and failing servers: nothing is sent
 * twice (a reply may be lost after its INCR ran), and a connection that is silent while it owes an answer is given up.
 * `commandTimeout` only clears up behind our own deadline. It is far longer, because after a stall of our event loop
 * its timer would fire before the replies that are already there are read.
 */
const connectionOptions = (deadlineMs: number) =>
  ({
    connectionName: "portcullis",
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    commandTimeout: Math.max(1000, 2 * deadlineMs),
    socketTimeout: Math.max(1000, 2 * deadlineMs),
    connectTimeout: 1000,
    disconnectTimeout: disconnectMs,
    keepAlive: 5000,
    maxLoadingRetryTime: 500,
    reconnectOnError: leavesReplica,
  }) satisfies RedisOptions;

/** The same for a client of one server: nothing is queued while it is offline. */
const requestPathOptions = (deadlineMs: number) =>
  ({
    ...connectionOptions(deadlineMs),
    lazyConnect: true,
    enableOfflineQueue: false,
    retryStrategy: retrySoon,
  }) satisfies RedisOptions;

/** A command that a node has run is never sent to another, so nothing waits for a failover. */
const clusterOptions = (credentials: Pick<RedisOptions, "username" | "password" | "tls">, deadlineMs: number) =>
  ({
    lazyConnect: true,
    enableOfflineQueue: false,
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    retryDelayOnTryAgain: 0,
    retryDelayOnMoved: 0,
    maxRedirections: 3,
    slotsRefreshTimeout: 500,
    clusterRetryStrategy: (attempt: number) => Math.random() * Math.min(1000, 50 * attempt) + 25,
    redisOptions: { ...connectionOptions(deadlineMs), ...credentials },
  }) satisfies ClusterOptions;

type Options = Readonly<Record<string, unknown>>;

/**
 * The options of a client that are wrong in front of requests, with what they should be; none where they cannot be
 * read.
 */
export function findUnsafeOptions(client: RedisLike): string[] {
  const options = (client as { readonly options?: Options }).options;
  if (typeof options !== "object") return [];
  const node = client.isCluster === true ? ((options.redisOptions ?? {}) as Options) : options;
  const unsafe: string[] = [];
  function expect(ok: boolean, advice: string): void {
    if (!ok) unsafe.push(advice);
  }
  expect(options.enableOfflineQueue === false, "enableOfflineQueue: false");
  if (client.isCluster === true) expect(options.retryDelayOnFailover === 0, "retryDelayOnFailover: 0");
  else expect(options.autoResendUnfulfilledCommands === false, "autoResendUnfulfilledCommands: false");
  expect(node.maxRetriesPerRequest === 0, "maxRetriesPerRequest: 0");
  expect(isTime(node.commandTimeout) || isTime(node.socketTimeout), "socketTimeout: 1000");
  return unsafe;
}

/**
 * What a client that the user made puts before every key of a command and of a script's KEYS. It does not know the keys
 * among a script's arguments, nor those that the server tells of.
 */
export function keyPrefixOf(client: RedisLike): string {
  const prefix = (client as { readonly options?: Options }).options?.keyPrefix;
  return typeof prefix === "string" || Buffer.isBuffer(prefix) ? prefix.toString() : "";
}

function isTime(value: unknown): boolean {
  return typeof value === "number" && value > 0;
}
