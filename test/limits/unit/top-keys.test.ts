import { expect } from "chai";
import { TopKeysReporter, TopKeysTable } from "../../../packages/core/src/limits/top-keys.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { MemoryLimitOverrides } from "../../../packages/core/src/store/memory/limit-overrides.js";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";
import { rejectionOf } from "../../support/rejection.js";

function note(table: TopKeysTable, partition: string, points = 1): void {
  if (!table.add(partition, points)) table.insert({ partition, points, client: `client of ${partition}`, place: -1 });
}

describe("a table of top keys", () => {
  it("sums the requests of each key, returns the busiest first, and starts again", () => {
    const table = new TopKeysTable();
    note(table, "a", 2);
    note(table, "b", 5);
    note(table, "a", 1);
    expect(table.take().map(({ partition, points, client }) => [partition, points, client])).to.deep.equal([
      ["b", 5, "client of b"],
      ["a", 3, "client of a"],
    ]);
    expect(table.take()).to.deep.equal([]);
  });

  it("keeps busy keys through a flood of keys with one request, and is bounded", () => {
    const table = new TopKeysTable();
    for (let index = 0; index < 100_000; index += 1) {
      note(table, `flood-${index}`);
      if (index % 20 === 0) note(table, `busy-${(index / 20) % 5}`);
    }
    const told = table.take();
    expect(told.length).to.be.at.most(50);
    const first = told.slice(0, 5).map(({ partition }) => partition);
    expect(first).to.have.members(["busy-0", "busy-1", "busy-2", "busy-3", "busy-4"]);
  });

  it("knows hostile names as others", () => {
    const table = new TopKeysTable();
    for (const name of ["__proto__", "constructor", "", "a:b"]) note(table, name);
    expect(table.take()).to.have.length(4);
  });
});

describe("a reporter of top keys", () => {
  const keys = new Keyspace("", "test");
  const open = () => new MemoryLimitOverrides(new MemoryDecisionStore().corrections);

  it("answers from the latest counts, and recognises keys that it has reported", async () => {
    const reporter = new TopKeysReporter(open(), keys);
    reporter.introduce("p", { partition: "~a", points: 3, client: "192.0.2.1", place: -1 });
    reporter.introduce("p", { partition: "~free", points: 0, client: "192.0.2.2", place: -1 });
    expect(await reporter.busiest("p", 10)).to.deep.equal([{ partition: "~a", points: 3 }]);
    expect(reporter.keyOf("p", "~a")).to.equal("192.0.2.1");
    expect(reporter.keyOf("q", "~a")).to.equal(undefined);
    expect(reporter.tableOf("p").add("~a", 1)).to.equal(undefined);
    reporter.close();
  });

  it("does not wait for a store that is down, and rejects the call of an operator", async () => {
    const away = Object.assign(open(), { addTopKeys: () => Promise.reject(new StoreFault("unreachable")) });
    const reporter = new TopKeysReporter(away, keys);
    reporter.introduce("p", { partition: "a", points: 3, client: undefined, place: -1 });
    const failure = await rejectionOf(reporter.busiest("p", 10));
    expect(failure).to.be.instanceOf(StoreFault);
    reporter.close();
  });
});

describe("the busiest clients of a limit", () => {
  for (const [kind, options] of Object.entries({ "of plain values": {}, "with a function": { skip: () => false } }))
    it(`are counted with all their requests among more clients than the table holds, ${kind}`, async () => {
      const gate = openGate({ limits: [{ name: "p", per: "ip", limit: 1e6, window: "1h", ...options }] });
      const guard = gate.guard();
      const ask = (ip: string) => guard.check(fakeExchange({ ip }));
      for (let index = 0; index < 300; index += 1) await ask(`192.0.${index >> 8}.${index & 255}`);
      for (let count = 0; count < 400; count += 1) await ask("198.51.100.1");
      const [first] = await gate.quotas.busiest({ policy: "p", limit: 1 });
      expect(first).to.include({ key: "198.51.100.1" });
      // Some of its requests may come before it is in the table.
      expect(first?.points).to.be.within(380, 400);
    });
});
