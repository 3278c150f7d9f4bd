import { expect } from "chai";
import fc from "fast-check";
import { CounterTable } from "../../../packages/core/src/store/memory/counters.js";
import type { Consumption, CounterState } from "../../../packages/core/src/store/ports/decisions.js";

function charge(key: string, more: Partial<Consumption> = {}): Consumption {
  return { key, limit: 5, windowSeconds: 60, cost: 1, ...more };
}

function openTable(capacity: number, random?: () => number) {
  const clock = { ms: 1_000_000 };
  const table = new CounterTable({ now: () => clock.ms, capacity, ...(random === undefined ? {} : { random }) });
  /** What a store does: count it if it fits. */
  function admit(one: Consumption): boolean {
    if (table.peek(one).consumed > one.limit) return false;
    table.count(one);
    return true;
  }
  return { table, clock, admit };
}

/** A generator of its own, so that a failure can be run again. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe("a counter", () => {
  it("admits requests up to its limit and then none, until its window ends", () => {
    const { clock, admit } = openTable(10);
    expect(Array.from({ length: 8 }, () => admit(charge("a")))).to.deep.equal([
      true,
      true,
      true,
      true,
      true,
      false,
      false,
      false,
    ]);
    clock.ms += 59_999;
    expect(admit(charge("a"))).to.be.false;
    clock.ms += 1;
    expect(admit(charge("a"))).to.be.true;
  });

  it("says when its window ends, and counting more does not put that off", () => {
    const { table, clock } = openTable(10);
    table.count(charge("a"));
    clock.ms += 20_000;
    table.count(charge("a"));
    expect(table.peek(charge("a"))).to.deep.equal({ consumed: 3, resetMs: 40_000 });
  });

  it("is not made by looking at it, nor by a cost of nothing", () => {
    const { table } = openTable(10);
    expect(table.peek(charge("a"))).to.deep.equal({ consumed: 1, resetMs: 60_000 });
    table.count(charge("a", { cost: 0 }));
    expect(table.size).to.equal(0);
    expect(table.peek(charge("a", { cost: 0 }))).to.deep.equal({ consumed: 0, resetMs: 60_000 });
  });

  it("counts exactly up to a trillion", () => {
    const { table } = openTable(10);
    table.count(charge("a", { cost: 1e12 }));
    table.count(charge("a", { cost: 1 }));
    expect(table.peek(charge("a", { cost: 0 })).consumed).to.equal(1_000_000_000_001);
  });

  it("of a hostile name is a counter like others", () => {
    const { admit } = openTable(10);
    for (const key of ["__proto__", "constructor", "toString", "", "a", "\ud800"]) {
      expect(Array.from({ length: 3 }, () => admit(charge(key, { limit: 2 })))).to.deep.equal([true, true, false]);
    }
  });
});

/** What counters are, in ten lines. */
class Model {
  readonly #windows = new Map<string, { consumed: number; end: number }>();

  peek({ key, cost, windowSeconds }: Consumption, now: number): CounterState {
    const window = this.#windows.get(key);
    if (window === undefined || window.end <= now) return { consumed: cost, resetMs: windowSeconds * 1000 };
    return { consumed: window.consumed + cost, resetMs: window.end - now };
  }

  count(one: Consumption, now: number): void {
    const { consumed, resetMs } = this.peek(one, now);
    if (one.cost > 0) this.#windows.set(one.key, { consumed, end: now + resetMs });
  }
}

const operation = fc.record({
  wait: fc.oneof(fc.constant(0), fc.nat({ max: 30_000 })),
  key: fc.constantFrom("a", "b", "c", "d", "e", "f", "__proto__"),
  cost: fc.constantFrom(0, 1, 1, 2, 7),
  limit: fc.constantFrom(0, 1, 3, 10),
  windowSeconds: fc.constantFrom(1, 10, 60),
  counts: fc.boolean(),
});

