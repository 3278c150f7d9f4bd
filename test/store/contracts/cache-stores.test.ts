import { expect } from "chai";
import { Cluster, Redis } from "ioredis";
import { startCluster } from "@portcullis/testkit";
import type { RedisCluster } from "@portcullis/testkit";
import { CacheService } from "../../../packages/core/src/cache/cache-service.js";
import { RequestState } from "../../../packages/core/src/request/state.js";
import { resolveCache } from "../../../packages/core/src/cache/options.js";
import type { Channels } from "../../../packages/core/src/store/ports/channels.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { Telemetry } from "../../../packages/core/src/telemetry/telemetry.js";
import { MemoryChannels } from "../../../packages/core/src/store/memory/channels.js";
import { MemoryCacheStore } from "../../../packages/core/src/store/memory/cache.js";
import { RedisCacheStore } from "../../../packages/core/src/store/redis/cache.js";
import { RedisChannels } from "../../../packages/core/src/store/redis/channels.js";
import { Tracking } from "../../../packages/core/src/store/redis/tracking.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { parseRedisUrl } from "../../../packages/core/src/store/redis/url.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { describeCacheStore } from "./cache-store.js";

describe("cache stores", () => {
  const cleanUp: (() => unknown)[] = [];
  after(async () => {
    for (const clean of cleanUp.reverse()) await clean();
  });

  let heard: Channels = new MemoryChannels();

  function openRedis(redis: string | RedisLike): RedisCacheStore {
    const connection = connect({
      redis: typeof redis === "string" ? parseRedisUrl("redis", redis) : redis,
      deadlineMs: 1000,
      logger: silentLogger,
      scripts: [],
    });
    cleanUp.push(() => connection.close());
    const keys = new Keyspace("", "test");
    const tracking = new Tracking({ connection, logger: silentLogger });
    cleanUp.push(() => tracking.close());
    const channels = new RedisChannels({ connection, tracking, keys, deadlineMs: 1000, logger: silentLogger });
    heard = channels;
    return new RedisCacheStore({ connection, channels, deadlineMs: 1000 });
  }

  const inProcess = new MemoryChannels();
  describeCacheStore(
    "the in-process store",
    () => new MemoryCacheStore({ channels: inProcess }),
    () => inProcess,
  );
  describeCacheStore(
    "the Redis store",
    () => openRedis(testRedisUrl()),
    () => heard,
  );

  describe("on Redis Cluster", function () {
    this.timeout(60_000);
    let cluster: RedisCluster;
    let client: Cluster;

    before(async () => {
      cluster = await startCluster({ masters: 3 });
      client = new Cluster([...cluster.seeds]);
      cleanUp.push(
        () => cluster.stop(),
        () => client.disconnect(),
      );
    });

    describeCacheStore(
      "the Redis store",
      () => openRedis(client),
      () => heard,
    );
  });

  it("read the keys of many requests in one turn with one MGET, and a key once in one request", async () => {
    const prefix = freshPrefix();
    const channels = new MemoryChannels();
    const factory = new CacheService({
      store: openRedis(testRedisUrl()),
      signals: { channels, track: () => undefined, isAlive: () => false },
      keys: new Keyspace(prefix, "test"),
      options: resolveCache({ local: false }),
      telemetry: new Telemetry(),
      logger: silentLogger,
    });
    const admin = new Redis(testRedisUrl());
    cleanUp.push(() => admin.disconnect());
    await factory.create(new RequestState()).set("warm", 1);
    const before = await mgets(admin);
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        const cache = factory.create(new RequestState());
        await Promise.all([cache.get("a"), cache.get("a"), cache.getMany(["a", "b", "c"]), cache.has("d")]);
        await cache.get("a");
      }),
    );
    expect((await mgets(admin)) - before).to.equal(1);
  });
});

async function mgets(redis: Redis): Promise<number> {
  return Number(/cmdstat_mget:calls=(\d+)/.exec(await redis.info("commandstats"))?.[1] ?? 0);
}
