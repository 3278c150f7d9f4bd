import { isIP } from "node:net";
import { checkServerIdentity } from "node:tls";
import type { PeerCertificate } from "node:tls";
import { Cluster, Redis } from "ioredis";
import type { ClusterOptions, RedisOptions } from "ioredis";
import type { RedisLike } from "./client.js";
import type { PasswordFunction } from "./password.js";
import { faultOfError } from "./replies.js";
import { monotonicNow } from "../../lib/real-timers.js";

export interface RedisAddress {
  readonly host: string;
  readonly port: number;
}

/** Certificates, as in `node:tls`. The certificate of the server is always verified. */
export interface RedisTls {
  /** The certificate authority of the server's certificate, in PEM. @default the authorities that Node trusts */
  readonly ca?: string | Buffer | (string | Buffer)[] | undefined;
  /** The client certificate for mutual TLS, in PEM. */
  readonly cert?: string | Buffer | undefined;
  /** The private key of the client certificate, in PEM. */
  readonly key?: string | Buffer | undefined;
  /** Passphrase of the key. @default none */
  readonly passphrase?: string | undefined;
  /** The name in the certificate of the server. @default the host */
  readonly servername?: string | undefined;
}

/** A resolved Redis for which Portcullis creates a client. */
export interface RedisPlace {
  readonly topology: "standalone" | "sentinel" | "cluster";
  /** The server, the sentinels, or some nodes of the cluster. */
  readonly addresses: readonly RedisAddress[];
  /** The path of a unix socket, instead of an address. */
  readonly path: string | undefined;
  /** The name of the master in the sentinels. */
  readonly masterName: string | undefined;
  readonly username: string | undefined;
  readonly password: string | PasswordFunction | undefined;
  readonly sentinelUsername: string | undefined;
  readonly sentinelPassword: string | undefined;
  readonly db: number;
  readonly tls: RedisTls | undefined;
  /** The version of IP; 0 is any. */
  readonly family: IpFamily | undefined;
  /** The addresses under which nodes are reached, by the addresses that a Cluster or sentinels announce. */
  readonly natMap: NatMap | undefined;
}

/** The version of IP that names are resolved to; 0 for either. */
export type IpFamily = 0 | 4 | 6;

/** Addresses by announced `host:port`. */
export type NatMap = Readonly<Record<string, RedisAddress>>;

/** A client that Portcullis has created. */
export type OwnClient = Redis | Cluster;

/** Options of a client that differ from those of the request path. */
export type ClientOverrides = Pick<RedisOptions, "protocol" | "keyPrefix" | "connectionName">;

