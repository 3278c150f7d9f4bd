import { expect } from "chai";
import { Redis } from "ioredis";
import type {
  Algorithm,
  Consumption,
  CountingMode,
  CounterState,
} from "../../../packages/core/src/store/ports/decisions.js";
import { exceeds } from "../../../packages/core/src/store/ports/decisions.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import type { ClockedStore } from "../support/clocked-stores.js";
import { clockStart, openClockedMemory, openClockedRedis, ruledCharge } from "../support/clocked-stores.js";

for (const [where, open] of [
  ["in process", openClockedMemory],
  ["on Redis", openClockedRedis],
] as const) {
  describe(`the counting modes of policies, ${where}`, () => {
    let store: ClockedStore;
    let prefix: string;
    let now: number;

    let client: Redis;

    before(() => {
      client = new Redis(testRedisUrl());
    });
    after(() => client.disconnect());
    beforeEach(() => {
      [store, prefix, now] = [open(client), freshPrefix(), clockStart];
    });

    const key = (name: string): string => `${prefix}{1}:${name}`;
    const rule = (more: Partial<CountingMode>): CountingMode => ({
      ...{ algorithm: "fixed-window", shadow: false, block: undefined },
      ...more,
    });
    const ask = async (...charges: Consumption[]): Promise<CounterState[]> =>
      (await store.ask({ beforeToken: charges }, now)).beforeToken.map(tallyOf);
    const fits = async (charge: Consumption): Promise<boolean> => !exceeds(charge, (await ask(charge))[0]!);

    describe("a block", () => {
      const block = { after: 2, firstMs: 10_000, maxMs: 60_000 };
      const charge = (): Consumption =>
        ruledCharge({ key: key("a"), blockKey: key("block"), limit: 1, windowSeconds: 5, mode: rule({ block }) });

      it("begins after so many refusals within a window, and outlasts that", async () => {
        const blocked: (true | undefined)[] = [];
        for (let index = 0; index < 4; index += 1) blocked.push((await ask(charge()))[0]?.blocked);
        expect(blocked).to.deep.equal([undefined, undefined, true, true]);
        now += 9_999;
        expect((await ask(charge()))[0]).to.deep.include({ blocked: true, resetMs: 1 });
        now += 1;
        expect(await fits(charge())).to.equal(true);
      });

      it("forgets refusals of an earlier window", async () => {
        for (let round = 0; round < 3; round += 1) {
          expect(await fits(charge())).to.equal(true);
          expect((await ask(charge()))[0]?.blocked).to.equal(undefined);
          now += 5_000;
        }
      });

      it("is twice as long each time, up to the longest, until the client has kept quiet for that", async () => {
        const lengths: number[] = [];
        const provoke = async (): Promise<void> => {
          let tally: CounterState | undefined;
          while (tally?.blocked !== true) [tally] = await ask(charge());
          lengths.push(tally.resetMs);
          now += tally.resetMs;
        };
        for (let round = 0; round < 5; round += 1) await provoke();
        now += 60_000 + 5_000;
        await provoke();
        expect(lengths).to.deep.equal([10_000, 20_000, 40_000, 60_000, 60_000, 10_000]);
      });

      it("refuses a request whole: no other policy counts it", async () => {
        const other = ruledCharge({ key: key("other") });
        for (let index = 0; index < 3; index += 1) await ask(charge());
        const [, before] = await ask(charge(), other);
        expect(before?.consumed).to.equal(0);
        expect((await ask(other))[0]?.consumed).to.equal(1);
      });
    });

    describe("a policy in shadow", () => {
      const shadow = (): Consumption => ruledCharge({ key: key("s"), limit: 1, mode: rule({ shadow: true }) });

      it("is measured like any other, and refuses nothing", async () => {
        const enforced = ruledCharge({ key: key("e") });
        for (let index = 1; index <= 3; index += 1) {
          const [measured, counted] = await ask(shadow(), enforced);
          expect(measured?.consumed).to.equal(Math.min(index, 2));
          expect(counted?.consumed).to.equal(index);
        }
      });

      it("does not count requests that other policies refuse", async () => {
        const exhausted = ruledCharge({ key: key("e"), limit: 0 });
        await ask(shadow(), exhausted);
        expect((await ask(shadow()))[0]).to.deep.include({ consumed: 1 });
      });
    });

    describe("a token bucket whose limit is now 0", () => {
      const bucket = (more: Partial<Consumption>): Consumption =>
        ruledCharge({ key: key("t"), limit: 3, windowSeconds: 10, mode: rule({ algorithm: "token-bucket" }), ...more });

      it("tells a client that has tokens out to come back after a window, whatever the request costs", async () => {
        await ask(bucket({}));
        for (const cost of [0, 1, 4]) {
          const [state] = await ask(bucket({ limit: 0, cost }));
          expect(state).to.include({ resetMs: 10_000 });
          expect(exceeds(bucket({ limit: 0, cost }), state!)).to.equal(true);
        }
        expect((await ask(bucket({ key: key("new"), limit: 0, cost: 0 })))[0]).to.include({ consumed: 0, resetMs: 0 });
      });
    });

    describe("a slot", () => {
      const slot = (name: string): Consumption =>
        ruledCharge({
          key: key("c"),
          limit: 1,
          windowSeconds: 10,
          slot: name,
          mode: rule({ algorithm: "concurrency" }),
        });

      it("is held for as long as it is renewed, and no longer", async () => {
        const charge = slot("a");
        expect(await fits(charge)).to.equal(true);
        for (let round = 0; round < 4; round += 1) {
          now += 7_000;
          await store.adjust({ consumption: charge, receipt: 0, by: 1 }, now);
        }
        now += 9_999;
        expect(await fits(slot("b"))).to.equal(false);
        now += 1;
        expect(await fits(slot("b"))).to.equal(true);
      });

      it("that was given back or has expired is not held again by a late renewal", async () => {
        const [one, other] = [slot("a"), slot("b")];
        await ask(one);
        await store.adjust({ consumption: one, receipt: 0, by: -1 }, now);
        await store.adjust({ consumption: one, receipt: 0, by: 1 }, now);
        expect(await fits(other)).to.equal(true);
        now += 10_000;
        await store.adjust({ consumption: other, receipt: 0, by: 1 }, now);
        expect(await fits(slot("c"))).to.equal(true);
      });

      it("that was given back is not taken from another", async () => {
        await ask(slot("a"));
        await store.adjust({ consumption: slot("a"), receipt: 0, by: -1 }, now);
        expect(await fits(slot("b"))).to.equal(true);
        await store.adjust({ consumption: slot("a"), receipt: 0, by: -1 }, now);
        expect(await fits(slot("c"))).to.equal(false);
      });
    });

    describe("policies of different algorithms together", () => {
      it("count all or nothing", async () => {
        const slot = { algorithm: "concurrency" } as const;
        const charges = (index: number): Consumption[] => [
          ruledCharge({ key: key("w"), limit: 9 }),
          ruledCharge({ key: key("s"), limit: 9, mode: rule({ algorithm: "sliding-window" }) }),
          ruledCharge({ key: key("b"), limit: 60, burst: 2, mode: rule({ algorithm: "token-bucket" }) }),
          ruledCharge({ key: key("c"), limit: 9, slot: `s${index}`, mode: rule(slot) }),
        ];
        for (let index = 0; index < 5; index += 1) await ask(...charges(index));
        now += 1_000;
        const tallies = await ask(...charges(5));
        expect(tallies.map(({ consumed }) => consumed)).to.deep.equal([3, 3, 2, 3]);
        expect(tallies.map(({ receipt }) => receipt === undefined)).to.deep.equal([false, false, false, false]);
      });
    });

    describe("a late charge or give-back", () => {
      const algorithms: Exclude<Algorithm, "concurrency">[] = ["fixed-window", "sliding-window", "token-bucket"];
      for (const algorithm of algorithms) {
        it(`never makes a counter negative (${algorithm})`, async () => {
          const charge = ruledCharge({ key: key("a"), limit: 3, cost: 2, mode: rule({ algorithm }) });
          const receipt = (await ask(charge))[0]?.receipt ?? -1;
          for (let index = 0; index < 3; index += 1) await store.adjust({ consumption: charge, receipt, by: -2 }, now);
          const seen = [await fits({ ...charge, cost: 3 }), await fits({ ...charge, cost: 1 })];
          expect(seen).to.deep.equal([true, false]);
        });

        it(`stays out of the next window (${algorithm})`, async () => {
          const charge = ruledCharge({
            key: key("a"),
            limit: 3,
            cost: 3,
            windowSeconds: 10,
            mode: rule({ algorithm }),
          });
          const receipt = (await ask(charge))[0]?.receipt ?? -1;
          now += 11_000;
          expect(await fits(charge)).to.equal(true);
          await store.adjust({ consumption: charge, receipt, by: -3 }, now);
          expect(await fits({ ...charge, cost: 1 })).to.equal(false);
        });

        it(`may exceed the rest of the limit; later requests then wait for it (${algorithm})`, async () => {
          const charge = ruledCharge({ key: key("a"), limit: 5, mode: rule({ algorithm }) });
          const receipt = (await ask(charge))[0]?.receipt ?? -1;
          await store.adjust({ consumption: charge, receipt, by: 9 }, now);
          expect(await fits(charge)).to.equal(false);
        });
      }

      it("is charged where nothing was reserved, within the window that the request began", async () => {
        const charge = ruledCharge({ key: key("a"), limit: 5, cost: 0, windowSeconds: 10 });
        const receipt = (await ask(charge))[0]?.receipt ?? -1;
        now += 4_000;
        await ask({ ...charge, cost: 1 });
        await store.adjust({ consumption: charge, receipt, by: 3 }, now);
        expect((await ask(charge))[0]).to.deep.include({ consumed: 4, resetMs: 6_000 });
      });
    });
  });
}

function tallyOf(part: CounterState | StoreFault): CounterState {
  if (part instanceof StoreFault) throw part;
  return part;
}
