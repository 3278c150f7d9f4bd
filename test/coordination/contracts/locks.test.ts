import { setTimeout as sleep } from "node:timers/promises";
import { startCluster, startSentinel } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { cleanUp } from "../../support/clean-up.js";
import { openGate } from "../../support/fake-gate.js";
import type { FakeOptions } from "../../support/fake-gate.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";
import type { LockRig } from "./locks.js";
import { describeLocks } from "./locks.js";

/** Two gates that have reached every node. */
async function openPair(redis: FakeOptions["redis"]): Promise<LockRig> {
  const options = { redis, prefix: freshPrefix(), service: "locks", deadline: 1000 };
  const [one, other] = [openGate(options), openGate(options)];
  for (const gate of [one, other]) {
    for (let index = 0; index < 12; index += 1) {
      await until(async () => {
        const lock = await gate.locks.tryAcquire(`warm ${index}`).catch(() => undefined);
        return (await lock?.release()) === true;
      });
    }
  }
  return { one, other };
}

async function scriptCalls(nodes: readonly Redis[]): Promise<number> {
  const stats = await Promise.all(nodes.map(async (node) => node.info("commandstats")));
  const calls = stats.map((text) => /^cmdstat_evalsha:calls=(\d+)/m.exec(text)?.[1] ?? 0);
  return calls.reduce<number>((sum, count) => sum + Number(count), 0);
}

describe("locks", function () {
  this.timeout(60_000);

  describe("in process", () => {
    describeLocks(() => {
      const gate = openGate({});
      return { one: gate, other: gate };
    });
  });

  describe("on Redis", () => {
    describeLocks(() => openPair(testRedisUrl()));
  });

  it("wake a waiter also where the clients of the application put a prefix in front of all keys", async () => {
    const clients = [1, 2].map(() => new Redis(testRedisUrl(), { keyPrefix: "app:" }));
    for (const client of clients) cleanUp(() => client.disconnect());
    const prefix = freshPrefix();
    const [one, other] = clients.map((redis) => openGate({ redis, prefix, service: "locks", deadline: 1000 }));
    for (const names of ["a", ["a", "b"]]) {
      const lock = await one?.locks.acquire(names, { lease: "1m" });
      const waiting = other?.locks.acquire(names, { wait: "10s" });
      await sleep(30);
      await lock?.release();
      expect(await (await waiting)?.release()).to.equal(true);
    }
  });

  describe("under Sentinel", () => {
    let url: string;
    let stop: () => Promise<void>;
    before(async () => {
      const sentinel = await startSentinel();
      stop = () => sentinel.stop();
      const hosts = sentinel.sentinels.map(({ host, port }) => `${host}:${port}`);
      url = `redis+sentinel://${hosts.join(",")}/${sentinel.name}`;
    });
    after(() => stop());
    describeLocks(() => openPair(url));
  });

  describe("on Redis Cluster", () => {
    let url: string;
    let stop: () => Promise<void>;
    let nodes: Redis[];
    before(async () => {
      const cluster = await startCluster({ masters: 3 });
      nodes = cluster.nodes.map((node) => new Redis(node.url));
      stop = () => cluster.stop();
      url = `redis+cluster://${cluster.seeds.map(({ host, port }) => `${host}:${port}`).join(",")}`;
    });
    after(async () => {
      for (const node of nodes) node.disconnect();
      await stop();
    });
    describeLocks(() => openPair(url));

    it("are not asked for again and again by callers that find the last of several slots held", async () => {
      const { one, other } = await openPair(url);
      const names = ["a", "b", "c", "d"].map((letter) => letter.repeat(9));
      const all = await one.locks.acquire(names);
      const keys = (await Promise.all(nodes.map(async (node) => node.keys("*:lock:*")))).flat();
      const tagOf = (name: string): number =>
        Number(/\{(\d+)\}/.exec(keys.find((key) => key.endsWith(name)) ?? "")?.[1]);
      expect(new Set(names.map(tagOf)).size).to.be.greaterThan(1);
      const [last = ""] = names.sort((a, b) => tagOf(b) - tagOf(a));
      await all.release();

      const lock = await one.locks.acquire(last, { lease: "1m" });
      const before = await scriptCalls(nodes);
      const waiting = [one, other].map(async (gate) => gate.locks.using(names, { wait: "30s" }, () => true));
      await sleep(500);
      expect((await scriptCalls(nodes)) - before).to.be.lessThan(100);
      await lock.release();
      expect(await Promise.all(waiting)).to.deep.equal([true, true]);
    });
  });
});