describe("a table of counters below its capacity", () => {
  it("agrees with its model, call by call", () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 100 }), (operations) => {
        const { table, clock } = openTable(7);
        const model = new Model();
        for (const { wait, counts, ...one } of operations) {
          clock.ms += wait;
          expect(table.peek(one)).to.deep.equal(model.peek(one, clock.ms));
          if (!counts) continue;
          table.count(one);
          model.count(one, clock.ms);
          expect(table.peek(one)).to.deep.equal(model.peek(one, clock.ms));
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("a table of counters at its capacity", () => {
  it("never has more counters than that, whatever comes", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 20 }),
        fc.array(
          operation.chain((one) => fc.nat({ max: 200 }).map((index) => ({ ...one, key: `k${index}` }))),
          { maxLength: 300 },
        ),
        fc.integer(),
        (capacity, operations, seed) => {
          const { table, clock } = openTable(capacity, seeded(seed));
          for (const { wait, ...one } of operations) {
            clock.ms += wait;
            table.count(one);
            expect(table.size).to.be.at.most(capacity);
          }
        },
      ),
    );
  });

  it("never forgets a counter that refuses, as long as its window lasts", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 30 }),
        fc.array(
          fc.record({ key: fc.nat({ max: 100 }), limit: fc.constantFrom(1, 2, 3), wait: fc.nat({ max: 2000 }) }),
          { minLength: 50, maxLength: 400 },
        ),
        fc.integer(),
        (capacity, operations, seed) => {
          const { table, clock, admit } = openTable(capacity, seeded(seed));
          const refusing = new Map<string, number>();
          for (const { key, limit, wait } of operations) {
            clock.ms += wait;
            const one = charge(`k${key}:${limit}`, { limit });
            const until = refusing.get(one.key) ?? 0;
            const admitted = admit(one);
            if (clock.ms < until) expect(admitted, one.key).to.be.false;
            const { consumed, resetMs } = table.peek({ ...one, cost: 0 });
            if (consumed >= limit && clock.ms >= until) refusing.set(one.key, clock.ms + resetMs);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it("frees no client over the limit by a flood of a million new ones", () => {
    const { table, admit } = openTable(1000, seeded(1));
    for (let client = 0; client < 100; client += 1) while (admit(charge(`blocked-${client}`)));
    for (let index = 0; index < 1_000_000; index += 1) admit(charge(`flood-${index}`));
    for (let client = 0; client < 100; client += 1) expect(admit(charge(`blocked-${client}`))).to.be.false;
    expect(table.size).to.equal(1000);
  });

  it("shuts out no newcomer: a flood does not make others refuse", () => {
    const { admit } = openTable(100, seeded(2));
    for (let index = 0; index < 10_000; index += 1) admit(charge(`flood-${index}`));
    for (let client = 0; client < 1000; client += 1) expect(admit(charge(`new-${client}`))).to.be.true;
  });

  it("keeps those that count much rather than those that count little", () => {
    const { table, admit } = openTable(100, seeded(3));
    for (let client = 0; client < 20; client += 1)
      for (let round = 0; round < 4; round += 1) admit(charge(`busy-${client}`));
    for (let index = 0; index < 5000; index += 1) admit(charge(`flood-${index}`));
    let kept = 0;
    for (let client = 0; client < 20; client += 1)
      if (table.peek(charge(`busy-${client}`, { cost: 0 })).consumed === 4) kept += 1;
    expect(kept).to.be.at.least(18);
  });

  it("full of refusing ones, counts a newcomer by its own request alone", () => {
    const { table, admit } = openTable(50, seeded(4));
    for (let client = 0; client < 50; client += 1) while (admit(charge(`blocked-${client}`)));
    for (let round = 0; round < 20; round += 1) expect(admit(charge("new"))).to.be.true;
    expect(admit(charge("greedy", { cost: 6 }))).to.be.false;
    expect(table.size).to.equal(50);
    for (let client = 0; client < 50; client += 1) expect(admit(charge(`blocked-${client}`))).to.be.false;
  });

  it("makes room of ended windows first", () => {
    const { table, clock, admit } = openTable(50, seeded(5));
    for (let client = 0; client < 50; client += 1) while (admit(charge(`old-${client}`)));
    clock.ms += 60_000;
    for (let client = 0; client < 50; client += 1) expect(admit(charge(`new-${client}`))).to.be.true;
    expect(table.size).to.be.at.most(50);
    for (let client = 0; client < 50; client += 1) expect(admit(charge(`old-${client}`))).to.be.true;
  });
});

describe("ended windows", () => {
  it("go away while others are added, a few at a time", () => {
    const { table, clock, admit } = openTable(100_000);
    for (let index = 0; index < 10_000; index += 1) admit(charge(`old-${index}`));
    clock.ms += 60_000;
    let largestDrop = 0;
    for (let index = 0; index < 20_000; index += 1) {
      const before = table.size;
      admit(charge(`new-${index}`, { windowSeconds: 3600 }));
      largestDrop = Math.max(largestDrop, before - table.size);
    }
    expect(largestDrop).to.be.at.most(2);
    expect(table.size).to.be.below(20_100);
  });

  it("need no timer", () => {
    const before = process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    const { admit } = openTable(1000);
    for (let index = 0; index < 1000; index += 1) admit(charge(`k${index}`));
    expect(process.getActiveResourcesInfo().filter((name) => name === "Timeout")).to.have.length(before);
  });
});

describe("each call to a table", () => {
  it("looks at a bounded number of counters, however many there are", () => {
    for (const capacity of [100, 100_000]) {
      let draws = 0;
      const random = seeded(6);
      const { admit } = openTable(capacity, () => {
        draws += 1;
        return random();
      });
      for (let index = 0; index < capacity; index += 1) while (admit(charge(`blocked-${index}`, { limit: 1 })));
      draws = 0;
      for (let index = 0; index < 1000; index += 1) admit(charge(`new-${index}`));
      expect(draws / 1000).to.be.at.most(64);
    }
  });
});
