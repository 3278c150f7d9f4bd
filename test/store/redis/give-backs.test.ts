import { startRedis } from "@portcullis/testkit";
import { expect } from "chai";
import fc from "fast-check";
import { LRUCache } from "lru-cache";
import type { Algorithm, Consumption, UsageCorrections } from "../../../packages/core/src/store/ports/decisions.js";
import { AdjustmentQueue } from "../../../packages/core/src/store/redis/usage-corrections.js";
import { decideBatch } from "../../../packages/core/src/store/redis/decide-batch.js";
import { decideAcrossSlots } from "../../../packages/core/src/store/redis/cluster.js";
import { RedisLeaseSource } from "../../../packages/core/src/store/redis/leases.js";
import { adjustScript } from "../../../packages/core/src/store/redis/scripts/adjust.js";
import { runScript } from "../../../packages/core/src/store/redis/run-script.js";
import { cleanUp } from "../../support/clean-up.js";
import { operate } from "../../support/redis.js";
import { isSoak } from "../../support/soak.js";
import { until } from "../../support/until.js";
import { ruledCharge } from "../../limits/support/clocked-stores.js";
import type { Fate } from "../support/flaky-connection.js";
import type { OpenedGiveBacks } from "../support/give-backs.js";
import { setUpGiveBacks } from "../support/give-backs.js";

interface Opened extends OpenedGiveBacks {
  readonly quotas: UsageCorrections;
}

const windowSeconds = 86_400;

