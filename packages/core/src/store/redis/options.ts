import type { RedisLike } from "./client.js";
import type { PasswordFunction } from "./password.js";
import type { IpFamily, NatMap, RedisAddress, RedisPlace, RedisTls } from "./topology.js";
import { parseRedisUrl } from "./url.js";
import { checkInteger, checkObject, checkString, kindOf, optionError } from "../../lib/validate.js";

/** A Redis server as an object. Exactly one of `url`, `host`, `path`, `sentinels` and `cluster` is required. */
export interface RedisServerOptions {
  /** A URL as for `redis` itself. The other members add to it. */
  readonly url?: string | undefined;
  /** Name or address of the server. @default "localhost" */
  readonly host?: string | undefined;
  /** Port of the server. @default 6379 */
  readonly port?: number | undefined;
  /** The path of a unix socket. */
  readonly path?: string | undefined;
  /** The sentinels of the master. */
  readonly sentinels?: readonly RedisNode[] | undefined;
  /** The name of the master in the sentinels. */
  readonly name?: string | undefined;
  /** Some nodes of a Redis Cluster. The other nodes are discovered. */
  readonly cluster?: readonly RedisNode[] | undefined;
  /** The ACL user. @default the default user of the server */
  readonly username?: string | undefined;
  /**
   * The password, or a function that returns the present one, which may be asynchronous: for passwords that expire. It
   * may also return `{ password, expiresAt }`; connections then get the next password at 80 % of the time until
   * `expiresAt` (a Date or unix seconds). Without it the function is called before every connection.
   */
  readonly password?: string | PasswordFunction | undefined;
  /** User of the Sentinels. @default none */
  readonly sentinelUsername?: string | undefined;
  /** Password of the Sentinels. @default none */
  readonly sentinelPassword?: string | undefined;
  /** The number of the database; 0 in a Cluster. @default 0 */
  readonly db?: number | undefined;
  /** TLS: `true`, or certificates. The certificate of the server is always verified. @default as in the URL */
  readonly tls?: boolean | RedisTls | undefined;
  /** The version of IP: 4, 6, or 0 for any. @default 0 */
  readonly family?: IpFamily | undefined;
  /**
   * The addresses of nodes behind a translation of addresses (Docker, a tunnel), by the address that the Cluster or the
   * sentinels announce: `{ "172.18.0.2:6379": { host: "127.0.0.1", port: 7000 } }`.
   */
  readonly natMap?: NatMap | undefined;
}

/** The address of a sentinel or a node. */
export interface RedisNode {
  /** Name or address of the node. */
  readonly host: string;
  /** Port of the node. @default 26379 for a sentinel, 6379 for a node */
  readonly port?: number | undefined;
}

/** A Redis: a URL, an object, or an ioredis client. */
export type RedisTarget = string | RedisLike | RedisServerOptions;

/** Two instances of Redis: one that never evicts keys, and one for caches that may. */
export interface RedisInstances {
  /** Revocation records and counters. */
  readonly security: RedisTarget;
  /** The Redis of caches and stored responses. */
  readonly cache: RedisTarget;
}

/** The resolved option; undefined means stores in process. The same object twice means one connection. */
export interface ResolvedRedis {
  readonly security: RedisPlace | RedisLike;
  readonly cache: RedisPlace | RedisLike;
}

const known = [
  ...["url", "host", "port", "path", "sentinels", "name", "cluster", "username", "password"],
  ...["sentinelUsername", "sentinelPassword", "db", "tls", "family", "natMap"],
];
const expected =
  'must be a URL such as "redis://127.0.0.1:6379", { host, port } or the like, an ioredis client, or "memory"';

