import type { Finding } from "../ports/health.js";
import type { Keyspace } from "../keyspace.js";
import { StoreFault } from "../ports/fault.js";
import { isTimeFake } from "../../lib/steady-clock.js";
import type { Connection } from "./connect.js";
import { callWithin } from "./connect.js";
import { readPairs, readTime, textIn } from "./replies.js";

export interface ExamineOptions {
  readonly connection: Connection;
  readonly keys: Keyspace;
  /** Are cached values in this Redis too? */
  readonly caches: boolean;
  /** The Redis of the caches that are in use; undefined without any. */
  readonly cache: Connection | undefined;
  /** Are sessions in this Redis? */
  readonly keepsSessions: boolean;
  /** Are locks, idempotency keys or one-time values in use? */
  readonly coordinates: boolean;
  /** Are one-time values in use? @default false */
  readonly oneTime?: boolean | undefined;
  /** Are channels of the application in use? @default false */
  readonly channels?: boolean | undefined;
  /** Does Redis refuse to tell of changed keys, or to send messages? @default false */
  readonly refusesToTell?: boolean | undefined;
  /** The reason for which the listening connection cannot be made; undefined without one. */
  readonly listenerFailure?: string | undefined;
  /** Tolerated difference of the clocks. */
  readonly clockToleranceMs: number;
}

const trackingRefused: Finding = {
  code: "tracking_refused",
  severity: "warning",
  message: "Redis refuses to tell this process of changes, which it therefore learns of later, by asking",
};

/** Timeout of one call. An examination may take longer than a request. */
const examineTimeoutMs = 2000;

/**
 * Finds problems of a Redis, present ones and those of an outage. Rejects with a StoreFault if Redis does not answer.
 */
export async function examineRedis(options: ExamineOptions): Promise<Finding[]> {
  const { connection } = options;
  const ask = askerOf(connection);
  // A refused command is an answer too.
  await ask("TIME").catch((error: unknown) => {
    if (!isForbidden(error)) throw error;
  });
  const server = await examineServer(ask);
  const rest = await Promise.all([
    examineMemory(ask, options),
    examinePersistence(ask, options),
    examineClock(ask, options.clockToleranceMs),
    // A replica refuses every write, and a refused write costs the connection.
    server.some(({ code }) => code === "replica") ? [] : examinePermissions(options),
    connection.isCluster ? examineCluster(ask) : examineMode(ask),
  ]);
  const { refusesToTell = false, listenerFailure } = options;
  const untold = [...(refusesToTell ? [trackingRefused] : []), ...describeListener(listenerFailure)];
  return [...server, ...rest.flat(), ...untold, ...examineClient(connection.unsafeOptions)];
}

function describeListener(failure: string | undefined): Finding[] {
  if (failure === undefined) return [];
  const message = `the listening connection to Redis cannot be made: ${failure}`;
  return [{ code: "listener_down", severity: "warning", message }];
}

/** Does the user lack a permission, or does the server not know the command? */
function isForbidden(error: unknown): boolean {
  return error instanceof StoreFault && ["NOPERM", "NOAUTH", "ERR unknown command"].includes(error.reply ?? "");
}

type Ask = (...command: [string, ...string[]]) => Promise<unknown>;

function askerOf(connection: Connection): Ask {
  return async (...command) =>
    callWithin(examineTimeoutMs, connection, () => connection.client.call(...command), "examination");
}

/** Reads the fields of INFO; none if the Redis user has no permission. */
async function readInfo(ask: Ask, section: string): Promise<ReadonlyMap<string, string>> {
  const reply = await ask("INFO", section).catch(() => "");
  const lines = (textIn(reply) ?? "").split("\r\n");
  return new Map(
    lines.filter((line) => line.includes(":")).map((line) => [line.split(":", 1)[0] ?? "", line.split(":")[1] ?? ""]),
  );
}

async function examineServer(ask: Ask): Promise<Finding[]> {
  const server = await readInfo(ask, "server");
  const replication = await readInfo(ask, "replication");
  const findings: Finding[] = [];
  const [name, version, least] = server.has("valkey_version")
    ? ["Valkey", server.get("valkey_version"), [7, 2]]
    : ["Redis", server.get("redis_version"), [7, 0]];
  if (version !== undefined && isOlder(version, least)) {
    findings.push({
      code: "version_old",
      severity: "error",
      message: `${name} ${version} is older than ${least.join(".")}`,
    });
  }
  if (replication.get("role") === "slave") {
    findings.push({ code: "replica", severity: "error", message: "the address leads to a read-only replica" });
  }
  return findings;
}

function isOlder(version: string, [major = 0, minor = 0]: readonly number[]): boolean {
  const [ownMajor = 0, ownMinor = 0] = version.split(".").map(Number);
  return ownMajor < major || (ownMajor === major && ownMinor < minor);
}

async function examineMemory(ask: Ask, options: ExamineOptions): Promise<Finding[]> {
  const memory = await readInfo(ask, "memory");
  const policy = memory.get("maxmemory_policy");
  const limited = !["0", undefined].includes(memory.get("maxmemory"));
  if (policy !== undefined && policy !== "noeviction") {
    const endangered = options.coordinates ? "revocations, locks and one-time values" : "revocations";
    const message = `maxmemory-policy is ${policy}, which may drop ${endangered}${limited ? "" : " once maxmemory is set"}`;
    return [{ code: "eviction_policy", severity: limited ? "error" : "warning", message }];
  }
  if (!(await isCacheShared(ask, options))) return [];
  const message = "caches may fill the Redis that must not evict; give them another one: redis: { security, cache }";
  return [{ code: "cache_shared", severity: limited ? "warning" : "info", message }];
}

