import { expect } from "chai";
import fc from "fast-check";
import { TwoGenerationCache } from "../../packages/core/src/lib/two-generation-cache.js";

describe("a cache of two generations", () => {
  it("keeps what is used, and the last half of its size, and never more than its size", () => {
    const cache = new TwoGenerationCache<number, string>({ max: 10 });
    for (let key = 0; key < 1000; key += 1) {
      cache.set(key, `value ${key}`);
      expect(cache.get(0)).to.equal("value 0");
      expect(cache.size).to.be.at.most(10);
      for (let last = Math.max(0, key - 3); last <= key; last += 1) expect(cache.get(last)).to.equal(`value ${last}`);
    }
  });

  it("weighs its entries, and keeps none that alone is too heavy", () => {
    const cache = new TwoGenerationCache<string, string>({ max: 100, maxWeight: 20, weightOf: (text) => text.length });
    cache.set("heavy", "x".repeat(11));
    expect(cache.get("heavy")).to.equal(undefined);
    for (let key = 0; key < 50; key += 1) {
      cache.set(String(key), "x".repeat(key % 10));
      let weight = 0;
      for (let known = 0; known <= key; known += 1) weight += cache.get(String(known))?.length ?? 0;
      expect(weight).to.be.at.most(20);
    }
  });

  it("returns the value that was set last, or none, for any calls", () => {
    const call = fc.record({ key: fc.nat({ max: 5 }), does: fc.constantFrom("set", "get", "delete", "clear") });
    fc.assert(
      fc.property(fc.array(call, { maxLength: 60 }), fc.integer({ min: 1, max: 4 }), (calls, max) => {
        const cache = new TwoGenerationCache<number, number>({ max });
        const model = new Map<number, number>();
        calls.forEach(({ key, does }, value) => {
          if (does === "set") {
            cache.set(key, value);
            model.set(key, value);
          } else if (does === "delete") {
            cache.delete(key);
            model.delete(key);
          } else if (does === "clear") {
            cache.clear();
            model.clear();
          } else {
            const found = cache.get(key);
            if (found !== undefined) expect(found).to.equal(model.get(key));
          }
          if (does === "set") expect(cache.get(key)).to.equal(value);
        });
      }),
    );
  });
});
