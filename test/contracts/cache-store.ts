import { expect } from "chai";
import { Keyspace } from "../../packages/core/src/store/keys.js";
import type { CacheStore } from "../../packages/core/src/store/ports.js";
import { freshPrefix } from "../support/redis.js";

/** The contract of every CacheStore: what the request cache relies on, whichever store answers. */
export function describeCacheStore(name: string, open: () => CacheStore): void {
  describe(`${name} keeps the contract of a cache store`, () => {
    let store: CacheStore;
    let key: (name: string) => string;

    before(() => {
      store = open();
    });
    beforeEach(() => {
      const keys = new Keyspace(freshPrefix(), "test");
      key = (text) => keys.cacheEntry("shared", "default", text);
    });

    it("answers reads in the order of their keys, with undefined for a miss", async () => {
      const names = Array.from({ length: 40 }, (_, index) => key(`k${index}`));
      await store.setMany(
        names.filter((_, index) => index % 2 === 0).map((one) => ({ key: one, value: `of ${one}`, ttlMs: 60_000 })),
      );
      const values = await store.getMany(names);
      expect(values).to.deep.equal(names.map((one, index) => (index % 2 === 0 ? `of ${one}` : undefined)));
      expect(await store.getMany([])).to.deep.equal([]);
    });

    it("keeps the last value, and any text", async () => {
      for (const value of ["", "0", "\r\n", "\u00e9\u{1f600}", "x".repeat(100_000)]) {
        await store.setMany([{ key: key("k"), value, ttlMs: 60_000 }]);
        expect(await store.getMany([key("k")])).to.deep.equal([value]);
      }
    });

    it("forgets at the end of the TTL, and when told to", async () => {
      await store.setMany([
        { key: key("short"), value: "1", ttlMs: 50.5 },
        { key: key("long"), value: "2", ttlMs: 60_000 },
        { key: key("gone"), value: "3", ttlMs: 60_000 },
      ]);
      await store.deleteMany([key("gone"), key("never there")]);
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(await store.getMany(["short", "long", "gone"].map(key))).to.deep.equal([undefined, "2", undefined]);
    });

    it("reads the same key twice at once", async () => {
      await store.setMany([{ key: key("k"), value: "v", ttlMs: 60_000 }]);
      const [one, two] = await Promise.all([store.getMany([key("k"), key("k")]), store.getMany([key("k")])]);
      expect([...one, ...two]).to.deep.equal(["v", "v", "v"]);
    });
  });
}
