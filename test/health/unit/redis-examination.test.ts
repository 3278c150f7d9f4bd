import { expect } from "chai";
import { Redis } from "ioredis";
import type { Finding } from "../../../packages/core/src/store/ports/health.js";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import { examineRedis } from "../../../packages/core/src/store/redis/examine.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { findUnsafeOptions } from "../../../packages/core/src/store/redis/topology.js";
import { cleanUp } from "../../support/clean-up.js";

interface Server {
  readonly version?: string;
  readonly valkey?: string;
  /** How far its clock is ahead. */
  readonly aheadMs?: number;
  /** Of CLUSTER INFO; none if it is no cluster. */
  readonly cluster?: string;
  /** Its `maxmemory-policy`. */
  readonly policy?: string;
  /** Are locks or one-time values in use? */
  readonly coordinates?: boolean;
}

/** What is found about a server that answers so, and is well otherwise. */
async function examine(server: Server): Promise<string[]> {
  return (await findingsAbout(server)).map(({ code, severity }) => `${severity} ${code}`);
}

async function findingsAbout(server: Server): Promise<readonly Finding[]> {
  const { version = "7.0.15", valkey, aheadMs = 0, cluster, policy = "noeviction", coordinates = false } = server;
  const info: Readonly<Record<string, string>> = {
    server: `redis_version:${version}\r\n${valkey === undefined ? "" : `valkey_version:${valkey}\r\n`}`,
    replication: "role:master\r\n",
    memory: `maxmemory:0\r\nmaxmemory_policy:${policy}\r\n`,
    persistence: "aof_enabled:1\r\n",
  };
  function reply(command: string, ...[section]: (string | number)[]): unknown {
    const ms = Date.now() + aheadMs;
    if (command === "TIME") return [String(Math.floor(ms / 1000)), String((ms % 1000) * 1000)];
    if (command === "INFO") return info[String(section)];
    if (command === "CLUSTER") return cluster;
    return "OK";
  }
  const client = {
    status: "ready",
    call: (command: string, ...words: (string | number)[]) => Promise.resolve(reply(command, ...words)),
    on: () => undefined,
    off: () => undefined,
  };
  const connection: Connection = {
    client,
    isCluster: cluster !== undefined,
    unsafeOptions: [],
    hasConnected: () => true,
    isUp: () => true,
    onConnect: () => () => undefined,
    leaveReplica: () => undefined,
    close: () => Promise.resolve(),
  };
  const keys = new Keyspace("", "test");
  return examineRedis({
    connection,
    keys,
    caches: true,
    cache: undefined,
    keepsSessions: false,
    coordinates,
    clockToleranceMs: 5000,
  });
}

describe("an examination of Redis", () => {
  it("finds versions below the floor, by their numbers", async () => {
    for (const version of ["7.0.0", "7.2.4", "8.0.1", "10.0.0"]) expect(await examine({ version })).to.deep.equal([]);
    for (const version of ["6.2.14", "6.9.9", "5.0.7"])
      expect(await examine({ version })).to.deep.equal(["error version_old"]);
    for (const valkey of ["7.2.0", "8.1.0"]) expect(await examine({ valkey })).to.deep.equal([]);
    expect(await examine({ version: "7.2.4", valkey: "7.1.9" })).to.deep.equal(["error version_old"]);
  });

  it("finds clocks that differ, and clocks that differ too much for decisions", async () => {
    for (const aheadMs of [0, 500, -500]) expect(await examine({ aheadMs })).to.deep.equal([]);
    for (const aheadMs of [3000, -3000]) expect(await examine({ aheadMs })).to.deep.equal(["warning clock_skew"]);
    for (const aheadMs of [3_600_000, -3_600_000])
      expect(await examine({ aheadMs })).to.deep.equal(["error clock_skew"]);
  });

  it("finds a policy that evicts, and names locks and one-time values only where they are in use", async () => {
    for (const policy of ["allkeys-lru", "volatile-ttl"])
      for (const coordinates of [true, false]) {
        const [finding, ...others] = await findingsAbout({ policy, coordinates });
        expect(others).to.deep.equal([]);
        expect(finding).to.include({ code: "eviction_policy", severity: "warning" });
        expect(finding?.message.includes("locks and one-time values")).to.equal(coordinates);
        expect(finding?.message).to.include("revocations");
      }
    expect(await findingsAbout({ coordinates: true })).to.deep.equal([]);
  });

  it("finds a cluster that does not serve all slots", async () => {
    const well = "cluster_state:ok\r\ncluster_slots_ok:16384\r\n";
    expect(await examine({ cluster: well })).to.deep.equal([]);
    for (const cluster of [well.replace("ok", "fail"), well.replace("16384", "16383")])
      expect(await examine({ cluster })).to.deep.equal(["error cluster_incomplete"]);
  });
});

describe("the options of a client that was passed in", () => {
  it("are looked at one by one", () => {
    const unconnected = { lazyConnect: true } as const;
    const safe = {
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
      socketTimeout: 1000,
    } as const;
    function adviceFor(options: object): string[] {
      const client = new Redis({ ...unconnected, ...options });
      cleanUp(() => client.disconnect());
      return findUnsafeOptions(client);
    }
    expect(adviceFor(safe)).to.deep.equal([]);
    expect(adviceFor({})).to.have.length(4);
    for (const name of Object.keys(safe)) {
      const rest = Object.fromEntries(Object.entries(safe).filter(([other]) => other !== name));
      expect(adviceFor(rest).join(), name).to.match(new RegExp(`^${name}: \\w+$`));
    }
  });
});
