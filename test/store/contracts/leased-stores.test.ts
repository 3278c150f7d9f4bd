import { startCluster } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster, Redis } from "ioredis";
import { LeasedStore } from "../../../packages/core/src/limits/leases/leased-store.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import type { Consumption, Question, DecisionStore } from "../../../packages/core/src/store/ports/decisions.js";
import type { RevocationStore } from "../../../packages/core/src/store/ports/revocation.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { RedisLeaseSource } from "../../../packages/core/src/store/redis/leases.js";
import { scripts } from "../../../packages/core/src/store/redis/scripts/all.js";
import { RedisDecisionStore } from "../../../packages/core/src/store/redis/decisions.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";
import { consumed, describeSecurityStore } from "./decision-store.js";

const cleanUp: (() => unknown)[] = [];

function open(client: RedisLike): {
  store: LeasedStore;
  inner: RedisDecisionStore;
  connection: Connection;
  source: RedisLeaseSource;
} {
  const connection = connect({ redis: client, deadlineMs: 1000, logger: silentLogger, scripts });
  const inner = new RedisDecisionStore({ connection, deadlineMs: 1000, clockToleranceMs: 5000 });
  const source = new RedisLeaseSource(connection, inner.giveBacks, () => true);
  const store = new LeasedStore({ store: inner, source, gatherMs: 1 });
  cleanUp.push(() => store.end());
  return { store, inner, connection, source };
}

/** Every charge may be answered from a lease. */
function leasingAll({ store, inner }: ReturnType<typeof open>): DecisionStore & RevocationStore {
  const leased = (charges: readonly Consumption[]): Consumption[] =>
    charges.map((charge) => ({ ...charge, leased: true }));
  return {
    ask: (question) =>
      store.ask({
        ...question,
        beforeToken: leased(question.beforeToken),
        afterToken: leased(question.afterToken),
      }),
    revoke: (key, expiresAt) => inner.revoke(key, expiresAt),
    cutOff: (key, ttlSeconds, at) => inner.cutOff(key, ttlSeconds, at),
  };
}

/** What leases do in Redis, standalone and in a Cluster. */
function describeLeases(connected: () => RedisLike): void {
  describeSecurityStore("a store that leases", () => leasingAll(open(connected())));

  describe("leases in Redis", () => {
    const keys = (): Keyspace => new Keyspace(freshPrefix(), "test");
    const charge = (key: string, limit: number, cost = 1, windowSeconds = 60): Consumption => ({
      ...{ key, limit, cost, windowSeconds },
      leased: true,
    });
    const count = async (store: LeasedStore, one: Consumption): Promise<number> => {
      const question: Question = { beforeToken: [one], token: undefined, afterToken: [] };
      const answer = await store.ask(question);
      if ("kind" in answer) throw answer;
      return consumed(answer.beforeToken[0]);
    };
    const counter = async (key: string): Promise<number> => Number(await connected().call("GET", key));

    it("count the points that they take, answer from them, and give back the rest when the process ends", async () => {
      const key = keys().quota("p", "a");
      const { store } = open(connected());
      for (let index = 1; index <= 100; index += 1) {
        // A renewal may overtake a request on its way, or be overtaken: what is told is then a little off.
        expect(await count(store, charge(key, 10_000))).to.be.within(1, index + 2000);
        if (index % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      }
      expect(await counter(key)).to.be.greaterThan(100);
      await store.end();
      await until(async () => (await counter(key)) === 100);
      expect(await connected().call("PTTL", key)).to.be.within(1, 60_000);
    });

    it("give nothing back into the next window", async () => {
      const key = keys().quota("p", "a");
      const { store } = open(connected());
      for (let index = 0; index < 20; index += 1) {
        await count(store, charge(key, 10_000));
        await new Promise((resolve) => setTimeout(resolve, 3));
      }
      expect(await counter(key)).to.be.greaterThan(20);
      await connected().call("SET", key, 5, "PX", 60_000);
      await store.end();
      expect(await counter(key)).to.equal(5);
    });

    it("harm nobody else when one counter is poisoned", async () => {
      const keyspace = keys();
      const [bad, good] = [keyspace.quota("bad", "a"), keyspace.quota("good", "a")];
      await connected().call("LPUSH", bad, "x");
      const { source } = open(connected());
      const { store } = open(connected());
      await count(store, charge(good, 1000));
      const request = { limit: 1000, take: 10, giveBack: 0, windowEnd: 0, windowMs: 60_000 };
      const [fault, grant] = await source.exchange([
        { ...request, key: bad },
        { ...request, key: good },
      ]);
      expect(fault).to.include({ name: "StoreFault", kind: "unreadable" });
      expect(grant).to.include({ granted: 10, consumed: 11 });
    });

    it("take at most a sixteenth of the remaining points, and nothing before a window has begun", async () => {
      const keyspace = keys();
      const { store, source } = open(connected());
      const key = keyspace.quota("p", "a");
      const request = { key, limit: 161, take: 1000, giveBack: 0, windowEnd: 0, windowMs: 60_000 };
      expect(await source.exchange([request])).to.deep.equal([{ granted: 0, consumed: 0, resetMs: 0, windowEnd: 0 }]);
      await count(store, charge(key, 161));
      const [first] = await source.exchange([request]);
      expect(first).to.include({ granted: 10, consumed: 11 });
      const [none] = await source.exchange([{ ...request, limit: 26 }]);
      expect(none).to.include({ granted: 0, consumed: 11 });
      const [over] = await source.exchange([{ ...request, limit: 5 }]);
      expect(over).to.include({ granted: 0, consumed: 11 });
    });
  });
}

describe("leased stores", () => {
  after(async () => {
    for (const clean of cleanUp.splice(0).reverse()) await clean();
  });

  describe("on Redis", () => {
    let client: Redis;
    before(() => {
      client = new Redis(testRedisUrl());
      cleanUp.push(() => client.disconnect());
    });
    describeLeases(() => client);
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
    describeLeases(() => client);
  });
});
