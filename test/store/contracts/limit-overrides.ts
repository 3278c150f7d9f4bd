import { expect } from "chai";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import type { LimitOverrides } from "../../../packages/core/src/store/ports/limit-overrides.js";
import { maxTopKeys, maxOverrides } from "../../../packages/core/src/store/ports/limit-overrides.js";
import { freshPrefix } from "../../support/redis.js";

/** What a battery stands on: the records, and the counters that they may forget. */
export interface OpenRecords {
  readonly records: LimitOverrides;
  count(key: string): Promise<unknown>;
  counted(key: string): Promise<number>;
  close(): unknown;
}

/** The contract of what operators decide, whichever store keeps it. */
export function describeQuotaRecords(name: string, open: (keys: Keyspace) => OpenRecords): void {
  describe(`${name} keeps the contract of quota records`, () => {
    let keys: Keyspace;
    let opened: OpenRecords;
    let records: LimitOverrides;

    beforeEach(() => {
      keys = new Keyspace(freshPrefix(), "test");
      opened = open(keys);
      records = opened.records;
    });

    afterEach(() => opened.close());

    const rule = (limit?: number, windowSeconds?: number) => ({ limit, windowSeconds });
    const read = async (): Promise<Record<string, unknown>> => {
      const found = await records.readOverrides("none of these");
      return Object.fromEntries(found?.rules ?? []);
    };

    it("knows no rules at first, and says so by version", async () => {
      const first = await records.readOverrides("none of these");
      expect([...(first?.rules ?? [])]).to.deep.equal([]);
      expect(await records.readOverrides(first?.version ?? "")).to.equal(undefined);
      expect(await records.readOverrides(undefined)).to.deep.equal(first);
    });

    it("keeps rules until they are removed, and tells each state from the others", async () => {
      const versions = new Set<string>();
      const note = async (): Promise<void> => void versions.add((await records.readOverrides("?"))?.version ?? "");
      await note();
      expect(await records.setOverride("limit:a", rule(5), undefined)).to.equal(true);
      await note();
      expect(await records.setOverride("limit:a:~x", rule(1_000_000_000_000, 2_073_600), undefined)).to.equal(true);
      await note();
      expect(await records.setOverride("limit:a", rule(undefined, 60), undefined)).to.equal(true);
      await note();
      expect(await read()).to.deep.equal({
        "limit:a": { limit: undefined, windowSeconds: 60, leftMs: undefined },
        "limit:a:~x": { limit: 1_000_000_000_000, windowSeconds: 2_073_600, leftMs: undefined },
      });
      await records.removeOverride("limit:a");
      await note();
      expect(Object.keys(await read())).to.deep.equal(["limit:a:~x"]);
      expect(versions.size).to.equal(5);
      await records.removeOverride("limit:never");
    });

    it("tells of a rule how long it still holds, whatever the clock of the process says", async () => {
      await records.setOverride("block:a:x", rule(0), 60_000);
      const { now } = Date;
      Date.now = () => now() + 7_200_000;
      const { leftMs } = (await read().finally(() => (Date.now = now)))["block:a:x"] as { leftMs: number };
      expect(leftMs).to.be.within(50_000, 60_000);
    });

    it("ends rules after their time", async () => {
      await records.setOverride("block:a:x", rule(0), 60_000);
      await records.setOverride("block:a:y", rule(0), 1);
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(Object.keys(await read())).to.deep.equal(["block:a:x"]);
      await records.setOverride("block:a:z", rule(0), 60_000);
      expect(Object.keys(await read())).to.have.members(["block:a:x", "block:a:z"]);
    });

    it("takes no more rules than every process can hold, but changes those it has", async function () {
      this.timeout(30_000);
      for (let index = 0; index < maxOverrides; index += 100) {
        const names = Array.from({ length: 100 }, (_, more) => `limit:a:${index + more}`);
        for (const set of await Promise.all(names.map((one) => records.setOverride(one, rule(1), undefined))))
          expect(set).to.equal(true);
      }
      expect(await records.setOverride("limit:a:more", rule(1), undefined)).to.equal(false);
      expect(await records.setOverride("limit:a:7", rule(2), undefined)).to.equal(true);
      await records.removeOverride("limit:a:8");
      expect(await records.setOverride("limit:a:more", rule(1), undefined)).to.equal(true);
    });

    it("forgets counters, and those only", async () => {
      const [one, other] = [keys.quota("p", "a"), keys.quota("p", "b")];
      await opened.count(one);
      await opened.count(other);
      await records.forget([one]);
      expect([await opened.counted(one), await opened.counted(other)]).to.deep.equal([0, 1]);
      await records.forget([one, keys.quota("p", "never")]);
    });

    it("blocks clients for a while, and ends blocks", async () => {
      const [one, other] = [keys.quotaBlock("p", "a"), keys.quotaBlock("p", "b")];
      expect(await records.readBlock(one)).to.equal(0);
      await records.block(one, 60_000);
      await records.block(other, 30);
      expect(await records.readBlock(one)).to.be.within(50_000, 60_000);
      await records.block(one, 120_000);
      expect(await records.readBlock(one)).to.be.within(110_000, 120_000);
      await records.unblock(one);
      await records.unblock(keys.quotaBlock("p", "never"));
      await new Promise((resolve) => setTimeout(resolve, 40));
      expect([await records.readBlock(one), await records.readBlock(other)]).to.deep.equal([0, 0]);
    });

    it("sums the requests of each key, in descending order", async () => {
      const demand = keys.topKeys("p");
      await records.addTopKeys(demand, [
        { partition: "a", points: 5 },
        { partition: "~b", points: 1 },
      ]);
      await records.addTopKeys(demand, [{ partition: "~b", points: 7 }]);
      expect(await records.readTopKeys(demand, 10)).to.deep.equal([
        { partition: "~b", points: 8 },
        { partition: "a", points: 5 },
      ]);
      expect(await records.readTopKeys(demand, 1)).to.deep.equal([{ partition: "~b", points: 8 }]);
      expect(await records.readTopKeys(keys.topKeys("q"), 10)).to.deep.equal([]);
    });

    it("remembers a bounded number of those that asked, and drops the least", async () => {
      const demand = keys.topKeys("p");
      const demands = Array.from({ length: maxTopKeys + 100 }, (_, index) => ({
        partition: `k${index}`,
        points: index + 1,
      }));
      for (let start = 0; start < demands.length; start += 50)
        await records.addTopKeys(demand, demands.slice(start, start + 50));
      const kept = await records.readTopKeys(demand, 10_000);
      expect(kept.length).to.be.at.most(2 * maxTopKeys);
      expect(kept[0]).to.deep.equal({ partition: `k${maxTopKeys + 99}`, points: maxTopKeys + 100 });
    });
  });
}
