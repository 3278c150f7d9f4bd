import { startCluster } from "@portcullis/testkit";
import type { RedisCluster } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster, Redis } from "ioredis";
import { parseRedisUrl } from "../../../packages/core/src/store/redis/url.js";
import { accountKeys } from "../../../packages/core/src/login/login-keys.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import type { AttemptOutcome, AttemptResult } from "../../../packages/core/src/store/ports/logins.js";
import { MemoryLoginStore } from "../../../packages/core/src/store/memory/logins.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { GiveBacks } from "../../../packages/core/src/store/redis/give-backs.js";
import { RedisLoginStore } from "../../../packages/core/src/store/redis/logins.js";
import { scripts } from "../../../packages/core/src/store/redis/scripts/all.js";
import { Telemetry } from "../../../packages/core/src/telemetry/telemetry.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { describeLoginStore } from "./login-store.js";

function openRedis(redis: string | RedisLike): { store: RedisLoginStore; connection: Connection } {
  const connection = connect({
    redis: typeof redis === "string" ? parseRedisUrl("redis", redis) : redis,
    deadlineMs: 2000,
    logger: silentLogger,
    scripts,
  });
  const telemetry = new Telemetry();
  const keys = new Keyspace(freshPrefix(), "test");
  const giveBacks = new GiveBacks({
    ...{ connection, telemetry, logger: silentLogger },
    memoryKey: (tag, process) => keys.giveBacks(tag, process),
    isWell: () => true,
    mayCall: () => true,
  });
  return { connection, store: new RedisLoginStore({ connection, deadlineMs: 2000, giveBacks }) };
}

async function scriptCalls(redis: Redis): Promise<number> {
  const stats = await redis.info("commandstats");
  return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1] ?? 0);
}

