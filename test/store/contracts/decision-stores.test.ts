import { startCluster } from "@portcullis/testkit";
import type { RedisCluster } from "@portcullis/testkit";
import { Cluster, Redis } from "ioredis";
import { Redis as Redis5 } from "ioredis5";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { scripts } from "../../../packages/core/src/store/redis/scripts/all.js";
import { RedisDecisionStore } from "../../../packages/core/src/store/redis/decisions.js";
import { parseRedisUrl } from "../../../packages/core/src/store/redis/url.js";
import { silentLogger } from "../../support/logger.js";
import { testRedisUrl } from "../../support/redis.js";
import { describeQuotaStore } from "./usage-corrections.js";
import { describeSecurityStore } from "./decision-store.js";

function openRedis(redis: string | RedisLike): { store: RedisDecisionStore; connection: Connection } {
  const connection = connect({
    redis: typeof redis === "string" ? parseRedisUrl("redis", redis) : redis,
    deadlineMs: 1000,
    logger: silentLogger,
    scripts,
  });
  return { connection, store: new RedisDecisionStore({ connection, deadlineMs: 1000, clockToleranceMs: 5000 }) };
}

describe("security stores", () => {
  const cleanUp: (() => unknown)[] = [];
  after(async () => {
    for (const clean of cleanUp.reverse()) await clean();
  });

  describeSecurityStore("the in-process store", () => new MemoryDecisionStore());
  describeQuotaStore("the in-process store", () => new MemoryDecisionStore());

  for (const describeStore of [describeSecurityStore, describeQuotaStore]) {
    describeStore("the Redis store", () => {
      const { store, connection } = openRedis(testRedisUrl());
      cleanUp.push(() => connection.close());
      return store;
    });
  }

  for (const [name, Client] of [
    ["ioredis 6", Redis],
    ["ioredis 5", Redis5],
  ] as const) {
    describeSecurityStore(`the Redis store on a client of the user's own, ${name}`, () => {
      const client = new Client(testRedisUrl());
      cleanUp.push(() => client.disconnect());
      return openRedis(client).store;
    });
  }

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

    describeSecurityStore("the Redis store", () => openRedis(client).store);
    describeQuotaStore("the Redis store", () => openRedis(client).store);
  });
});
