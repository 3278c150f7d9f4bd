import { startCluster } from "@portcullis/testkit";
import { Cluster } from "ioredis";
import { parseRedisUrl } from "../../packages/core/src/options/redis-url.js";
import type { Keyspace } from "../../packages/core/src/store/keys.js";
import { MemorySecurityStore } from "../../packages/core/src/store/memory/security.js";
import { MemorySessionStore } from "../../packages/core/src/store/memory/sessions.js";
import { connect } from "../../packages/core/src/store/redis/connect.js";
import type { Connection } from "../../packages/core/src/store/redis/connect.js";
import { scripts } from "../../packages/core/src/store/redis/scripts/all.js";
import { RedisSecurityStore } from "../../packages/core/src/store/redis/security.js";
import { RedisSessionStore } from "../../packages/core/src/store/redis/sessions.js";
import { silentLogger } from "../support/logger.js";
import { testRedisUrl } from "../support/redis.js";
import type { OpenSessionStore } from "./session-store.js";
import { describeSessionStore } from "./session-store.js";

const margins = { marginSeconds: 300, longestSeconds: 2_592_000 };

function onRedis(connection: Connection, keys: Keyspace): OpenSessionStore {
  return {
    store: new RedisSessionStore({ connection, keys, deadlineMs: 1000, ...margins }),
    security: new RedisSecurityStore({ connection, deadlineMs: 1000, clockToleranceMs: 5000 }),
  };
}

describe("session stores", () => {
  const cleanUp: (() => unknown)[] = [];
  after(async () => {
    for (const clean of cleanUp.reverse()) await clean();
  });

  describeSessionStore("the in-process store", (keys) => {
    const security = new MemorySecurityStore();
    const store = new MemorySessionStore({
      security,
      cutoffAt: (key) => security.cutoffAt(key),
      revokedKey: (jti) => keys.revokedToken(jti),
      marginSeconds: 300,
    });
    return { store, security };
  });

  describe("on one server", () => {
    let connection: Connection;
    before(() => {
      const redis = parseRedisUrl("redis", testRedisUrl());
      connection = connect({ redis, deadlineMs: 1000, logger: silentLogger, scripts });
      cleanUp.push(() => connection.close());
    });
    describeSessionStore("the Redis store", (keys) => onRedis(connection, keys));
  });

  describe("on Redis Cluster", function () {
    this.timeout(60_000);
    let connection: Connection;
    before(async () => {
      const cluster = await startCluster({ masters: 3 });
      cleanUp.push(() => cluster.stop());
      const client = new Cluster([...cluster.seeds]);
      cleanUp.push(() => client.disconnect());
      connection = connect({ redis: client, deadlineMs: 1000, logger: silentLogger, scripts });
    });
    describeSessionStore("the Redis store", (keys) => onRedis(connection, keys));
  });
});
