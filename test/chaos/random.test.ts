import { expect } from "chai";
import { pickKind } from "./faults/fault.js";
import type { FaultKind } from "./faults/fault.js";
import { dice } from "./random.js";
import type { Dice } from "./random.js";

function roll(own: Dice): unknown[] {
  return [own.next(), own.between(0, 1000), own.chance(0.5), own.pick(["a", "b", "c"])];
}

describe("the dice of the chaos test", () => {
  it("say the same for the same seed and purpose, and something else for others", () => {
    expect(roll(dice(1, "client step 1"))).to.deep.equal(roll(dice(1, "client step 1")));
    expect(roll(dice(1, "client step 1"))).to.not.deep.equal(roll(dice(1, "client step 2")));
    expect(roll(dice(1, "client step 1"))).to.not.deep.equal(roll(dice(2, "client step 1")));
  });

  it("stay within their bounds and reach both ends", () => {
    const own = dice(7, "bounds");
    const rolled = new Set(Array.from({ length: 500 }, () => own.between(3, 6)));
    expect([...rolled].sort()).to.deep.equal([3, 4, 5, 6]);
  });

  it("choose kinds of faults by their weight", () => {
    const begin = (): never => {
      throw new Error("not begun");
    };
    const kinds: FaultKind[] = [
      { name: "often", weight: 9, begin },
      { name: "seldom", begin },
    ];
    const own = dice(7, "kinds");
    const often = Array.from({ length: 1000 }, () => pickKind(kinds, own)).filter(({ name }) => name === "often");
    expect(often.length).to.be.within(850, 950);
  });
});
