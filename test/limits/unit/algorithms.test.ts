import { expect } from "chai";
import fc from "fast-check";
import { Redis } from "ioredis";
import type { Adjustment, Algorithm, Consumption } from "../../../packages/core/src/store/ports/decisions.js";
import { exceeds } from "../../../packages/core/src/store/ports/decisions.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { models } from "../support/algorithm-models.js";
import type { ClockedStore } from "../support/clocked-stores.js";
import { clockStart, openClockedMemory, openClockedRedis } from "../support/clocked-stores.js";
import { isSoak } from "../../support/soak.js";

const operation = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("ask" as const),
      wait: fc.oneof(fc.constant(0), fc.nat({ max: 400 }), fc.nat({ max: 4000 })),
      cost: fc.constantFrom(0, 1, 1, 1, 2, 5),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("adjust" as const),
      wait: fc.oneof(fc.constant(0), fc.nat({ max: 3000 })),
      of: fc.nat(),
      by: fc.constantFrom(-3, -1, -1, 1, 4),
    }),
  },
);

const run = fc.record({
  limit: fc.constantFrom(0, 1, 2, 3, 7, 10),
  burst: fc.constantFrom(1, 2, 7, 12),
  windowSeconds: fc.constantFrom(1, 2, 7),
  operations: fc.array(operation, { minLength: 1, maxLength: 40 }),
});

type Run = typeof run extends fc.Arbitrary<infer T> ? T : never;

async function compare(algorithm: Algorithm, store: ClockedStore, { operations, ...terms }: Run): Promise<void> {
  const { limit, burst, windowSeconds } = terms;
  const model = models[algorithm]({ limit, burst, windowMs: windowSeconds * 1000 });
  const rule = { algorithm, shadow: false, block: undefined };
  const counted: { adjustment: Omit<Adjustment, "by">; correct: (by: number, now: number) => void }[] = [];
  const key = `${freshPrefix()}{1}`;
  const isSlot = algorithm === "concurrency";
  let now = clockStart;
  for (const [index, one] of operations.entries()) {
    now += one.wait;
    if (one.kind === "adjust") {
      const target = counted[one.of % Math.max(1, counted.length)];
      if (target === undefined) continue;
      const by = isSlot ? -1 : one.by;
      await store.adjust({ ...target.adjustment, by }, now);
      target.correct(by, now);
      continue;
    }
    const cost = isSlot ? 1 : one.cost;
    const charge: Consumption = {
      ...{ key, limit, windowSeconds, cost, mode: rule },
      ...(isSlot ? { slot: `s${index}` } : {}),
      ...(algorithm === "token-bucket" ? { burst } : {}),
    };
    const {
      beforeToken: [tally],
    } = await store.ask({ beforeToken: [charge] }, now);
    if (tally === undefined || tally instanceof StoreFault) throw new Error(`no tally: ${String(tally)}`);
    const fits = model.fits(cost, now);
    expect(!exceeds(charge, tally), `operation ${index}`).to.equal(fits);
    expect(tally.receipt !== undefined).to.equal(fits);
    expect(tally.resetMs).to.satisfy((ms: number) => Number.isInteger(ms) && ms >= 0);
    // What is refused fits when it is told to come back, and not a moment earlier, unless it never fits.
    if (!fits && !isSlot && cost <= Math.min(limit, algorithm === "token-bucket" ? burst : limit)) {
      expect(model.fits(cost, now + tally.resetMs), "after the reset").to.equal(true);
      if (algorithm !== "token-bucket") expect(model.fits(cost, now + tally.resetMs - 1), "before it").to.equal(false);
    }
    if (tally.receipt === undefined) continue;
    counted.push({ adjustment: { consumption: charge, receipt: tally.receipt }, correct: model.count(cost, now) });
  }
}

describe("each algorithm agrees with its ten-line model, decision by decision", () => {
  let client: Redis;

  before(() => {
    client = new Redis(testRedisUrl());
  });
  after(() => client.disconnect());

  for (const algorithm of Object.keys(models) as Algorithm[]) {
    it(`${algorithm} in process`, () =>
      fc.assert(
        fc.asyncProperty(run, (one) => compare(algorithm, openClockedMemory(), one)),
        { numRuns: 200 },
      ));

    it(`${algorithm} on Redis`, async () => {
      const store = openClockedRedis(client);
      await fc.assert(
        fc.asyncProperty(run, (one) => compare(algorithm, store, one)),
        { numRuns: isSoak ? 100 : 40 },
      );
    });
  }
});