/** Resolves option `redis`. In production it is required, so that a missing REDIS_URL is an error. */
export function resolveRedis(redis: unknown): ResolvedRedis | undefined {
  if (redis === undefined) {
    if (process.env.NODE_ENV !== "production") return undefined;
    throw optionError("redis", 'is required in production; pass a URL or a client, or "memory" for this process alone');
  }
  if (redis === "memory") return undefined;
  if (typeof redis === "object" && redis !== null && !isClient(redis) && ("security" in redis || "cache" in redis)) {
    checkObject("redis", redis, ["security", "cache"]);
    const { security, cache } = redis as Partial<RedisInstances>;
    return { security: resolveTarget("redis.security", security), cache: resolveTarget("redis.cache", cache) };
  }
  const target = resolveTarget("redis", redis);
  return { security: target, cache: target };
}

function resolveTarget(option: string, target: unknown): RedisPlace | RedisLike {
  if (typeof target === "string") return resolvePlace(option, { url: target });
  if (typeof target !== "object" || target === null || Array.isArray(target)) throw optionError(option, expected);
  if (isClient(target)) return target;
  if (typeof (target as Partial<PromiseLike<unknown>>).then === "function")
    throw optionError(option, "is a promise; await it, and pass the URL or the client that it gives");
  checkForeign(option, target);
  checkObject(option, target, known);
  return resolvePlace(option, target);
}

function isClient(value: object): value is RedisLike {
  return "call" in value && "status" in value && "on" in value;
}

/** Throws for clients of other libraries, which have neither scripts, subscriptions nor deadlines as ioredis has. */
function checkForeign(option: string, value: object): void {
  const has = (name: string): boolean => typeof (value as Readonly<Record<string, unknown>>)[name] === "function";
  const advice = 'pass the URL, or a client of ioredis: new Redis("redis://host:6379")';
  if (has("on") && (has("sendCommand") || has("send_command")))
    throw optionError(option, `is a client of node-redis, which is not supported; ${advice}`);
  if (has("on") && has("get") && has("disconnect"))
    throw optionError(option, 'is no client of a server (ioredis-mock); in tests pass "memory", or the URL of a Redis');
  if (has("get") && has("set") && (has("eval") || has("pipeline")))
    throw optionError(
      option,
      'is a client of a REST API (Upstash), which is not supported; pass the address for TCP: "rediss://default:password@host:6379"',
    );
}

function resolvePlace(option: string, options: RedisServerOptions): RedisPlace {
  const { url, host, port, path, sentinels, name, cluster, username, password, db } = options;
  const ways = Object.entries({ url, host, path, sentinels, cluster }).filter(([, way]) => way !== undefined);
  if (ways.length !== 1) {
    throw optionError(option, "needs exactly one of url, host, path, sentinels and cluster");
  }
  for (const [member, value] of Object.entries({ host, path, name, username }))
    if (value !== undefined) checkString(`${option}.${member}`, value);
  if (password !== undefined && typeof password !== "function") checkString(`${option}.password`, password);
  for (const member of ["sentinelUsername", "sentinelPassword"] as const)
    if (options[member] !== undefined) checkString(`${option}.${member}`, options[member]);
  if (port !== undefined && host === undefined) throw optionError(`${option}.port`, "goes with host");
  if (db !== undefined) checkInteger(`${option}.db`, db, 0, 65_535);
  const base =
    url === undefined
      ? resolveParts(option, options)
      : parseRedisUrl(option === "redis" ? option : `${option}.url`, url);
  const place: RedisPlace = {
    ...base,
    masterName: name ?? base.masterName,
    username: username ?? base.username,
    password: password ?? base.password,
    sentinelUsername: options.sentinelUsername,
    sentinelPassword: options.sentinelPassword,
    db: db ?? base.db,
    tls: resolveTls(`${option}.tls`, options.tls) ?? base.tls,
    family: resolveFamily(`${option}.family`, options.family) ?? base.family,
    natMap: resolveNatMap(`${option}.natMap`, options.natMap),
  };
  checkWhole(option, place, options);
  return place;
}

