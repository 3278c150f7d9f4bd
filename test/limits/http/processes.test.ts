import { Agent } from "node:http";
import { expect } from "chai";
import { Cluster, Redis } from "ioredis";
import { startCluster } from "@portcullis/testkit";
import { send } from "../../support/http.js";
import { minimumOf } from "../../support/minimum.js";
import type { ServerProcess } from "../../support/processes.js";
import { startProcess } from "../../support/processes.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { isSoak, rounds } from "../../support/soak.js";

const requests = isSoak ? 2000 : 1000;

/** Each is for one path; a path that has no handler is answered 404 when it is admitted. */
const limits = [
  { name: "fixed", limit: 500, window: "1h" },
  { name: "sliding", algorithm: "sliding-window", limit: 500, window: "1h" },
  { name: "bucket", algorithm: "token-bucket", limit: 1, burst: 500, window: "1h" },
  { name: "held", algorithm: "concurrency", limit: 100, window: "5m" },
] as const;

interface Place {
  readonly url: string;
  /** A client for each node that holds keys. */
  readonly nodes: readonly Redis[];
  stop(): Promise<void>;
}

function describeProcesses(where: string, open: () => Promise<Place>): void {
  describe(`four processes on ${where}`, function () {
    this.timeout(90_000 + rounds * 60_000);
    const prefix = freshPrefix();
    let place: Place;
    let processes: ServerProcess[] = [];

    before(async () => {
      place = await open();
      // Another test on this server may have met errors on purpose.
      for (const node of place.nodes) await node.config("RESETSTAT");
      const options = {
        ...{ redis: place.url, prefix, deadline: 10_000 },
        limits: limits.map((limit) => ({ ...limit, per: { header: "x-client" }, when: { path: `/${limit.name}` } })),
      };
      // An hour before and after the others: what counts is the time of Redis.
      const clocks = [0, 3_600_000, -3_600_000, 0];
      processes = await Promise.all(
        clocks.map((ahead, index) => startProcess(index % 2 === 0 ? "Express" : "Koa", options, ahead)),
      );
    });

    after(async () => {
      const ends = await Promise.all(processes.map((process) => process.close()));
      await place.stop();
      for (const { code } of ends) expect(code).to.equal(0);
    });

    /** Asks from all processes at once; those that are held are released when all others are answered. */
    async function admitted(path: string, client: string, quota: number): Promise<number> {
      const agent = new Agent({ keepAlive: true, maxSockets: path === "/held" ? 400 : 64 });
      let refused = 0;
      const visit = async (index: number): Promise<number> => {
        const url = `${processes[index % 4]!.url}${path}`;
        const { status } = await send(url, { agent, headers: { "x-client": client } });
        if (status === 429) refused += 1;
        if (path === "/held" && refused === requests - quota) for (const process of processes) process.release();
        return status;
      };
      const statuses = await Promise.all(Array.from({ length: requests }, (_, index) => visit(index)));
      agent.destroy();
      const passed = statuses.filter((status) => status === 200 || status === 404).length;
      expect(passed + refused).to.equal(requests);
      return passed;
    }

    for (const { name, ...policy } of limits) {
      const quota = "burst" in policy ? policy.burst : policy.limit;
      it(`admit exactly the quota of ${requests} requests at once (${name}, ${rounds} rounds)`, async () => {
        for (let round = 0; round < rounds; round += 1)
          expect(await admitted(`/${name}`, `client {${round}}`, quota)).to.equal(quota);
      });
    }

    it("leave no key without a TTL, and no key in a slot that a client chose", async () => {
      // No handler takes a POST, so that none is held.
      for (const client of ["{a}", "{}", "a}{b", "{".repeat(99)])
        for (const { name } of limits)
          await send(`${processes[0]!.url}/${name}`, { method: "POST", headers: { "x-client": client } });
      const keys: string[] = [];
      for (const node of place.nodes) {
        const found = await node.keys(`${prefix}*`);
        const ends = await Promise.all(found.map((key) => node.pttl(key)));
        for (const [index, key] of found.entries()) expect(ends[index], key).to.not.equal(-1);
        keys.push(...found);
        expect(await node.info("errorstats")).to.not.match(/CROSSSLOT|WRONGTYPE|NOSCRIPT.*count=[1-9]\d{2}/);
      }
      expect(keys.length).to.be.at.least(12);
      for (const key of keys.map((one) => one.slice(prefix.length)).filter((one) => !one.endsWith(":shared-issuer")))
        expect(key).to.match(
          /^portcullis:2:(quota[\w-]*:\{\d{1,2}\}:\w+:[ahk]:0{32}:(~[\w-]{24}|\w+)|quota-demand:\{\d{1,2}\}:0{32}:\w+:[01])$/,
        );
    });
  });
}

describeProcesses("Redis", () => {
  const redis = new Redis(testRedisUrl());
  return Promise.resolve({
    url: testRedisUrl(),
    nodes: [redis],
    stop: () => Promise.resolve(redis.disconnect()),
  });
});

describeProcesses("a Cluster of six nodes", async () => {
  const cluster = await startCluster({ masters: 3, replicasPerMaster: 1 });
  const client = new Cluster([...cluster.seeds]);
  await client.ping();
  return {
    url: `redis+cluster://${cluster.seeds.map(({ host, port }) => `${host}:${port}`).join(",")}`,
    nodes: client.nodes("master"),
    async stop() {
      client.disconnect();
      await cluster.stop();
    },
  };
});

describe("a process with limits of all algorithms", function () {
  this.timeout(60_000);

  it("asks and writes to Redis at most once for eight requests of 64 connections, with everything settled", async () => {
    const redis = new Redis(testRedisUrl());
    const per = { header: "x-client" };
    const process = await startProcess("Koa", {
      ...{ redis: testRedisUrl(), prefix: freshPrefix(), deadline: 5000 },
      limits: [
        { name: "fixed", per, limit: 1000, window: "1h", countOnly: "failures" },
        { name: "sliding", per, algorithm: "sliding-window", limit: 1000, window: "1h", countOnly: "successes" },
        { name: "bucket", per, algorithm: "token-bucket", limit: 1000, window: "1h" },
        { name: "slots", per, algorithm: "concurrency", limit: 10 },
      ],
    });
    const agent = new Agent({ keepAlive: true, maxSockets: 64 });
    try {
      const round = async (): Promise<void> => {
        const visit = async (_: unknown, index: number): Promise<number> =>
          (await send(`${process.url}/me`, { agent, headers: { "x-client": `client-${index}` } })).status;
        for (const status of await Promise.all(Array.from({ length: 64 }, visit))) expect(status).to.equal(200);
      };
      const counts = async (): Promise<{ calls: number; reads: number }> => {
        const stats = await redis.info("all");
        const read = (pattern: RegExp): number => Number(pattern.exec(stats)?.[1] ?? 0);
        const calls = read(/cmdstat_eval:calls=(\d+)/) + read(/cmdstat_evalsha:calls=(\d+)/);
        // What one socket write brings is read at once.
        return { calls, reads: read(/total_reads_processed:(\d+)/) };
      };
      await round();
      const measure = async (): Promise<number> => {
        const before = await counts();
        for (let index = 0; index < 20; index += 1) await round();
        const after = await counts();
        return Math.max(after.calls - before.calls, after.reads - before.reads) / (20 * 64);
      };
      expect(await minimumOf(measure, 0.125), "script calls, and socket writes").to.be.at.most(0.125);
    } finally {
      agent.destroy();
      redis.disconnect();
      await process.close();
    }
  });
});
