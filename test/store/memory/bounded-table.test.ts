import { expect } from "chai";
import { BoundedTable } from "../../../packages/core/src/store/memory/bounded.js";
import type { Entry } from "../../../packages/core/src/store/memory/bounded.js";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import { ruledCharge } from "../../limits/support/clocked-stores.js";

const far = Number.MAX_SAFE_INTEGER;

function entry(key: string, owner?: string, weight = 1, pinnedFrom = far): Entry {
  return { key, owner, weight, pinnedFrom, endsAt: far, position: 0, ownerPosition: 0 };
}

describe("a bounded table that many share", () => {
  const open = (capacity = 80): BoundedTable<Entry> => new BoundedTable({ now: () => 0, capacity });

  it("gives nobody more than a share of it: an owner's new keys push out the owner's old ones", () => {
    const table = open();
    for (let index = 0; index < 20; index += 1) table.add(entry(`other-${index}`, `owner-${index}`));
    for (let index = 0; index < 1000; index += 1) table.add(entry(`flood-${index}`, "attacker", 9));
    expect(table.size).to.equal(30);
    for (let index = 0; index < 20; index += 1) expect(table.get(`other-${index}`)).to.not.equal(undefined);
    expect(table.get("flood-999")).to.not.equal(undefined);
  });

  it("takes no more from an owner whose share refuses", () => {
    const table = open();
    for (let index = 0; index < 10; index += 1) table.add(entry(`spent-${index}`, "attacker", 5, 5));
    expect(table.add(entry("more", "attacker"))).to.equal(false);
    expect(table.add(entry("newcomer", "somebody"))).to.equal(true);
    expect(table.size).to.equal(11);
  });

  it("remembers nothing of owners whose entries are gone", () => {
    const table = open();
    for (let round = 0; round < 50; round += 1) {
      const entries = Array.from({ length: 10 }, (_, index) => entry(`${round}-${index}`, "owner"));
      for (const one of entries) expect(table.add(one)).to.equal(true);
      // In an order of its own, so that positions move.
      for (const one of [...entries.slice(5), ...entries.slice(0, 5)]) table.remove(one);
      expect(table.size).to.equal(0);
    }
  });
});

describe("a client that is blocked in this process", () => {
  it("stays blocked through a flood of a hundred thousand others", () => {
    let now = 0;
    const store = new MemoryDecisionStore({ now: () => now });
    const rule = {
      algorithm: "fixed-window",
      shadow: false,
      block: { after: 1, firstMs: 60_000, maxMs: 60_000 },
    } as const;
    const ask = (name: string): boolean => {
      const charge = ruledCharge({ key: name, blockKey: `block:${name}`, limit: 1, windowSeconds: 1, mode: rule });
      const tally = store.ask({ beforeToken: [charge], token: undefined, afterToken: [] }).beforeToken[0];
      return tally !== undefined && "blocked" in tally && tally.blocked === true;
    };
    ask("victim");
    expect(ask("victim")).to.equal(true);
    for (let index = 0; index < 100_000; index += 1) {
      ask(`flood-${index}`);
      if (index % 2 === 0) ask(`flood-${index}`);
    }
    now = 59_999;
    expect(ask("victim")).to.equal(true);
    now = 60_000;
    expect(ask("victim")).to.equal(false);
  });
});
