import { expect } from "chai";
import { GrowingLru } from "../../packages/core/src/lib/growing-lru.js";

describe("an LRU cache that grows", () => {
  it("keeps the entries that were used last, up to its number", () => {
    const gone: string[] = [];
    const cache = new GrowingLru<string, number>({
      max: 3,
      dispose: (_value, key, reason) => void gone.push(`${key} ${reason}`),
    });
    for (const key of ["a", "b", "c"]) cache.set(key, 1);
    cache.get("a");
    cache.set("d", 1);
    cache.set("c", 2);
    expect([...cache.keys()]).to.deep.equal(["c", "d", "a"]);
    expect(gone).to.deep.equal(["b evict", "c set"]);
  });

  it("keeps no more than its size either, and nothing that is larger than all of it", () => {
    const cache = new GrowingLru<string, string>({ max: 3, maxSize: 10, sizeCalculation: (value) => value.length });
    cache.set("a", "12345678").set("b", "12");
    expect([...cache.keys()]).to.deep.equal(["b", "a"]);
    cache.set("c", "12345");
    expect([...cache.keys()]).to.deep.equal(["c", "b"]);
    cache.set("d", "1").set("e", "1");
    expect([...cache.keys()]).to.deep.equal(["e", "d", "c"]);
    cache.set("f", "12345678901");
    expect(cache.has("f")).to.equal(false);
  });

  it("ends entries after their time, each after its own where it has one", () => {
    let now = 1;
    const cache = new GrowingLru<string, number>({ max: 100, ttl: 10, ttlResolution: 0, perf: { now: () => now } });
    cache.set("a", 1).set("b", 1, { ttl: 50 });
    now = 20;
    expect([cache.get("a"), cache.get("b")]).to.deep.equal([undefined, 1]);
    now = 60;
    expect(cache.get("b")).to.equal(undefined);
  });

  it("stays within its number under any order of writes, reads and removals", () => {
    const cache = new GrowingLru<string, number>({ max: 20 });
    let seed = 7;
    const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below;
    const last = new Map<string, number>();
    for (let step = 0; step < 20_000; step += 1) {
      const key = `key-${random(60)}`;
      if (random(5) === 0) {
        cache.delete(key);
        last.delete(key);
      } else if (random(2) === 0) {
        const value = cache.get(key);
        if (value !== undefined) {
          expect(value).to.equal(last.get(key));
          last.delete(key);
          last.set(key, value);
        }
      } else {
        cache.set(key, step);
        last.delete(key);
        last.set(key, step);
      }
      // The reference keeps the last 20 of a Map in the order of use.
      for (const oldest of [...last.keys()].slice(0, Math.max(0, last.size - 20))) last.delete(oldest);
      if (step % 500 === 0) expect([...cache.keys()].toReversed()).to.deep.equal([...last.keys()]);
    }
  });

  it("takes no memory for entries that it does not have", () => {
    const caches: object[] = [];
    globalThis.gc?.();
    const before = process.memoryUsage();
    for (let count = 0; count < 100; count += 1) caches.push(new GrowingLru<string, number>({ max: 100_000 }));
    const after = process.memoryUsage();
    const grown = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
    // Each would take about 3 MB.
    expect(grown / caches.length).to.be.below(100_000);
  });
});