/** Creates a client with the options of the request path. It is not connected yet. */
export function createClient(place: RedisPlace, overrides: ClientOverrides = {}): OwnClient {
  const { topology, addresses, path, db, family, natMap } = place;
  const credentials = { ...credentialsOf(place), ...(family === undefined ? {} : { family }), ...overrides };
  const common = { ...requestPathOptions, ...credentials, ...(natMap === undefined ? {} : { natMap: { ...natMap } }) };
  if (topology === "cluster") return new Cluster([...addresses], clusterOptionsOf(place, credentials));
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

/**
 * Creates a client of the first sentinel, or of the first node of a Cluster, which connects once. ioredis drops the
 * errors of its own connections to sentinels, and of those by which it asks for the slots of a Cluster.
 */
export function createProbe(place: RedisPlace, password: string | undefined): Redis {
  const { topology, addresses, family, sentinelUsername, sentinelPassword } = place;
  const credentials =
    topology === "sentinel"
      ? credentialsOf({ ...place, username: sentinelUsername, password: sentinelPassword })
      : credentialsOf({ ...place, password: password ?? place.password });
  const once = { retryStrategy: () => null, ...(family === undefined ? {} : { family }) };
  return new Redis({ ...requestPathOptions, ...credentials, ...addresses[0], ...once });
}

/** `closeSilent` takes the place of these options of the client of a user. */
const noTimeouts = { commandTimeout: undefined, socketTimeout: undefined } satisfies RedisOptions;

/**
 * Creates another client like one of the user: with its servers and its credentials, and with the options of the request
 * path. Undefined if the client cannot be copied.
 */
export function copyClient(client: RedisLike, overrides: ClientOverrides): OwnClient | undefined {
  if (client.duplicate === undefined) return undefined;
  if (client.isCluster !== true)
    return client.duplicate({ ...requestPathOptions, ...noTimeouts, ...overrides }) as OwnClient;
  const { redisOptions = {} } = ((client as { readonly options?: Options }).options ?? {}) as ClusterOptions;
  const options = clusterOptions({ ...redisOptions, ...connectionOptions, ...noTimeouts, ...overrides });
  // The duplicate() of a Cluster takes its nodes first.
  const cluster = client as unknown as { duplicate(nodes: readonly unknown[], options: object): OwnClient };
  return cluster.duplicate([], options);
}

type SentinelCredentials = Pick<
  RedisOptions,
  "name" | "sentinelUsername" | "sentinelPassword" | "enableTLSForSentinelMode" | "sentinelTLS"
>;

function credentialsOf({ username, password, tls }: RedisPlace): Pick<RedisOptions, "username" | "password" | "tls"> {
  return {
    ...(username === undefined ? {} : { username }),
    ...(typeof password === "string" ? { password } : {}),
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

/** Milliseconds before a connection is retried: soon at first, and with random jitter between processes. */
export function retrySoon(attempt: number): number {
  return Math.random() * Math.min(1000, 50 * 2 ** Math.min(attempt, 6)) + 25;
}

/** How long ioredis waits for a connection to close before it destroys it. */
const disconnectMs = 500;
/** The times when clients last left a server, by the options object that ioredis creates for each client. */
const departures = new WeakMap<object, number>();

/**
 * Reconnects after a reply of a former master, and sends nothing twice (1, not 2). Only the first such reply
 * reconnects: ioredis would add a listener for each reply until the connection has closed.
 */
function leavesReplica(this: unknown, error: Error): false | 1 {
  if (!/^(READONLY|MASTERDOWN)/.test(error.message)) return false;
  if (typeof this !== "object" || this === null) return 1;
  const now = monotonicNow();
  const left = departures.get(this);
  if (left !== undefined && now - left < disconnectMs) return false;
  departures.set(this, now);
  return 1;
}

/**
 * Options for connections on the request path, tested with stopped, killed and failing servers. Nothing is sent twice,
 * since a reply may be lost after its INCR has run. Calls have the deadline of the gate, and connections without replies
 * are closed by `closeSilent`: the timeouts of ioredis would set two timers for each command.
 */
const connectionOptions = {
  connectionName: "portcullis",
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  connectTimeout: 1000,
  disconnectTimeout: disconnectMs,
  keepAlive: 5000,
  maxLoadingRetryTime: 500,
  reconnectOnError: leavesReplica,
} satisfies RedisOptions;

/** Options for a client of one server. Nothing is queued while the client is offline. */
const requestPathOptions = {
  ...connectionOptions,
  lazyConnect: true,
  enableOfflineQueue: false,
  retryStrategy: retrySoon,
} satisfies RedisOptions;

/** Options for a Cluster client of our own. */
function clusterOptionsOf(
  { addresses, tls, natMap }: RedisPlace,
  nodeOptions: object,
): ReturnType<typeof clusterOptions> & Pick<ClusterOptions, "natMap" | "dnsLookup"> {
  const names = addresses.map(({ host }) => host).filter((host) => isIP(host) === 0);
  const identity = tls === undefined ? {} : { tls: { checkServerIdentity: identityOf(names), ...tls } };
  return {
    ...clusterOptions({ ...nodeOptions, ...identity }),
    ...(natMap === undefined ? {} : { natMap: { ...natMap } }),
    dnsLookup: keepName,
  };
}

/**
 * Leaves names to the connection of each node. Certificates of hosting plans contain host names: an address that was
 * resolved before could not be verified. And a name that is unknown becomes an error of the node.
 */
const keepName: NonNullable<ClusterOptions["dnsLookup"]> = (host, callback) => callback(null, host);

/**
 * Verifies the name in the certificate of a node. A Cluster may announce its nodes by IP while their certificates
 * contain host names: then the certificate must be for one of the names that the application has written.
 */
function identityOf(names: readonly string[]): (host: string, certificate: PeerCertificate) => Error | undefined {
  return (host, certificate) => {
    const error = checkServerIdentity(host, certificate);
    if (error === undefined || isIP(host) === 0) return error;
    return names.some((name) => checkServerIdentity(name, certificate) === undefined) ? undefined : error;
  };
}

/** Options for a Cluster client. No command is sent to a second node, so that nothing waits for a failover. */
const clusterOptions = (nodeOptions: object) =>
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
    redisOptions: { ...connectionOptions, ...nodeOptions },
  }) satisfies ClusterOptions;

type Options = Readonly<Record<string, unknown>>;

/**
 * Finds options of a client that are unsafe on the request path, with the recommended values. Empty if the options
 * cannot be read.
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
  // ioredis 5 and 6 compare the numbers of slots as text then, and find no node for a part of them.
  const loses = client.isCluster === true && node.stringNumbers === true && options.enableAutoPipelining === true;
  expect(!loses, "enableAutoPipelining: false in a Cluster with stringNumbers");
  return unsafe;
}

/**
 * The key prefix of a client of the user. The client adds it to the keys of commands and to the KEYS of scripts, but
 * not to keys among the arguments of a script, nor to keys in messages of the server.
 */
export function keyPrefixOf(client: RedisLike): string {
  const prefix = (client as { readonly options?: Options }).options?.keyPrefix;
  return typeof prefix === "string" || Buffer.isBuffer(prefix) ? prefix.toString() : "";
}

function isTime(value: unknown): boolean {
  return typeof value === "number" && value > 0;
}

/**
 * Leaves out what a proxy or a restricted server refuses before a connection can be used: INFO, by which ioredis waits
 * for the server to load its data, and HELLO. Returns true if the next connection will be different.
 */
export function adapts(client: OwnClient, error: unknown): boolean {
  if (client instanceof Cluster || faultOfError(error).reply !== "ERR unknown command") return false;
  const name = (error as { readonly command?: { readonly name?: unknown } }).command?.name;
  if (name === "info" && client.options.enableReadyCheck === true) client.options.enableReadyCheck = false;
  else if (name === "hello" && client.options.protocol !== 2) client.options.protocol = 2;
  else return false;
  return true;
}