describe("a give-back to Redis", function () {
  this.timeout(60_000);
  const rig = setUpGiveBacks();

  function open(isCluster = false): Opened {
    const opening = rig.open({ isCluster });
    return Object.assign(opening, { quotas: new AdjustmentQueue(opening.giveBacks) });
  }

  const charge = (algorithm: Algorithm, more: Partial<Consumption> = {}): Consumption =>
    ruledCharge({
      ...{ key: rig.keys.quota("p", "a", algorithm, windowSeconds), limit: 1000, windowSeconds },
      mode: { algorithm, shadow: false, block: undefined },
      ...more,
    });
  async function count(one: Consumption): Promise<number> {
    const { answers } = await decideBatch(rig.client, [{ beforeToken: [one], token: undefined, afterToken: [] }]);
    const tally = answers[0]?.beforeToken[0];
    return tally !== undefined && "receipt" in tally ? (tally.receipt ?? -1) : -1;
  }
  async function consumed(algorithm: Algorithm): Promise<number> {
    const asked = charge(algorithm, { cost: 0, slot: algorithm === "concurrency" ? "asked" : undefined });
    const { answers } = await decideBatch(rig.client, [{ beforeToken: [asked], token: undefined, afterToken: [] }]);
    const tally = answers[0]?.beforeToken[0];
    return tally !== undefined && "consumed" in tally ? tally.consumed : -1;
  }
  it("takes effect once, with any lost requests and replies, and no key is without a TTL", async () => {
    const algorithms = ["fixed-window", "sliding-window", "token-bucket", "concurrency"] as const;
    const fate = fc.constantFrom<Fate>("pass", "lose request", "lose reply");
    const step = fc.record({
      algorithm: fc.constantFrom(...algorithms),
      cost: fc.integer({ min: 0, max: 4 }),
      by: fc.option(fc.integer({ min: -4, max: 3 }), { nil: undefined }),
      fates: fc.array(fate, { maxLength: 3 }),
      waits: fc.boolean(),
      reconnects: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 25 }), fc.boolean(), async (steps, isCluster) => {
        rig.renewPrefix();
        const opening = open(isCluster);
        const model = new Map<Algorithm, number>(algorithms.map((algorithm) => [algorithm, 0]));
        let slots = 0;
        for (const { algorithm, cost, by, fates, waits, reconnects } of steps) {
          const isSlot = algorithm === "concurrency";
          const one = charge(algorithm, isSlot ? { slot: `s${(slots += 1)}` } : { cost });
          const receipt = await count(one);
          const change = by === undefined ? 0 : isSlot ? -1 : Math.max(by, -cost);
          model.set(algorithm, (model.get(algorithm) ?? 0) + one.cost + change);
          opening.flaky.fates.push(...fates);
          opening.quotas.adjust([{ consumption: one, receipt, by: change }]);
          if (waits) await new Promise((resolve) => setImmediate(resolve));
          if (reconnects) opening.flaky.reconnect();
        }
        await opening.settled();
        for (const [algorithm, sum] of model) expect(await consumed(algorithm), algorithm).to.equal(sum);
        await rig.expectEveryKeyEnds();
        expect(opening.lost()).to.equal(0);
      }),
      { numRuns: isSoak ? 300 : 25 },
    );
  });

  it("has no effect when a call is repeated that was answered long ago", async () => {
    const opening = open();
    const one = charge("fixed-window", { cost: 5 });
    const receipt = await count(one);
    opening.quotas.adjust([{ consumption: one, receipt, by: -1 }]);
    await opening.settled();
    const [stray] = opening.flaky.sent;
    for (let round = 0; round < 3; round += 1) {
      opening.quotas.adjust([{ consumption: one, receipt, by: -1 }]);
      await opening.settled();
      await rig.client.call(String(stray?.[0]), ...(stray ?? []).slice(1));
    }
    expect(await consumed("fixed-window")).to.equal(1);
  });

  it("is repeated on a new connection whose server has lost it, each one once, although replies are lost again", async () => {
    const opening = open();
    const [slot, refund] = [charge("concurrency", { slot: "s" }), charge("fixed-window", { cost: 9 })];
    await count(slot);
    const receipt = await count(refund);
    const [slots, counter] = [await rig.client.dumpBuffer(slot.key), await rig.client.dumpBuffer(refund.key)];
    for (const by of [-1, -2, -3]) {
      opening.quotas.adjust([
        { consumption: slot, receipt: 0, by: -1 },
        { consumption: refund, receipt, by },
      ]);
      await opening.settled();
    }
    expect([await consumed("concurrency"), await consumed("fixed-window")]).to.deep.equal([0, 3]);
    await rig.client.del(...(await rig.client.keys(`${rig.prefix}*give-backs*`)));
    await rig.client.restore(slot.key, windowSeconds * 1000, slots, "REPLACE");
    await rig.client.restore(refund.key, receipt, counter, "REPLACE", "ABSTTL");
    opening.flaky.fates = ["pass", "lose reply", "lose request", "lose reply"];
    opening.flaky.reconnect();
    await until(() => opening.giveBacks.held === 0);
    expect([await consumed("concurrency"), await consumed("fixed-window")]).to.deep.equal([0, 3]);
  });

  it("is repeated on a new connection in bounds: the last thousand", async () => {
    const opening = open();
    const slots = Array.from({ length: 3000 }, (_, index) => charge("concurrency", { slot: `s${index}` }));
    opening.quotas.adjust(slots.map((one) => ({ consumption: one, receipt: 0, by: -1 })));
    await opening.settled();
    opening.flaky.reconnect();
    expect(opening.giveBacks.held).to.be.within(700, 1000);
    await opening.settled();
  });

  it("uses memory that does not grow with the number of give-backs", async () => {
    const opening = open();
    const one = charge("fixed-window", { cost: 500 });
    const receipt = await count(one);
    for (let round = 0; round < 300; round += 1) {
      if (round % 3 === 0) opening.flaky.fates.push("lose reply");
      opening.quotas.adjust([{ consumption: one, receipt, by: -1 }]);
      if (round % 10 === 0) await opening.settled();
    }
    await opening.settled();
    expect(await consumed("fixed-window")).to.equal(200);
    const [memory = ""] = await rig.client.keys(`${rig.prefix}*give-backs*`);
    // What is open when the last call goes out, that call, and the mark.
    expect(await rig.client.zcard(memory)).to.be.at.most(13);
    expect(await rig.client.pttl(memory)).to.be.within(1, windowSeconds * 1000 + 5000);
    await opening.giveBacks.close();
    expect(await rig.client.pttl(memory), "after closing").to.be.within(1, 60_000);
  });

  it("does not go into the window after its own, and is not repeated when that has ended", async () => {
    const opening = open();
    const one = charge("fixed-window", { windowSeconds: 1, cost: 3 });
    const receipt = await count(one);
    opening.flaky.up = false;
    opening.quotas.adjust([{ consumption: one, receipt, by: -3 }]);
    await until(async () => (await rig.client.exists(one.key)) === 0);
    await count({ ...one, windowSeconds });
    opening.flaky.up = true;
    await opening.settled();
    expect(await rig.client.get(one.key)).to.equal("3");
  });

  it("waits in bounds: ten thousand, and the rest is counted and said once", async () => {
    const opening = open();
    opening.flaky.up = false;
    const slots = Array.from({ length: 10_050 }, (_, index) => charge("concurrency", { slot: `s${index}` }));
    await rig.client.zadd(slots[0]!.key, ...slots.flatMap(({ slot = "" }) => [Date.now() + 60_000, slot]));
    opening.quotas.adjust(slots.map((one) => ({ consumption: one, receipt: 0, by: -1 })));
    expect([opening.giveBacks.held, opening.lost()]).to.deep.equal([10_000, 50]);
    expect(opening.said).to.deep.equal(["portcullis: too many give-backs wait for Redis; further ones are lost"]);
    await new Promise((resolve) => setImmediate(resolve));
    opening.flaky.up = true;
    await opening.settled();
    expect(await rig.client.zcard(slots[0]!.key)).to.equal(50);
    expect(opening.flaky.sent.length, "calls").to.be.below(100);
    await rig.client.del(slots[0]!.key);
  });

  it("comes back by itself, without a new connection and without a request", async () => {
    const opening = open();
    const one = charge("concurrency", { slot: "s" });
    await count(one);
    opening.flaky.fates = ["lose request", "lose request", "lose request"];
    opening.quotas.adjust([{ consumption: one, receipt: 0, by: -1 }]);
    await until(async () => (await rig.client.exists(one.key)) === 0);
    await until(() => opening.giveBacks.held === 0);
  });

  it("stays here while an operator keeps calls away from Redis", async () => {
    const opening = open();
    const one = charge("concurrency", { slot: "s" });
    await count(one);
    opening.isHeld = true;
    opening.flaky.fates = ["lose request"];
    opening.quotas.adjust([{ consumption: one, receipt: 0, by: -1 }]);
    await new Promise((resolve) => setImmediate(resolve));
    for (let round = 0; round < 3; round += 1) opening.flaky.reconnect();
    expect([opening.flaky.sent.length, opening.giveBacks.held]).to.deep.equal([1, 1]);
    opening.isHeld = false;
    await opening.settled();
    expect(await rig.client.exists(one.key)).to.equal(0);
  });

  for (const fate of ["answer an error", "answer nothing"] as const) {
    it(`is repeated until an answer says that it ran, and no other in its place (${fate})`, async () => {
      const opening = open();
      const [slot, refund] = [charge("concurrency", { slot: "s" }), charge("fixed-window", { cost: 5 })];
      await count(slot);
      const receipt = await count(refund);
      opening.flaky.fates = Array.from({ length: 5 }, () => fate);
      opening.quotas.adjust([
        { consumption: slot, receipt: 0, by: -1 },
        { consumption: refund, receipt, by: -4 },
      ]);
      await opening.settled();
      expect(await consumed("concurrency")).to.equal(0);
      expect(await consumed("fixed-window")).to.equal(1);
    });
  }

  it("is not held up by a counter that Redis cannot count with, nor by one from which nothing is left to give back", async () => {
    const opening = open();
    const [odd, empty, good] = ["odd", "empty", "good"].map((name) =>
      charge("fixed-window", { key: rig.keys.quota("p", name), cost: name === "good" ? 2 : 1 }),
    ) as [Consumption, Consumption, Consumption];
    const receipts = [await count(odd), await count(empty), await count(good)];
    await rig.client.set(odd.key, "0.5", "KEEPTTL");
    opening.quotas.adjust([
      { consumption: odd, receipt: receipts[0]!, by: -1 },
      { consumption: empty, receipt: receipts[1]!, by: -1 },
      { consumption: empty, receipt: receipts[1]!, by: -1 },
      { consumption: good, receipt: receipts[2]!, by: -1 },
    ]);
    await opening.settled();
    expect([
      await rig.client.get(odd.key),
      await rig.client.get(empty.key),
      await rig.client.get(good.key),
    ]).to.deep.equal([...["0.5", "0", "1"]]);
  });

  it("is not held up by a counter that is poisoned", async () => {
    const opening = open();
    const [bad, good] = [charge("sliding-window"), charge("fixed-window", { cost: 2 })];
    await rig.client.rpush(bad.key, "x");
    await rig.client.expire(bad.key, 60);
    const receipt = await count(good);
    opening.quotas.adjust([
      { consumption: bad, receipt: 1, by: -1 },
      { consumption: charge("concurrency", { key: bad.key, slot: "s" }), receipt: 0, by: -1 },
      { consumption: good, receipt, by: -1 },
    ]);
    await opening.settled();
    expect(await consumed("fixed-window")).to.equal(1);
    expect(opening.flaky.sent).to.have.length(2);
  });

  it("reports that the server took no writes also for calls without a number", async () => {
    const server = await startRedis();
    cleanUp(() => server.stop());
    const redis = operate(server.url);
    const run = (key: string) =>
      runScript(redis, adjustScript, ["memory", key], ["0", "0", "1000", "0", "slots", "1", "60000", "-1", "a slot"]);
    await redis.zadd("slots", Date.now() + 60_000, "a slot");
    await redis.set("poison", "a slot");
    expect(await run("poison")).to.match(/^WRONGTYPE /);
    await redis.config("SET", "min-replicas-to-write", "1");
    expect(await run("slots")).to.match(/^NOREPLICAS /);
    await redis.config("SET", "min-replicas-to-write", "0");
    expect(await run("slots")).to.equal("OK");
    expect(await redis.exists("slots")).to.equal(0);
  });

  it("takes a slot back again that was taken after it was given back", async () => {
    const opening = open();
    const one = charge("concurrency", { slot: "s" });
    // Its taking was not answered, and is overtaken.
    opening.quotas.adjust([{ consumption: one, receipt: -1, by: -1 }]);
    await opening.settled();
    await count(one);
    await until(async () => (await rig.client.exists(one.key)) === 0);
  });

  describe("in a Cluster, where a request is refused by another slot", () => {
    const ip = (limit: number): Consumption => ({
      ...{ key: `${rig.prefix}{1}:ip`, limit, windowSeconds: 60, cost: 1 },
    });
    const plain = (): Consumption => ({ key: `${rig.prefix}{2}:user`, limit: 9, windowSeconds: 60, cost: 1 });
    const slot = (): Consumption => charge("concurrency", { key: `${rig.prefix}{2}:slots`, slot: "s" });

    /** A request with two charges that the first of them refuses, while this becomes of the call for the second. */
    async function refused(second: Consumption, fate: Fate, later: readonly Fate[] = []): Promise<Opened> {
      const opening = open(true);
      const { client: flaky } = opening.flaky.connection;
      const terms = { partMs: 100, quotas: opening.quotas, revokedKeys: new LRUCache<string, true>({ max: 9 }) };
      await decideAcrossSlots(flaky, [{ beforeToken: [ip(99)], token: undefined, afterToken: [] }], terms);
      opening.flaky.fates = ["pass", fate, ...later];
      const { answers } = await decideAcrossSlots(
        flaky,
        [{ beforeToken: [ip(0)], token: undefined, afterToken: [second] }],
        terms,
      );
      expect(answers[0]?.beforeToken[0]).to.include({ consumed: 2 });
      return opening;
    }

    it("refunds a counted consumption once, although the reply to the refund is lost", async () => {
      await (await refused(plain(), "pass", ["lose reply", "lose request"])).settled();
      expect(await rig.client.get(plain().key)).to.equal("0");
    });

    it("refunds a consumption only when the reply to its request has shown that it was counted", async () => {
      const opening = await refused(plain(), "delay reply");
      expect(await rig.client.get(plain().key)).to.equal("1");
      opening.flaky.arrive();
      await until(async () => (await rig.client.get(plain().key)) === "0");
      await opening.settled();
      expect(await rig.client.get(plain().key)).to.equal("0");
    });

    for (const fate of ["delay reply", "lose reply"] as const)
      it(`gives a slot back whose taking was not answered (${fate})`, async () => {
        const opening = await refused(slot(), fate);
        await opening.settled();
        expect(await rig.client.exists(slot().key)).to.equal(0);
        opening.flaky.arrive();
      });
  });

  it("is the rest of a lease, once, although the request or the reply is lost", async () => {
    for (const fates of [["lose request"], ["lose reply"], ["lose reply", "lose reply", "lose request"]] as Fate[][]) {
      const opening = open();
      rig.renewPrefix();
      const one = charge("fixed-window", { cost: 20 });
      const windowEnd = await count(one);
      opening.flaky.fates = [...fates];
      const source = new RedisLeaseSource(opening.flaky.connection, opening.giveBacks, () => true);
      const request = { key: one.key, limit: 1000, take: 0, windowEnd, windowMs: windowSeconds * 1000 };
      const grants = await source.exchange([{ ...request, giveBack: 6 }]);
      expect(grants).to.deep.equal([{ granted: 0, consumed: 0, resetMs: 0, windowEnd: 0 }]);
      await opening.settled();
      expect(await consumed("fixed-window"), fates.join()).to.equal(14);
    }
  });

  it("is a slot that ends sooner, and never later, where its process ends", async () => {
    const opening = open();
    const [long, short, gone] = ["long", "short", "gone"].map((slot) => charge("concurrency", { slot }));
    await count(long!);
    await rig.client.zadd(long!.key, Date.now() + 1000, "short");
    for (const one of [long!, short!, gone!]) opening.quotas.expire(one, 30_000);
    await opening.settled();
    const ends = async (slot: string): Promise<number> => Number(await rig.client.zscore(long!.key, slot)) - Date.now();
    expect(await ends("long")).to.be.within(1, 30_000);
    expect(await ends("short")).to.be.below(1001);
    expect(await rig.client.zscore(long!.key, "gone")).to.equal(null);
    await rig.expectEveryKeyEnds();
  });

  it("goes out with the last words of a gate whose connection is made anew just then", async () => {
    const opening = open();
    const one = charge("concurrency", { slot: "s" });
    await count(one);
    opening.flaky.up = false;
    opening.quotas.adjust([{ consumption: one, receipt: 0, by: -1 }]);
    const closed = opening.giveBacks.close();
    opening.flaky.up = true;
    opening.flaky.reconnect();
    await closed;
    expect(await rig.client.exists(one.key)).to.equal(0);
  });

  it("is tried once more when the gate is closed, and keeps nobody waiting", async () => {
    const opening = open();
    const one = charge("concurrency", { slot: "s" });
    await count(one);
    opening.flaky.fates = ["lose request"];
    opening.quotas.adjust([{ consumption: one, receipt: 0, by: -1 }]);
    await new Promise((resolve) => setImmediate(resolve));
    await opening.giveBacks.close();
    expect(await rig.client.exists(one.key)).to.equal(0);

    const silent = open();
    silent.flaky.connection.client.call = () => new Promise(() => undefined);
    silent.quotas.adjust([{ consumption: one, receipt: 0, by: -1 }]);
    const since = performance.now();
    await silent.giveBacks.close();
    expect(performance.now() - since).to.be.below(3000);
    silent.quotas.adjust([{ consumption: one, receipt: 0, by: -1 }]);
    expect(silent.giveBacks.held).to.equal(0);
  });
});
