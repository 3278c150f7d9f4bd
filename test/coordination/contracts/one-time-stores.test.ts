import { setTimeout as sleep } from "node:timers/promises";
import { startCluster } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster, Redis } from "ioredis";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { MemoryOneTimeStore } from "../../../packages/core/src/store/memory/one-time.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { RedisOneTimeStore } from "../../../packages/core/src/store/redis/one-time.js";
import { scripts } from "../../../packages/core/src/store/redis/scripts/all.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import { describeOneTimeStore, newConsumption, newValue } from "./one-time-store.js";
import type { OpenedOneTimeStore } from "./one-time-store.js";

function openOn(client: RedisLike): OpenedOneTimeStore {
  const connection = connect({ redis: client, deadlineMs: 2000, logger: silentLogger, scripts });
  return { store: new RedisOneTimeStore({ connection, deadlineMs: 2000 }), pass: (ms) => sleep(ms) };
}

describe("stores of one-time values", () => {
  const prefix = freshPrefix();
  const keys = new Keyspace(prefix, "test");
  const cleanUp: (() => unknown)[] = [];
  after(async () => {
    for (const clean of cleanUp.reverse()) await clean();
  });

  describe("in process", () => {
    let now = 1000;
    const pass = (ms: number): Promise<void> => Promise.resolve(void (now += ms));
    describeOneTimeStore(
      "the in-process store",
      () => ({ store: new MemoryOneTimeStore({ now: () => now }), pass }),
      keys,
    );

    it("refuses a new value when it is full, drops no live one, and has room again when values have ended", async () => {
      const store = new MemoryOneTimeStore({ now: () => now, values: 3 });
      const [first, second, third] = [newValue(keys, { ttlMs: 1000 }), newValue(keys), newValue(keys)];
      for (const value of [first, second, third]) await store.issue(value);
      expect(await rejectionOf(store.issue(newValue(keys)))).to.include({ name: "StoreFault", kind: "overloaded" });
      for (const { key } of [first, second, third]) expect(await store.peek(key)).to.equal("content");
      await pass(1000);
      await store.issue(newValue(keys));
      expect(await rejectionOf(store.issue(newValue(keys)))).to.include({ kind: "overloaded" });
      await store.consume(second.key, newConsumption());
      await pass(20_000);
      await store.issue(newValue(keys));
    });

    it("is bounded in its size as in its number", async () => {
      const store = new MemoryOneTimeStore({ now: () => now, characters: 100 });
      const content = "x".repeat(40);
      const values = [newValue(keys, { content }), newValue(keys, { content, subject: "alice" })];
      for (const value of values) await store.issue(value);
      expect(await rejectionOf(store.issue(newValue(keys, { content })))).to.include({ kind: "overloaded" });
      await store.revoke(values[1]?.subjectKey ?? "");
      await store.issue(newValue(keys, { content }));
    });
  });

  describe("on Redis", () => {
    let client: Redis;
    before(() => {
      client = new Redis(testRedisUrl());
      cleanUp.push(() => client.disconnect());
    });
    describeOneTimeStore("the Redis store", () => openOn(client), keys);

    it("gives every key an end, and no key for longer than a value lives", async () => {
      const own = freshPrefix();
      const ownKeys = new Keyspace(own, "test");
      const { store } = openOn(client);
      const value = newValue(ownKeys, { subject: "alice", ttlMs: 30_000 });
      await store.issue(value);
      await store.issue(newValue(ownKeys, { subject: "alice", ttlMs: 5000 }));
      const lives = async (): Promise<number[]> =>
        Promise.all((await client.keys(`${own}*`)).map((key) => client.pttl(key)));
      expect(await lives()).to.have.length(3);
      for (const life of await lives()) expect(life).to.be.within(1, 30_000);
      expect(await client.pttl(value.subjectKey ?? "")).to.be.above(20_000);
      await store.consume(value.key, newConsumption());
      expect(await client.pttl(value.key)).to.be.within(1, 14_000);
    });

    it("rejects with a StoreFault for a key of another type and a text that no release wrote", async () => {
      const { store } = openOn(client);
      const [list, text, index] = [newValue(keys), newValue(keys), newValue(keys, { subject: "poisoned" })];
      await client.lpush(list.key, "poison");
      await client.pexpire(list.key, 60_000);
      await client.set(text.key, "2 of a later release", "PX", 60_000);
      await client.set(index.subjectKey ?? "", "poison", "PX", 60_000);
      const calls = [
        ...[list, text].flatMap(({ key }) => [() => store.consume(key, newConsumption()), () => store.peek(key)]),
        () => store.issue(index),
        () => store.revoke(index.subjectKey ?? ""),
      ];
      for (const call of calls)
        expect(await rejectionOf(call())).to.include({ name: "StoreFault", kind: "unreadable" });
      expect(await client.exists(index.key), "a value that nobody can revoke").to.equal(0);
    });
  });

  describe("on Redis, with a client that prefixes keys", () => {
    let client: Redis;
    before(() => {
      client = new Redis(testRedisUrl(), { keyPrefix: freshPrefix() });
      cleanUp.push(() => client.disconnect());
    });
    describeOneTimeStore("the Redis store", () => openOn(client), keys);
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
    describeOneTimeStore("the Redis store", () => openOn(client), keys);
  });
});
