import { expect } from "chai";
import { startCluster } from "@portcullis/testkit";
import { Cluster, Redis } from "ioredis";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import type { Answer, Consumption, DecisionStore } from "../../../packages/core/src/store/ports/decisions.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { LeasedStore } from "../../../packages/core/src/limits/leases/leased-store.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import { RedisDecisionStore } from "../../../packages/core/src/store/redis/decisions.js";
import { RedisLeaseSource } from "../../../packages/core/src/store/redis/leases.js";
import { scripts } from "../../../packages/core/src/store/redis/scripts/all.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";

interface Opened {
  readonly store: DecisionStore;
  readonly client: Redis | Cluster;
  close(): Promise<void>;
}

function openOn(client: Redis | Cluster, close: () => Promise<unknown>, isLeased = false): Opened {
  const connection = connect({ redis: client, deadlineMs: 1000, logger: silentLogger, scripts });
  const store = new RedisDecisionStore({ connection, deadlineMs: 1000, clockToleranceMs: 5000 });
  const leases = new RedisLeaseSource(connection, store.giveBacks, () => true);
  const leased = isLeased ? new LeasedStore({ store, source: leases }) : undefined;
  return {
    ...{ store: leased ?? store, client },
    async close() {
      leased?.close();
      store.close();
      await store.giveBacks.close();
      await connection.close();
      await close();
    },
  };
}

const places: Readonly<Record<string, () => Promise<Opened>>> = {
  "one Redis": () => openRedis(false),
  "one Redis with leases": () => openRedis(true),
  async "a Cluster"() {
    const cluster = await startCluster({ masters: 3 });
    const client = new Cluster([...cluster.seeds]);
    await new Promise((resolve) => client.once("ready", resolve));
    return openOn(client, async () => {
      client.disconnect();
      await cluster.stop();
    });
  },
};

async function openRedis(isLeased: boolean): Promise<Opened> {
  const client = new Redis(testRedisUrl());
  await new Promise((resolve) => client.once("ready", resolve));
  return openOn(client, () => Promise.resolve(client.disconnect()), isLeased);
}

const plain = { limit: 10, windowSeconds: 600, cost: 1 } as const;
const sliding = { algorithm: "sliding-window", shadow: false, block: undefined } as const;
const slots = { algorithm: "concurrency", shadow: false, block: undefined } as const;

for (const [place, open] of Object.entries(places))
  describe(`a consumption that refuses unreadable values, on ${place},`, function () {
    this.timeout(60_000);
    let opened: Opened;
    let prefix: string;

    before(async () => {
      opened = await open();
    });
    after(() => opened.close());
    beforeEach(() => {
      prefix = freshPrefix();
    });

    async function ask(beforeToken: Consumption[], afterToken: Consumption[], refusesUnknown = false): Promise<Answer> {
      const token = { revokedKey: `${prefix}revoked`, cutoffKeys: [`${prefix}cutoff`], issuedAt: 100 };
      const answer = await opened.store.ask({ beforeToken, token, afterToken, refusesUnknown });
      if (answer instanceof StoreFault) throw answer;
      return answer;
    }

    /** Consumptions of one hash slot and of others, of each kind. */
    function others(): Consumption[] {
      return [
        { ...plain, key: `${prefix}{1}:window` },
        { ...plain, key: `${prefix}{1}:sliding`, mode: sliding },
        { ...plain, key: `${prefix}{2}:slots`, mode: slots, slot: "s" },
        { ...plain, key: `${prefix}{3}:leased`, leased: true },
      ];
    }

    async function counted(): Promise<number[]> {
      const { client } = opened;
      const held = await client.zcard(`${prefix}{2}:slots`);
      const parts = (await client.get(`${prefix}{1}:sliding`)) ?? "";
      const windows = [await client.get(`${prefix}{1}:window`), await client.get(`${prefix}{3}:leased`)];
      return [held, parts === "" ? 0 : 1, ...windows.map(Number)];
    }

    for (const mode of [undefined, sliding] as const)
      for (const [where, groups] of [
        ["before the token", (bad: Consumption) => [[...others(), bad], []]],
        ["after the token", (bad: Consumption) => [[], [bad, ...others()]]],
        ["after the token, with others before it", (bad: Consumption) => [others(), [bad]]],
        ["before the token, with others after it", (bad: Consumption) => [[bad], others()]],
      ] as readonly [string, (bad: Consumption) => [Consumption[], Consumption[]]][])
        it(`counts nothing else of its request (${mode?.algorithm ?? "plain"}, ${where})`, async () => {
          const bad: Consumption = { ...plain, key: `${prefix}{1}:bad`, mode, refusesUnreadable: true };
          await opened.client.set(bad.key, "x", "PX", 60_000);
          const [before, after] = groups(bad);
          const { beforeToken, afterToken } = await ask(before, after);
          const state = [...beforeToken, ...afterToken][[...before, ...after].indexOf(bad)];
          expect(state).to.be.instanceOf(StoreFault).and.include({ kind: "unreadable", reply: "WRONGTYPE" });
          await until(async () => (await counted()).every((count) => count === 0));

          // One that does not refuse them is left out alone, and a readable one counts as ever.
          await ask(...groups({ ...bad, refusesUnreadable: undefined }));
          expect(await counted()).to.deep.equal([1, 1, 1, 1]);
          await opened.client.del(bad.key);
          await ask(...groups(bad));
          expect((await counted()).slice(2)).to.deep.equal([2, 2]);
          expect(await opened.client.exists(bad.key)).to.equal(1);
        });

    it("changes nothing for a revocation that is unknown", async () => {
      const [first, strict] = [others(), { ...plain, key: `${prefix}{1}:strict`, refusesUnreadable: true } as const];
      await opened.client.set(`${prefix}cutoff`, "x", "PX", 60_000);
      const { revoked } = await ask(first, [strict], true);
      expect(revoked).to.be.instanceOf(StoreFault);
      await until(async () => Number(await opened.client.get(strict.key)) === 0);
      expect(await counted()).to.deep.equal([1, 1, 1, 1]);
      await ask(first, [strict], false);
      expect(await opened.client.get(strict.key)).to.equal("1");
    });
  });

describe("a consumption that refuses unreadable values, in process,", () => {
  it("is counted as any other", () => {
    const store = new MemoryDecisionStore();
    const one = { ...plain, key: "k", refusesUnreadable: true } as const;
    const question = { beforeToken: [one], token: undefined, afterToken: [] };
    expect([1, 2].map(() => (store.ask(question).beforeToken[0] as { consumed: number }).consumed)).to.deep.equal([
      1, 2,
    ]);
  });
});
