import { expect } from "chai";
import { memoize } from "../../packages/core/src/lib/memoize.js";

describe("a function whose results are kept", () => {
  it("runs once for a short text, and each time for a long one", () => {
    const asked: string[] = [];
    const lengthOf = memoize((text) => asked.push(text) && text.length);
    const long = "x".repeat(513);
    for (const text of ["a", "", "a", "", long, long]) expect(lengthOf(text)).to.equal(text.length);
    expect(asked).to.deep.equal(["a", "", long, long]);
  });

  it("forgets results that were not used for long, and answers rightly all the same", () => {
    let runs = 0;
    const double = memoize((text) => {
      runs += 1;
      return text + text;
    });
    for (let round = 0; round < 2; round += 1)
      for (let index = 0; index < 10_000; index += 1) expect(double(String(index))).to.equal(`${index}${index}`);
    expect(runs).to.equal(20_000);
  });
});
