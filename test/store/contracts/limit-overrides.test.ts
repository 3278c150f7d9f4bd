import { startCluster } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster, Redis } from "ioredis";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { MemoryLimitOverrides } from "../../../packages/core/src/store/memory/limit-overrides.js";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { RedisLimitOverrides } from "../../../packages/core/src/store/redis/limit-overrides.js";
import { scripts } from "../../../packages/core/src/store/redis/scripts/all.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import type { OpenRecords } from "./limit-overrides.js";
import { describeQuotaRecords } from "./limit-overrides.js";

function openOn(client: RedisLike, keys: Keyspace): OpenRecords {
  const connection = connect({ redis: client, deadlineMs: 2000, logger: silentLogger, scripts });
  return {
    records: new RedisLimitOverrides({ connection, deadlineMs: 2000, rulesKey: keys.limitOverrides() }),
    count: (key) => client.call("INCR", key),
    counted: async (key) => Number((await client.call("GET", key)) ?? 0),
    close: () => connection.close(),
  };
}

describe("quota records", () => {
  const cleanUp: (() => unknown)[] = [];
  after(async () => {
    for (const clean of cleanUp.reverse()) await clean();
  });

  describeQuotaRecords("the in-process store", () => {
    const { corrections: quotas } = new MemoryDecisionStore();
    const charge = (key: string, cost: number) => [{ key, limit: 100, windowSeconds: 60, cost }];
    return {
      records: new MemoryLimitOverrides(quotas),
      count: (key) => Promise.resolve(quotas.count(charge(key, 1), quotas.peek(charge(key, 1)))),
      counted: (key) => Promise.resolve(quotas.peek(charge(key, 0))[0]!.consumed),
      close: () => undefined,
    };
  });

  describe("on Redis", () => {
    let client: Redis;
    before(() => {
      client = new Redis(testRedisUrl());
      cleanUp.push(() => client.disconnect());
    });

    describeQuotaRecords("the Redis store", (keys) => openOn(client, keys));

    it("gives every key an end, and lets rules outlive a month without any process", async () => {
      const prefix = freshPrefix();
      const keys = new Keyspace(prefix, "test");
      const { records } = openOn(client, keys);
      await records.setOverride("limit:a", { limit: 1, windowSeconds: undefined }, undefined);
      await records.addTopKeys(keys.topKeys("a"), [{ partition: "x", points: 1 }]);
      const found = await client.keys(`${prefix}*`);
      expect(found).to.have.length(2);
      for (const key of found) {
        const isRules = key === keys.limitOverrides();
        expect(await client.pttl(key), key).to.be.within(1, isRules ? 30 * 86_400_000 : 120_000);
        if (isRules) expect(await client.pttl(key)).to.be.greaterThan(29 * 86_400_000);
      }
      await client.pexpire(keys.limitOverrides(), 60_000);
      await records.readOverrides("?");
      expect(await client.pttl(keys.limitOverrides())).to.be.greaterThan(29 * 86_400_000);
    });

    it("skips values that no release of Portcullis has written", async () => {
      const keys = new Keyspace(freshPrefix(), "test");
      const { records } = openOn(client, keys);
      await records.setOverride("limit:a", { limit: 1, windowSeconds: undefined }, undefined);
      await client.hset(keys.limitOverrides(), { "limit:b": "NaN:1:", "limit:c": "", "limit:d": "-5::", x: "1:2:3:4" });
      expect([...((await records.readOverrides("?"))?.rules.keys() ?? [])]).to.deep.equal(["limit:a"]);
    });

    it("rejects with a StoreFault when a key is of another type, or the server is away", async () => {
      const keys = new Keyspace(freshPrefix(), "test");
      const { records } = openOn(client, keys);
      await client.set(keys.limitOverrides(), "poison", "PX", 60_000);
      await client.set(keys.topKeys("a")[0], "poison", "PX", 60_000);
      await client.set(keys.topKeys("a")[1], "poison", "PX", 60_000);
      const calls = [
        () => records.readOverrides("?"),
        () => records.setOverride("limit:a", { limit: 1, windowSeconds: undefined }, undefined),
        () => records.removeOverride("limit:a"),
        () => records.addTopKeys(keys.topKeys("a"), [{ partition: "x", points: 1 }]),
        () => records.readTopKeys(keys.topKeys("a"), 5),
      ];
      for (const call of calls)
        expect(await rejectionOf(call())).to.include({
          name: "StoreFault",
          kind: "unreadable",
        });
      const away = new Redis(testRedisUrl(), { enableOfflineQueue: false });
      const gone = openOn(away, keys);
      await gone.count(keys.quota("p", "a")).then(undefined, () => undefined);
      away.disconnect();
      expect(await rejectionOf(gone.records.forget(["x"]))).to.include({
        name: "StoreFault",
      });
    });
  });

  describe("on Redis Cluster", function () {
    this.timeout(60_000);
    let client: Cluster;
    before(async () => {
      const cluster = await startCluster({ masters: 3 });
      cleanUp.push(() => cluster.stop());
      client = new Cluster([...cluster.seeds]);
      cleanUp.push(() => client.disconnect());
    });

    describeQuotaRecords("the Redis store", (keys) => openOn(client, keys));
  });
});
