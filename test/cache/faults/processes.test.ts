import { startCluster, startProxy, startRedis } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import type { CacheOptions } from "@portcullis/core";
import { cleanUp } from "../../support/clean-up.js";
import { startCacheProcess } from "../../support/cache-fleet.js";
import type { CacheProcess } from "../../support/cache-fleet.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";

/** Ten times what a push takes, by and large; the bound of what is trusted without one is set apart from it. */
const pushMs = 1000;

describe("in a fleet of processes", function () {
  this.timeout(60_000);
  let processes: CacheProcess[];
  let admin: Redis;

  before(() => {
    processes = Array.from({ length: 4 }, () => startCacheProcess());
    admin = new Redis(testRedisUrl());
  });
  after(async () => {
    for (const one of processes) await one.kill();
    admin.disconnect();
  });

  async function open(cache: CacheOptions = {}, urls: readonly string[] = []) {
    const prefix = freshPrefix();
    await Promise.all(
      processes.map((one, index) => one.run({ op: "open", url: urls[index] ?? testRedisUrl(), prefix, cache })),
    );
    return { prefix, calls: async () => Number(await admin.get(`${prefix}calls`)) };
  }

  /** How long until every process reads this. */
  async function msUntil(expected: unknown, key: string, namespace?: string): Promise<number> {
    const since = performance.now();
    const command = { op: "get", key, ...(namespace === undefined ? {} : { namespace }) } as const;
    for (;;) {
      const values = await Promise.all(processes.map((one) => one.run(command)));
      if (values.every((value) => value === expected)) return performance.now() - since;
      if (performance.now() - since > 20_000) throw new Error(`they still read ${JSON.stringify(values)}`);
    }
  }

  describe("the caches", () => {
    it("call one factory for 200 misses at once, and all get its value", async () => {
      const { calls } = await open();
      const answers = await Promise.all(
        processes.map((one) => one.run({ op: "obtain", key: "k", count: 50, ms: 200, options: {} })),
      );
      expect(await calls()).to.equal(1);
      expect(new Set(answers.flatMap((all) => (all as object[]).map((one) => JSON.stringify(one))))).to.have.property(
        "size",
        1,
      );
    });

    it("meet in values, makers and deletions if they are of one service, and in nothing if not", async () => {
      const prefix = freshPrefix();
      const [first, second, third, fourth] = processes as [CacheProcess, CacheProcess, CacheProcess, CacheProcess];
      const fleets = { orders: [first, second], billing: [third, fourth] };
      for (const [service, fleet] of Object.entries(fleets))
        for (const one of fleet)
          await one.run({ op: "open", url: testRedisUrl(), prefix, cache: { tracked: ["n"] }, service });
      const made = await Promise.all(
        processes.map((one) => one.run({ op: "obtain", key: "k", count: 20, ms: 200, options: { tags: ["t"] } })),
      );
      expect(Number(await admin.get(`${prefix}calls`)), "one maker in each service").to.equal(2);
      const values = made.map((all) => JSON.stringify((all as object[])[0]));
      expect(values[0]).to.equal(values[1]).and.not.to.equal(values[2]);
      expect(values[2]).to.equal(values[3]);
      for (const end of [{ op: "delete", key: "k" } as const, { op: "deleteByTag", tag: "t" } as const]) {
        for (const one of [first, third])
          await one.run({ op: "obtain", key: "k", count: 1, ms: 1, options: { tags: ["t"] } });
        for (const one of processes) expect(await one.run({ op: "get", key: "k" })).not.to.equal(undefined);
        await first.run(end);
        await until(async () => (await second.run({ op: "get", key: "k" })) === undefined);
        for (const one of fleets.billing) expect(await one.run({ op: "get", key: "k" })).not.to.equal(undefined);
      }
    });

    it("replace a process that dies while it makes a value, once, and no caller hangs", async () => {
      const { calls } = await open();
      const [leader, ...rest] = processes as [CacheProcess, ...CacheProcess[]];
      const options = { hardTimeout: "20s" };
      const doomed = leader.run({ op: "obtain", key: "k", count: 50, ms: 60_000, options }).catch(() => undefined);
      while ((await calls()) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      const since = performance.now();
      const waiting = rest.map((one) => one.run({ op: "obtain", key: "k", count: 50, ms: 50, options }));
      await new Promise((resolve) => setTimeout(resolve, 100));
      await leader.kill();
      await doomed;
      const answers = (await Promise.all(waiting)).flat() as { call: number }[];
      expect(answers.map(({ call }) => call)).to.deep.equal(Array.from({ length: 150 }, () => 2));
      expect(await calls()).to.equal(2);
      expect(performance.now() - since).to.be.lessThan(20_000);
      processes[0] = startCacheProcess();
    });

    it("see the writes, deletions and deletions by tag of one process in a tracked namespace with their next reads", async () => {
      await open({ tracked: ["n"], local: { ttl: "1m" } });
      const [one] = processes as [CacheProcess];
      for (const value of ["a", "b", "c"]) {
        await one.run({ op: "set", key: "k", namespace: "n", value });
        expect(await msUntil(value, "k", "n")).to.be.lessThan(pushMs);
      }
      await one.run({ op: "set", key: "k", value: "plain" });
      await msUntil("plain", "k");
      await one.run({ op: "delete", key: "k" });
      expect(await msUntil(undefined, "k")).to.be.lessThan(pushMs);
      for (const namespace of ["n", undefined]) {
        const where = namespace === undefined ? {} : { namespace };
        await one.run({ op: "set", key: "tagged", value: 1, ...where });
        await msUntil(1, "tagged", namespace);
        await one.run({ op: "deleteByTag", tag: "t" });
        expect(await msUntil(undefined, "tagged", namespace)).to.be.lessThan(pushMs);
      }
    });
  });

  describe("a value in process", () => {
    let server: RedisServer;
    let proxy: Proxy;
    const boundMs = 600;

    before(async () => {
      server = await startRedis();
    });
    after(() => server.stop());
    afterEach(() => proxy.close());

    for (const fault of ["cut", "frozen", "stopped"] as const) {
      it(`is not trusted longer than its bound while the listening connection is ${fault}`, async () => {
        proxy = await startProxy(server);
        const [writer, reader] = processes as [CacheProcess, CacheProcess];
        const cache = { tracked: true, local: { ttl: boundMs } };
        const prefix = freshPrefix();
        await writer.run({ op: "open", url: server.url, prefix, cache });
        await reader.run({ op: "open", url: proxy.url, prefix, cache });
        await writer.run({ op: "set", key: "k", value: "old" });
        for (let round = 0; round < 20; round += 1) await reader.run({ op: "get", key: "k" });
        // Its connections fail for longer than the bound, and the value changes meanwhile.
        if (fault === "cut") {
          proxy.mode = "refuse";
          proxy.reset();
        }
        if (fault === "frozen") proxy.freeze();
        await writer.run({ op: "set", key: "k", value: "new" });
        if (fault === "stopped") server.pause();
        const changedAt = performance.now();
        try {
          for (;;) {
            const asked = performance.now();
            const value = await reader.run({ op: "get", key: "k" }).catch(() => undefined);
            if (value === "old") expect(asked - changedAt).to.be.lessThan(boundMs + 100);
            if (asked - changedAt > 3 * boundMs) break;
          }
        } finally {
          server.resume();
          proxy.mode = "pass";
          proxy.thaw();
        }
        const patience = performance.now() + 20_000;
        while ((await reader.run({ op: "get", key: "k" })) !== "new") {
          if (performance.now() > patience) throw new Error("the new value is never seen");
        }
      });
    }
  });

  describe("the caches on Redis Cluster", () => {
    it("call one factory, and hear of each other", async () => {
      const cluster = await startCluster({ masters: 3 });
      cleanUp(() => cluster.stop());
      const fleet = processes.slice(0, 2);
      const nodes = cluster.seeds.map(({ host, port }) => `${host}:${port}`).join(",");
      const url = `redis+cluster://${nodes}`;
      const prefix = freshPrefix();
      const cache = { tracked: ["n"] };
      for (const one of fleet) await one.run({ op: "open", url, counterUrl: testRedisUrl(), prefix, cache });
      const answers = await Promise.all(
        fleet.map((one) => one.run({ op: "obtain", key: "k", count: 50, ms: 100, options: { tags: ["t"] } })),
      );
      const values = new Set((answers.flat() as object[]).map((one) => JSON.stringify(one)));
      expect(values.size).to.equal(1);
      const [one, other] = fleet as [CacheProcess, CacheProcess];
      for (const change of [{ op: "delete", key: "k" } as const, { op: "deleteByTag", tag: "t" } as const]) {
        const begun = performance.now();
        // A write that a node does not take is a miss and no error, so that it is made again.
        do await one.run({ op: "set", key: "k", value: "v" });
        while ((await other.run({ op: "get", key: "k" })) !== "v" && performance.now() - begun < 20_000);
        expect(await other.run({ op: "get", key: "k" })).to.equal("v");
        await one.run(change);
        const since = performance.now();
        while ((await other.run({ op: "get", key: "k" })) !== undefined) {
          expect(performance.now() - since).to.be.lessThan(2 * pushMs);
        }
      }
    });
  });
});
