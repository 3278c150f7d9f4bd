import { startCluster } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster } from "ioredis";
import { parseRedisUrl } from "../../packages/core/src/options/redis-url.js";
import { Keyspace } from "../../packages/core/src/store/keys.js";
import { MemorySecurityStore } from "../../packages/core/src/store/memory/security.js";
import { MemorySessionStore } from "../../packages/core/src/store/memory/sessions.js";
import { connect } from "../../packages/core/src/store/redis/connect.js";
import type { Connection } from "../../packages/core/src/store/redis/connect.js";
import { scripts } from "../../packages/core/src/store/redis/scripts/all.js";
import { RedisSecurityStore } from "../../packages/core/src/store/redis/security.js";
import { RedisSessionStore } from "../../packages/core/src/store/redis/sessions.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { until } from "../support/until.js";
import type { OpenSessionStore } from "./session-store.js";
import { describeSessionStore } from "./session-store.js";

const margins = { marginSeconds: 300, longestSeconds: 2_592_000 };

function onRedis(connection: Connection, keys: Keyspace): OpenSessionStore {
  return {
    store: new RedisSessionStore({ connection, keys, deadlineMs: 1000, ...margins }),
    security: new RedisSecurityStore({ connection, deadlineMs: 1000, clockToleranceMs: 5000 }),
  };
}

/** What other services have added to a set of tokens ends with the sessions, whatever our own clock says. */
async function endsForeignTokens(connection: Connection, open: (keys: Keyspace) => OpenSessionStore): Promise<void> {
  const { client } = connection;
  await until(() => connection.isUp());
  const keys = new Keyspace(freshPrefix(), "test");
  const { store } = open(keys);
  const [subject, group] = [keys.sessionsOf("alice"), keys.groupOf("acme")];
  await client.call("SADD", subject.shared, "foreign-1");
  await client.call("SADD", group.shared, "foreign-2");
  const right = Date.now;
  Date.now = () => right() - 400 * 86_400_000;
  try {
    await store.end(subject, { kind: "all", endedAt: Math.floor(right() / 1000) });
    await store.endGroup(group);
  } finally {
    Date.now = right;
  }
  for (const jti of ["foreign-1", "foreign-2"])
    expect(await client.call("EXISTS", keys.revokedToken(jti)), jti).to.equal(1);
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

    it("revokes the tokens of other services though the clock of this process is far behind", () =>
      endsForeignTokens(connection, (keys) => onRedis(connection, keys)));
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

    it("revokes the tokens of other services though the clock of this process is far behind", () =>
      endsForeignTokens(connection, (keys) => onRedis(connection, keys)));
  });
});
