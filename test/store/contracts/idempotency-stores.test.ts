import { startCluster } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster, Redis } from "ioredis";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { MemoryIdempotencyStore } from "../../../packages/core/src/store/memory/idempotency.js";
import type { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { RedisChannels } from "../../../packages/core/src/store/redis/channels.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import { RedisIdempotencyStore } from "../../../packages/core/src/store/redis/idempotency.js";
import { scripts } from "../../../packages/core/src/store/redis/scripts/all.js";
import { Tracking } from "../../../packages/core/src/store/redis/tracking.js";
import { parseRedisUrl } from "../../../packages/core/src/store/redis/url.js";
import { Telemetry } from "../../../packages/core/src/telemetry/telemetry.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { describeIdempotencyStore } from "./idempotency-store.js";

const deadlineMs = 2000;
const claim = { owner: "a", fingerprint: "print", leaseMs: 1000, waits: false };

describe("idempotency stores", function () {
  this.timeout(60_000);
  const cleanUp: (() => unknown)[] = [];
  after(async () => {
    for (const clean of cleanUp.reverse()) await clean();
  });

  function openRedis(redis: string | RedisLike): RedisIdempotencyStore {
    const place = typeof redis === "string" ? parseRedisUrl("redis", redis) : redis;
    const connection = connect({ redis: place, deadlineMs, logger: silentLogger, scripts });
    const tracking = new Tracking({ connection, logger: silentLogger });
    const keys = new Keyspace(freshPrefix(), "test");
    const channels = new RedisChannels({ connection, tracking, keys, deadlineMs, logger: silentLogger });
    cleanUp.push(
      () => connection.close(),
      () => tracking.close(),
    );
    return new RedisIdempotencyStore({ connection, channels, deadlineMs, telemetry: new Telemetry() });
  }

  describeIdempotencyStore("the in-process store", () => new MemoryIdempotencyStore());
  describeIdempotencyStore("the Redis store", () => openRedis(testRedisUrl()));

  describe("on Redis Cluster", () => {
    let client: Cluster;

    before(async () => {
      const cluster = await startCluster({ masters: 3 });
      client = new Cluster([...cluster.seeds]);
      cleanUp.push(
        () => cluster.stop(),
        () => client.disconnect(),
      );
    });

    describeIdempotencyStore("the Redis store", () => openRedis(client));
  });

  describe("the Redis store", () => {
    it("asks Redis once to claim, and once to store; every record has an end", async () => {
      const redis = new Redis(testRedisUrl());
      cleanUp.push(() => redis.disconnect());
      const store = openRedis(testRedisUrl());
      const key = new Keyspace(freshPrefix(), "test").coordination("idempotency", "k");
      await store.claim({ key, ...claim });
      expect(await redis.pttl(key)).to.be.within(1, 1000);
      await store.complete({ key, fingerprint: "print", response: "r", ttlMs: 5000 });
      expect(await redis.pttl(key)).to.be.within(1001, 5000);
    });

    it("takes a value that is no record for a fault, and leaves it", async () => {
      const redis = new Redis(testRedisUrl());
      cleanUp.push(() => redis.disconnect());
      const store = openRedis(testRedisUrl());
      const keys = new Keyspace(freshPrefix(), "test");
      for (const [index, value] of ["", "1d:", "1d:print", "1r2:a:print", "1r0:a", "2d:print:x", "{}"].entries()) {
        const key = keys.coordination("idempotency", `k${index}`);
        await redis.set(key, value, "PX", 10_000);
        for (const answer of [
          await store.claim({ key, ...claim }),
          await store.complete({ key, fingerprint: "print", response: "r", ttlMs: 1000 }),
          await store.release({ key, owner: "a" }),
        ])
          expect((answer as StoreFault).kind, value).to.equal("unreadable");
        expect(await redis.get(key)).to.equal(value);
      }
      const list = keys.coordination("idempotency", "list");
      await redis.rpush(list, "x");
      await redis.pexpire(list, 10_000);
      expect(((await store.claim({ key: list, ...claim })) as StoreFault).kind).to.equal("unreadable");
      expect(store.breakers[0]?.state).to.equal("closed");
    });
  });

  describe("the in-process store", () => {
    it("is bounded: it drops the oldest response, but never a lease", async () => {
      const store = new MemoryIdempotencyStore({ capacity: 10 });
      for (let index = 0; index < 20; index += 1) {
        await store.claim({ key: `done-${index}`, ...claim });
        await store.complete({ key: `done-${index}`, fingerprint: "print", response: "r", ttlMs: 60_000 });
      }
      expect(await store.claim({ key: "done-19", ...claim })).to.include({ state: "completed" });
      expect(await store.claim({ key: "done-0", ...claim, leaseMs: 60_000 })).to.include({ state: "claimed" });
      for (let index = 1; index < 10; index += 1)
        await store.claim({ key: `running-${index}`, ...claim, leaseMs: 60_000 });
      expect(((await store.claim({ key: "one-more", ...claim })) as StoreFault).kind).to.equal("overloaded");
      expect(await store.claim({ key: "done-0", ...claim, owner: "b" })).to.include({ state: "running" });
    });
  });
});