describe("login stores", () => {
  const cleanUp: (() => unknown)[] = [];
  after(async () => {
    for (const clean of cleanUp.reverse()) await clean();
  });

  describeLoginStore("the in-process store", () => new MemoryLoginStore());

  describeLoginStore("the Redis store", () => {
    const { store, connection } = openRedis(testRedisUrl());
    cleanUp.push(() => connection.close());
    return store;
  });

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

    describeLoginStore("the Redis store", () => openRedis(client).store);
  });

  describe("the Redis store", () => {
    let redis: Redis;
    let store: RedisLoginStore;

    before(() => {
      redis = new Redis(testRedisUrl());
      const opened = openRedis(testRedisUrl());
      store = opened.store;
      cleanUp.push(
        () => redis.disconnect(),
        () => opened.connection.close(),
      );
    });

    const outcome = (keys: Keyspace, result: AttemptResult) => ({
      question: {
        address: { key: keys.login("login", "ip", "a"), limit: 30, windowMs: 60_000 },
        accountAndIp: { key: keys.login("login", "pair", "o", "a"), spelling: "s", limit: 2, windowMs: 60_000 },
        resetKey: keys.login("login", "pardon", "o"),
        account: {
          keys: [keys.login("login", "account", "o"), keys.login("login", "account", "o", "s")],
          ...{ limit: 50, windowMs: 60_000, minIntervalMs: 1000 },
          ...{ knownKey: keys.login("login", "known", "o", "a"), intervalKey: keys.login("login", "pace", "o") },
        },
      },
      counted: true,
      result,
      block: { longestMs: 3_600_000, memoryMs: 86_400_000 },
      knownMs: 60_000,
      failures: { key: keys.failedLogins("alice@example.com"), ttlMs: 60_000 },
    });

    it("counts failures for other services as they do, and no successes", async () => {
      const prefix = freshPrefix();
      const keys = new Keyspace(prefix, "test");
      const key = `${prefix}auth:failed:alice@example.com`;
      await store.record(outcome(keys, "succeeded"));
      expect(await redis.exists(key)).to.equal(0);
      await store.record(outcome(keys, "failed"));
      expect(await redis.type(key)).to.equal("string");
      expect(await redis.pttl(key)).to.be.within(55_000, 60_000);
      // As the .NET service does it.
      expect(await redis.incr(key)).to.equal(2);
      await redis.pexpire(key, 20_000);
      await store.record(outcome(keys, "failed"));
      expect([await redis.get(key), (await redis.pttl(key)) <= 20_000]).to.deep.equal(["3", true]);
      await redis.persist(key);
      await store.record(outcome(keys, "failed"));
      expect(await redis.pttl(key), "a TTL that was lost is healed").to.be.within(1, 60_000);
    });

    it("has an end for every key, and heals counters that have lost theirs", async () => {
      const prefix = freshPrefix();
      const { question, ...rest } = outcome(new Keyspace(prefix, "test"), "failed");
      await store.count(question);
      for (const key of [question.address.key, ...question.account.keys]) await redis.persist(key);
      for (let round = 0; round < 3; round += 1) {
        await store.count(question);
        await store.record({ question, ...rest });
      }
      for (const result of ["interrupted", "unchecked", "succeeded"] as const)
        await store.record({ question, ...rest, result });
      const other = { ...question, accountAndIp: { ...question.accountAndIp, spelling: "t" } };
      await store.count(question);
      await store.count(other);
      await store.record({ ...rest, question: other, result: "succeeded" });
      const names = await redis.keys(`${prefix}*`);
      expect(names.length).to.be.greaterThan(3);
      for (const key of names) expect(await redis.pttl(key), key).to.be.greaterThan(0);
    });

    it("is nothing of attempts that were taken back, however many names they had", async () => {
      const prefix = freshPrefix();
      const { question, ...rest } = outcome(new Keyspace(prefix, "test"), "unchecked");
      const charged = async (index: number): Promise<AttemptOutcome> => {
        const accountAndIp = { ...question.accountAndIp, limit: 1000, spelling: `s${index}` };
        const account = { ...question.account, keys: question.account.keys.map((key) => `${key}${index}`) };
        const asked = { ...question, accountAndIp, account };
        expect(await store.count(asked)).to.include({ refusedBy: undefined });
        return { question: asked, ...rest };
      };
      const failed = { ...(await charged(0)), result: "failed" } as const;
      await store.record(failed);
      const names = (await redis.keys(`${prefix}*`)).sort();
      const fields = await redis.hlen(question.accountAndIp.key);
      for (let index = 1; index <= 20; index += 1) await store.record(await charged(index));
      expect((await redis.keys(`${prefix}*`)).sort()).to.deep.equal(names);
      expect(await redis.hlen(question.accountAndIp.key)).to.equal(fields);
      expect(await redis.hget(question.accountAndIp.key, "n")).to.equal("1");
    });

    it("is asked once to count an attempt, and once to settle it", async () => {
      const { question, ...rest } = outcome(new Keyspace(freshPrefix(), "test"), "succeeded");
      const seen: number[] = [await scriptCalls(redis)];
      await store.count(question);
      seen.push(await scriptCalls(redis));
      await store.record({ question, ...rest });
      seen.push(await scriptCalls(redis));
      const [before = 0, charged = 0, settled = 0] = seen;
      expect([charged - before, settled - charged]).to.deep.equal([1, 1]);
    });

    it("holds neither names nor addresses that can be read, but in the key of the other services", async () => {
      const prefix = freshPrefix();
      const keys = new Keyspace(prefix, "test");
      const { owner } = accountKeys(keys, "login", "alice@example.com");
      const { question } = outcome(keys, "failed");
      const accountAndIp = {
        ...question.accountAndIp,
        key: keys.login("login", "pair", owner, keys.digest("192.0.2.1")),
      };
      await store.count({ ...question, accountAndIp });
      for (const key of await redis.keys(`${prefix}portcullis:*`)) expect(key).to.not.match(/alice|192/);
    });

    it("says so if a counter is none, without counting anything", async () => {
      const { question } = outcome(new Keyspace(freshPrefix(), "test"), "failed");
      for (const key of question.account.keys) {
        await redis.rpush(key, "poison");
        await redis.expire(key, 60);
        expect(await store.count(question)).to.include({ kind: "unreadable" });
        expect(await redis.exists(question.address.key, question.accountAndIp.key)).to.equal(0);
        await redis.del(key);
      }
    });
  });
});