function resolveParts(option: string, { host, port = 6379, path, sentinels, cluster }: RedisServerOptions): RedisPlace {
  if (sentinels !== undefined)
    return { ...nowhere, topology: "sentinel", addresses: resolveNodes(`${option}.sentinels`, sentinels, 26_379) };
  if (cluster !== undefined)
    return { ...nowhere, topology: "cluster", addresses: resolveNodes(`${option}.cluster`, cluster, 6379) };
  checkInteger(`${option}.port`, port, 1, 65_535);
  return { ...nowhere, addresses: host === undefined ? [] : [{ host, port }], path };
}

const nowhere: RedisPlace = {
  topology: "standalone",
  addresses: [],
  path: undefined,
  masterName: undefined,
  username: undefined,
  password: undefined,
  sentinelUsername: undefined,
  sentinelPassword: undefined,
  db: 0,
  tls: undefined,
  family: undefined,
  natMap: undefined,
};

/** Checks members that go with one topology only. */
function checkWhole(option: string, place: RedisPlace, options: RedisServerOptions): void {
  const sentinel = place.topology === "sentinel";
  if (sentinel && place.masterName === undefined)
    throw optionError(`${option}.name`, "is required with sentinels: the name under which they know the master");
  for (const member of ["name", "sentinelUsername", "sentinelPassword"] as const)
    if (!sentinel && options[member] !== undefined) throw optionError(`${option}.${member}`, "goes with sentinels");
  if (place.natMap !== undefined && place.topology === "standalone")
    throw optionError(`${option}.natMap`, "goes with a Cluster and with sentinels");
  if (place.topology === "cluster" && place.db !== 0)
    throw optionError(`${option}.db`, "must be 0 in a Redis Cluster, which has one database");
  if (place.username !== undefined && place.password === undefined)
    throw optionError(`${option}.password`, "is required with username");
  if (place.path !== undefined && place.tls !== undefined)
    throw optionError(`${option}.tls`, "does not go with a unix socket");
}

function resolveNodes(option: string, nodes: unknown, port: number): RedisAddress[] {
  if (!Array.isArray(nodes) || nodes.length === 0)
    throw optionError(option, `must be a list of { host, port }, not ${kindOf(nodes)}`);
  return nodes.map((node: unknown, index) => {
    const at = `${option}[${index}]`;
    checkObject(at, node, ["host", "port"]);
    const { host, port: own = port } = node as Partial<RedisNode>;
    checkString(`${at}.host`, host);
    checkInteger(`${at}.port`, own, 1, 65_535);
    return { host, port: own };
  });
}

function resolveFamily(option: string, family: unknown): IpFamily | undefined {
  if (family === undefined || family === 0 || family === 4 || family === 6) return family;
  throw optionError(option, "must be 0, 4 or 6");
}

function resolveNatMap(option: string, natMap: unknown): NatMap | undefined {
  if (natMap === undefined) return undefined;
  if (typeof natMap !== "object" || natMap === null || Array.isArray(natMap))
    throw optionError(option, `must be an object of addresses such as { "10.0.0.1:6379": { host, port } }`);
  const entries = Object.entries(natMap).map(([announced, address]: [string, unknown]) => {
    if (!/^.+:\d{1,5}$/.test(announced)) throw optionError(option, 'must have names such as "10.0.0.1:6379"');
    return [announced, ...resolveNodes(`${option}["${announced}"]`, [address], 6379)] as const;
  });
  return Object.fromEntries(entries) as NatMap;
}

function resolveTls(option: string, tls: unknown): RedisTls | undefined {
  if (tls === undefined || tls === false) return undefined;
  if (tls === true) return {};
  checkObject(option, tls, ["ca", "cert", "key", "passphrase", "servername"]);
  const { cert, key } = tls as RedisTls;
  if ((cert === undefined) !== (key === undefined)) throw optionError(option, "needs both cert and key, or neither");
  return tls;
}