/** Are caches in the same server? Another database of the server uses the same memory. */
async function isCacheShared(ask: Ask, { connection, cache }: ExamineOptions): Promise<boolean> {
  if (cache === undefined || cache === connection) return cache !== undefined;
  const [own, other] = await Promise.all([ask, askerOf(cache)].map(async (one) => readInfo(one, "server")));
  const id = own?.get("run_id");
  return id !== undefined && id === other?.get("run_id");
}

async function examinePersistence(ask: Ask, { coordinates }: ExamineOptions): Promise<Finding[]> {
  const persistence = await readInfo(ask, "persistence");
  if (persistence.size === 0 || persistence.get("aof_enabled") === "1") return [];
  const save = await ask("CONFIG", "GET", "save")
    .then(readPairs)
    .catch(() => []);
  const snapshots = save.find(([name]) => name === "save")?.[1];
  const lost = coordinates ? "revocations, locks and one-time values" : "revocations";
  return [
    snapshots === ""
      ? { code: "persistence_off", severity: "warning", message: `${lost} do not survive a restart of Redis` }
      : {
          code: "persistence_off",
          severity: "info",
          message: "without AOF, the last minutes may be lost in a restart",
        },
  ];
}

async function examineClock(ask: Ask, toleranceMs: number): Promise<Finding[]> {
  const before = Date.now();
  const time = await ask("TIME").catch((error: unknown) => {
    if (!isForbidden(error)) throw error;
  });
  if (time === undefined || isTimeFake()) return [];
  const theirs = readTime(time);
  const after = Date.now();
  const offMs = theirs < before ? before - theirs : Math.max(0, theirs - after);
  if (offMs <= 1000) return [];
  return [
    {
      code: "clock_skew",
      severity: offMs > toleranceMs ? "error" : "warning",
      message: `the clocks of this process and of Redis are ${Math.round(offMs / 1000)} s apart`,
    },
  ];
}

/** Tests the permissions that requests need, on keys that are unused or end within a second. */
async function examinePermissions(options: ExamineOptions): Promise<Finding[]> {
  const { connection, caches, keepsSessions, coordinates, oneTime = false, channels = false } = options;
  const { client } = connection;
  const keys = options.keys.presumed();
  const counter = keys.quota("examination", "examination");
  const nobody = keys.issuers.atHome("portcullis-examination");
  const { records, shared } = keys.sessionsOf(nobody);
  const entry = keys.cacheEntry("shared", "examination", "key");
  const tries: readonly (readonly [what: string, command: string, ...args: (string | number)[]])[] = [
    ["scripts", "EVAL", "return 1", 1, counter],
    // The digest of no script: NOSCRIPT is the answer of a server that permits the command.
    ["scripts by their digest (EVALSHA)", "EVALSHA", "0".repeat(40), 1, counter],
    ["the time of Redis (TIME)", "TIME"],
    ["counting", "SET", counter, "0", "PX", 1000],
    ["giving back what was counted", "ZMSCORE", keys.giveBacks("0", "examination"), "low"],
    ["seeing whose the auth: keys are", "GET", keys.sharedIssuer()],
    ["asking about revocations", "EXISTS", keys.revokedToken(nobody)],
    ["asking about cut-offs", "GET", keys.subjectCutoff(nobody)],
    ...(keepsSessions
      ? ([
          ["keeping sessions", "HLEN", records],
          ["telling other services of tokens", "SREM", shared, "none"],
        ] as const)
      : []),
    ...(coordinates
      ? ([["coordination", "SET", keys.coordination("lock", "examination"), "0", "PX", 1000, "NX"]] as const)
      : []),
    ...(oneTime
      ? ([["one-time values", "ZRANGE", keys.coordination("one-time", "0", "examination"), 0, 0]] as const)
      : []),
    ...(channels
      ? ([
          // Nothing is written without the key.
          ["reliable channels", "XADD", keys.coordination("event-log", "examination"), "NOMKSTREAM", "*", "t", ""],
          ["messages between processes", "PUBLISH", keys.channel("examination"), ""],
        ] as const)
      : []),
    ...(caches ? ([["caching", "SET", entry, "", "PX", 1000]] as const) : []),
  ];
  const refused = await Promise.all(
    tries.map(async ([what, ...command]) => {
      const fault = await callWithin(
        ...([examineTimeoutMs, connection, () => client.call(...command), "examination"] as const),
      ).catch((error: unknown) => error);
      return isForbidden(fault) ? what : undefined;
    }),
  );
  const missing = refused.filter((what) => what !== undefined);
  if (missing.length === 0) return [];
  return [
    { code: "permission_missing", severity: "error", message: `Redis does not permit this user ${missing.join(", ")}` },
  ];
}

/** Tells the unsafe options of a client of the user. */
function examineClient(unsafe: readonly string[]): Finding[] {
  if (unsafe.length === 0) return [];
  const message = `the Redis client should have ${unsafe.join(", ")}`;
  return [{ code: "client_options", severity: "warning", message }];
}

/** Finds a client of a single server whose server is a node of a Cluster: most keys are in other nodes. */
async function examineMode(ask: Ask): Promise<Finding[]> {
  const mode = await readInfo(ask, "cluster");
  if (mode.get("cluster_enabled") !== "1") return [];
  const message = "the server is in cluster mode, and the client is one of a single server: pass a Cluster client";
  return [{ code: "cluster_mode", severity: "error", message }];
}

async function examineCluster(ask: Ask): Promise<Finding[]> {
  const text = textIn(await ask("CLUSTER", "INFO").catch(() => undefined));
  if (text === undefined) return [];
  const healthy = /cluster_state:ok/.test(text) && /cluster_slots_ok:16384/.test(text);
  return healthy
    ? []
    : [{ code: "cluster_incomplete", severity: "error", message: "the cluster does not serve all slots" }];
}
