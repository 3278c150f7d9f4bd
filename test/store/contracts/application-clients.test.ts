import { startCluster } from "@portcullis/testkit";
import type { RedisCluster } from "@portcullis/testkit";
import { Cluster, Redis } from "ioredis";
import { Cluster as Cluster5, Redis as Redis5 } from "ioredis5";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { RedisLoginStore } from "../../../packages/core/src/store/redis/logins.js";
import { RedisLimitOverrides } from "../../../packages/core/src/store/redis/limit-overrides.js";
import { scripts } from "../../../packages/core/src/store/redis/scripts/all.js";
import { RedisDecisionStore } from "../../../packages/core/src/store/redis/decisions.js";
import { RedisSessionStore } from "../../../packages/core/src/store/redis/sessions.js";
import { silentLogger } from "../../support/logger.js";
import { testRedisUrl } from "../../support/redis.js";
import { describeLoginStore } from "./login-store.js";
import { describeQuotaRecords } from "./limit-overrides.js";
import { describeSecurityStore } from "./decision-store.js";
import { describeSessionStore } from "./session-store.js";

/** Options that change the type of replies, the names of keys and the text of errors. */
const odd = { stringNumbers: true, keyPrefix: "app:", showFriendlyErrorStack: true } as const;

/** The same contracts on clients that the application made, whatever their replies look like. */
describe("clients of the user's own", function () {
  this.timeout(60_000);
  const cleanUp: (() => unknown)[] = [];
  let cluster: RedisCluster;
  const deadlineMs = 2000;

  before(async () => {
    cluster = await startCluster({ masters: 3 });
    cleanUp.push(() => cluster.stop());
  });
  after(async () => {
    for (const clean of cleanUp.reverse()) await clean();
  });

  const clients: readonly (readonly [name: string, open: () => RedisLike & { disconnect(): void }])[] = [
    ["ioredis 6 with RESP3", () => new Redis(testRedisUrl(), { ...odd, protocol: 3 })],
    ["ioredis 6 with RESP2", () => new Redis(testRedisUrl(), { ...odd, protocol: 2 })],
    ["ioredis 5", () => new Redis5(testRedisUrl(), odd)],
    [
      "ioredis 6 on Cluster with RESP3",
      () => new Cluster([...cluster.seeds], { keyPrefix: "app:", redisOptions: { ...odd, protocol: 3 } }),
    ],
    ["ioredis 5 on Cluster", () => new Cluster5([...cluster.seeds], { keyPrefix: "app:", redisOptions: odd })],
  ];

  for (const [name, open] of clients) {
    describe(`${name}, numbers as text and a prefix of its own`, () => {
      let connection: Connection;
      let client: RedisLike;
      before(() => {
        const own = open();
        client = own;
        cleanUp.push(() => own.disconnect());
        connection = connect({ redis: own, deadlineMs, logger: silentLogger, scripts });
      });
      const security = (): RedisDecisionStore =>
        new RedisDecisionStore({ connection, deadlineMs, clockToleranceMs: 5000 });

      describeSecurityStore("the Redis store", security);
      describeSessionStore("the Redis store", () => ({
        store: new RedisSessionStore({ connection, deadlineMs, marginSeconds: 300, longestSeconds: 2_592_000 }),
        revocationStore: security(),
      }));
      describeLoginStore("the Redis store", () => new RedisLoginStore({ connection, deadlineMs }));
      describeQuotaRecords("the Redis store", (keys) => ({
        records: new RedisLimitOverrides({ connection, deadlineMs, rulesKey: keys.limitOverrides() }),
        count: (key) => client.call("INCR", key),
        counted: async (key) => Number((await client.call("GET", key)) ?? 0),
        close: () => undefined,
      }));
    });
  }
});
