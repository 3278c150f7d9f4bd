import { expect } from "chai";
import { OverrideCache, overrideNames } from "../../../packages/core/src/limits/overrides.js";
import { MemoryLimitOverrides } from "../../../packages/core/src/store/memory/limit-overrides.js";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import type { LimitOverrides } from "../../../packages/core/src/store/ports/limit-overrides.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";

const rule = (limit: number) => ({ limit, windowSeconds: undefined });

describe("the rules that a process knows", () => {
  let clock: number;
  let records: MemoryLimitOverrides;
  let reads: number;
  let away: boolean;
  let book: OverrideCache;

  beforeEach(() => {
    clock = 1_000_000;
    reads = 0;
    away = false;
    records = new MemoryLimitOverrides(new MemoryDecisionStore().corrections, () => clock);
    const shared: LimitOverrides = Object.create(records, {
      readOverrides: {
        value: (known: string | undefined) => {
          reads += 1;
          return away ? Promise.reject(new StoreFault("unreachable")) : records.readOverrides(known);
        },
      },
    }) as LimitOverrides;
    book = new OverrideCache({ store: shared, shared: true, now: () => clock, intervalMs: 5 });
  });
  afterEach(() => book.close());

  it("are looked at in the background from its start, and picked up when others change them", async () => {
    book.start();
    await until(() => reads > 2);
    expect(book.overridesOf("a")).to.equal(undefined);
    const { generation } = book;
    await records.setOverride(overrideNames.limit("a"), rule(5), undefined);
    await until(() => book.overridesOf("a") !== undefined);
    expect(book.overridesOf("a")?.everybody).to.include({ limit: 5 });
    expect(book.generation).to.not.equal(generation);
    await records.removeOverride(overrideNames.limit("a"));
    await until(() => book.overridesOf("a") === undefined);
  });

  it("are kept while the store is away", async () => {
    await records.setOverride(overrideNames.limit("a", "~x"), rule(5), undefined);
    book.start();
    await until(() => book.overridesOf("a") !== undefined);
    away = true;
    const before = reads;
    await until(() => reads > before + 3);
    expect(book.overridesOf("a")?.clients.get("~x")).to.include({ limit: 5 });
    const failure = await rejectionOf(book.refresh());
    expect(failure).to.be.instanceOf(StoreFault);
  });

  it("end with their time, by the next look, without asking anybody", async () => {
    await records.setOverride(overrideNames.block("a", "x"), rule(0), 60_000);
    await records.setOverride(overrideNames.block("a", "y"), rule(0), 90_000);
    await book.refresh();
    expect([...(book.overridesOf("a")?.blocks.keys() ?? [])]).to.deep.equal(["x", "y"]);
    away = true;
    clock += 60_000;
    book.poll();
    expect([...(book.overridesOf("a")?.blocks.keys() ?? [])]).to.deep.equal(["y"]);
    clock += 30_000;
    book.poll();
    expect(book.overridesOf("a")).to.equal(undefined);
  });

  it("end by the clock of the store, not by the clock of a process", async () => {
    const { now } = Date;
    const kept = new MemoryLimitOverrides(new MemoryDecisionStore().corrections);
    const shared = new OverrideCache({ store: kept, shared: true, intervalMs: 5 });
    try {
      await kept.setOverride(overrideNames.block("a", "x"), rule(0), 60_000);
      await shared.refresh();
      for (const jump of [7_200_000, -7_200_000, 0]) {
        Date.now = () => now() + jump;
        shared.poll();
        await new Promise((resolve) => setTimeout(resolve, 30));
        expect([...(shared.overridesOf("a")?.blocks.keys() ?? [])], `a jump by ${jump} ms`).to.deep.equal(["x"]);
      }
    } finally {
      Date.now = now;
      shared.close();
    }
  });

  it("are read again every minute, since clocks drift and machines sleep", async () => {
    await records.setOverride(overrideNames.block("a", "x"), rule(0), 120_000);
    let ours = 0;
    const sleeper = new OverrideCache({ store: records, shared: true, now: () => ours, intervalMs: 1_000_000 });
    await sleeper.refresh();
    const { generation } = sleeper;
    // The store's clock goes on by two minutes while ours goes on by one.
    clock += 120_000;
    ours += 59_999;
    await sleeper.refresh();
    expect([sleeper.overridesOf("a")?.blocks.size, sleeper.generation]).to.deep.equal([1, generation]);
    ours += 1;
    await sleeper.refresh();
    expect(sleeper.overridesOf("a")).to.equal(undefined);
    sleeper.close();
  });

  it("are the same rules when they are read again, so that charges need not be made anew", async () => {
    await records.setOverride(overrideNames.limit("a"), rule(5), undefined);
    await book.refresh();
    const { generation } = book;
    clock += 60_000;
    await book.refresh();
    expect([book.overridesOf("a")?.everybody?.limit, book.generation]).to.deep.equal([5, generation]);
  });

  it("are distinct by kind, policy and client, with any names", async () => {
    await records.setOverride(overrideNames.limit("a"), rule(1), undefined);
    await records.setOverride(overrideNames.limit("a", "p:q"), rule(2), undefined);
    await records.setOverride(overrideNames.block("a", "__proto__"), rule(0), 1000);
    await records.setOverride(overrideNames.limit("block", "limit"), rule(3), undefined);
    await records.setOverride("other:a", rule(4), undefined);
    await records.setOverride("garbage", rule(4), undefined);
    await book.refresh();
    const rules = book.overridesOf("a");
    expect(rules?.everybody?.limit).to.equal(1);
    expect([...(rules?.clients ?? [])].map(([name, { limit }]) => [name, limit])).to.deep.equal([["p:q", 2]]);
    expect([...(rules?.blocks.keys() ?? [])]).to.deep.equal(["__proto__"]);
    expect(book.overridesOf("block")?.clients.get("limit")?.limit).to.equal(3);
    expect(book.overridesOf("other")).to.equal(undefined);
  });

  it("need no timer with a store in process, unless some of them end", async () => {
    const alone = new OverrideCache({ store: records, shared: false, now: () => clock, intervalMs: 5 });
    alone.start();
    await alone.refresh();
    expect(alone.overridesOf("a")).to.equal(undefined);
    await records.setOverride(overrideNames.block("a", "x"), rule(0), 1000);
    await alone.refresh();
    expect(alone.overridesOf("a")?.blocks.size).to.equal(1);
    clock += 1000;
    await until(() => alone.overridesOf("a") === undefined);
    alone.close();
  });
});
