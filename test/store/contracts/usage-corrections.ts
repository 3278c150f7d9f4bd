import { expect } from "chai";
import fc from "fast-check";
import type {
  Algorithm,
  Answer,
  Consumption,
  Question,
  UsageCorrections,
  DecisionStore,
} from "../../../packages/core/src/store/ports/decisions.js";
import { exceeds } from "../../../packages/core/src/store/ports/decisions.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import type { Model } from "../../limits/support/algorithm-models.js";
import { models } from "../../limits/support/algorithm-models.js";
import { freshPrefix } from "../../support/redis.js";
import { tallyOf } from "./decision-store.js";
import { isSoak } from "../../support/soak.js";

type Store = DecisionStore & { readonly corrections: UsageCorrections };

const algorithms = Object.keys(models) as Algorithm[];
/** So long that the time a test takes does not matter. */
const windowSeconds = 86_400;

/** The contract of counting by every algorithm, whichever store counts. */
export function describeQuotaStore(name: string, open: () => Promise<Store> | Store): void {
  describe(`${name} keeps the contract of a quota store`, () => {
    let store: Store;
    let keys: Keyspace;
    let slots = 0;

    before(async () => {
      store = await open();
    });
    beforeEach(() => {
      keys = new Keyspace(freshPrefix(), "test");
    });

    const charge = (algorithm: Algorithm, partition: string, limit: number, cost = 1): Consumption => ({
      key: keys.quota("p", partition, algorithm, windowSeconds),
      ...{ limit, windowSeconds, cost, mode: { algorithm, shadow: false, block: undefined } },
      ...(algorithm === "concurrency" ? { slot: `slot${++slots}` } : {}),
    });
    const ask = async (question: Partial<Question>): Promise<Answer> => {
      const answer = await store.ask({ beforeToken: [], token: undefined, afterToken: [], ...question });
      if (answer instanceof StoreFault) throw answer;
      return answer;
    };
    const fits = async (asked: Consumption): Promise<boolean> =>
      !exceeds(asked, tallyOf((await ask({ beforeToken: [asked] })).beforeToken[0]));

    for (const algorithm of algorithms) {
      it(`admits exactly the limit of 200 requests at once (${algorithm})`, async () => {
        const asked = Array.from({ length: 200 }, async () => fits(charge(algorithm, "a", 50)));
        expect((await Promise.all(asked)).filter((admitted) => admitted)).to.have.length(50);
      });

      it(`counts the real cost, not less than zero (${algorithm})`, async () => {
        const first = charge(algorithm, "a", 1);
        const { receipt = -1 } = tallyOf((await ask({ beforeToken: [first] })).beforeToken[0]);
        store.corrections.adjust([{ consumption: first, receipt, by: -1 }]);
        store.corrections.adjust([{ consumption: first, receipt, by: -1 }]);
        expect([await fits(charge(algorithm, "a", 1)), await fits(charge(algorithm, "a", 1))]).to.deep.equal([
          true,
          false,
        ]);
      });
    }

    it("decides as the models do, all or nothing, wherever the counters are", async () => {
      const one = fc.record({
        of: fc.constantFrom(...algorithms),
        cost: fc.integer({ min: 0, max: 3 }),
        after: fc.boolean(),
      });
      const step = fc.oneof(
        { weight: 3, arbitrary: fc.uniqueArray(one, { maxLength: 4, selector: ({ of }) => of }) },
        { weight: 1, arbitrary: fc.record({ of: fc.nat(), by: fc.integer({ min: -3, max: 2 }) }) },
      );
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40, size: "max" }), async (steps) => {
          keys = new Keyspace(freshPrefix(), "test");
          const now = Date.now();
          const terms = { limit: 6, burst: 6, windowMs: windowSeconds * 1000 };
          const model = new Map<Algorithm, Model>(algorithms.map((of) => [of, models[of](terms)]));
          const counted: { charge: Consumption; receipt: number; correct: (by: number, now: number) => void }[] = [];
          for (const taken of steps) {
            if (!Array.isArray(taken)) {
              // Once for each, and no more than it took: what a bucket is given back twice depends on the time between.
              const [target] = counted.splice(taken.of % Math.max(1, counted.length), 1);
              if (target === undefined) continue;
              const by = target.charge.slot === undefined ? Math.max(taken.by, -target.charge.cost) : -1;
              if (by === 0) continue;
              store.corrections.adjust([{ consumption: target.charge, receipt: target.receipt, by }]);
              target.correct(by, now);
              continue;
            }
            const asked = taken.map(({ of, cost, after }) => {
              const charged = charge(of, `partition ${of}`, 6, of === "concurrency" ? 1 : cost);
              return { after, charge: charged, model: model.get(of)! };
            });
            const [first, last] = [asked.filter(({ after }) => !after), asked.filter(({ after }) => after)];
            const answer = await ask({
              beforeToken: first.map((part) => part.charge),
              afterToken: last.map((part) => part.charge),
            });
            const admits = asked.every((part) => part.model.fits(part.charge.cost, now));
            const tallies = [...answer.beforeToken, ...answer.afterToken];
            const parts = [...first, ...last];
            const refused = parts.some(
              ({ charge: part }, index) => tallies[index] !== undefined && exceeds(part, tallyOf(tallies[index])),
            );
            expect(refused).to.equal(!admits);
            parts.forEach((part, index) => {
              const receipt = tallies[index] === undefined ? undefined : tallyOf(tallies[index]).receipt;
              expect(receipt !== undefined, "counted").to.equal(admits);
              if (receipt === undefined) return;
              counted.push({ charge: part.charge, receipt, correct: part.model.count(part.charge.cost, now) });
            });
          }
        }),
        { numRuns: isSoak ? 50 : 25 },
      );
    });
  });
}
