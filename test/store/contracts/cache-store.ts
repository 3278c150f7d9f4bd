import { expect } from "chai";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { cacheChannel, readEvent } from "../../../packages/core/src/store/ports/cache.js";
import type { Channels } from "../../../packages/core/src/store/ports/channels.js";
import type { CacheStore } from "../../../packages/core/src/store/ports/decisions.js";
import { until } from "../../support/until.js";
import { freshPrefix } from "../../support/redis.js";

/** The contract of every CacheStore: what the request cache relies on, whichever store answers. */
export function describeCacheStore(name: string, open: () => CacheStore, news: () => Channels): void {
  describe(`${name} keeps the contract of a cache store`, () => {
    let store: CacheStore;
    let key: (name: string) => string;
    let generation: (name: string) => string;

    before(() => {
      store = open();
    });
    beforeEach(() => {
      const keys = new Keyspace(freshPrefix(), "test");
      key = (text) => keys.cacheEntry("shared", "default", text);
      generation = (text) => keys.cacheGeneration(`t:${text}`);
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

    it("reads keys along with others, whichever reads share them", async () => {
      const along = ["t:one", "t:missing", "t:two"].map(generation);
      const [one, , two] = along as [string, string, string];
      const [first, second] = await store.ensureGenerations([one, two], 60_000);
      await store.setMany(["a", "b", two].map((name) => ({ key: key(name), value: `of ${name}`, ttlMs: 60_000 })));
      const lists = [along, along, [...along], [two], [], [key("a"), key("b")], along];
      const names = ["a", "b", "a", "missing", "b", "a", "missing"];
      const read = (storeKey: string, list: readonly string[]): Promise<unknown> =>
        new Promise((resolve, reject) => {
          store.read({ storeKey, along: list, answer: (text, texts) => resolve([text, texts]), fail: reject });
        });
      const all = [first, undefined, second];
      const expected = [all, all, all, [second], [], ["of a", "of b"], all];
      expect(await Promise.all(names.map((name, index) => read(key(name), lists[index] ?? [])))).to.deep.equal(
        names.map((name, index) => [name === "missing" ? undefined : `of ${name}`, expected[index]]),
      );
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

    it("gives a generation once, and another one when it is renewed", async () => {
      const keys = new Keyspace(freshPrefix(), "test");
      const names = ["n:", "n:a", "t:tag"].map((one) => keys.cacheGeneration(one));
      const both = await Promise.all([store.ensureGenerations(names, 60_000), store.ensureGenerations(names, 60_000)]);
      const [first] = both;
      expect(both[1]).to.deep.equal(first);
      expect(new Set(first).size).to.equal(3);
      expect(await store.getMany(names)).to.deep.equal(first);
      await store.renewGenerations(names.slice(0, 2));
      const later = await store.ensureGenerations(names, 60_000);
      expect(later.map((one, index) => one === first[index])).to.deep.equal([false, false, true]);
    });

    it("stores an entry with generations only if they have not changed since its handler began", async () => {
      const keys = new Keyspace(freshPrefix(), "test");
      const [one, other] = ["t:one", "t:other"].map((tag) => keys.cacheGeneration(tag)) as [string, string];
      const entries = (value: string) => [{ key: key("a"), value, ttlMs: 60_000 }];
      const first = { key: one, named: "g1", isNew: true };
      const second = { key: other, named: "g2", isNew: true };
      const isThere = async (...values: (string | undefined)[]) =>
        expect(await store.getMany([key("a"), one, other])).to.deep.equal(values);
      const later = store.now() + 60_000;
      expect(await store.keep(entries("late"), [first], store.now() - 60_000)).to.deep.equal([""]);
      await isThere(undefined, undefined, undefined);
      expect(await store.keep(entries("first"), [first], later)).to.deep.equal(["g1"]);
      await isThere("first", "g1", undefined);
      expect(await store.keep(entries("same"), [{ ...first, isNew: false }, second], later)).to.deep.equal([
        "g1",
        "g2",
      ]);
      await isThere("same", "g1", "g2");
      for (const claim of [
        { key: one, named: "g3", isNew: false },
        { key: one, named: "g3", isNew: true },
      ])
        expect(await store.keep(entries("refused"), [claim, { ...second, isNew: false }], later)).to.deep.equal([
          "g1",
          "g2",
        ]);
      await isThere("same", "g1", "g2");
      await store.renewGenerations([one]);
      const [renewed] = await store.keep(entries("refused"), [{ ...first, isNew: false }], later);
      expect(renewed).to.match(/^r/);
      expect(
        await store.keep(entries("after"), [{ key: one, named: renewed ?? "", isNew: false }], later),
      ).to.deep.equal([renewed]);
      await store.deleteMany([one]);
      const lost = { key: one, named: renewed ?? "", isNew: false };
      expect(await store.keep(entries("refused"), [lost, { ...second, isNew: false }], later)).to.deep.equal([
        "",
        "g2",
      ]);
      await isThere("after", undefined, "g2");
    });

    it("stores many at once, each by generations of its own", async () => {
      const keys = new Keyspace(freshPrefix(), "test");
      const names = Array.from({ length: 150 }, (_, index) => `k${index}`);
      const kept = await Promise.all(
        names.map(async (name, index) =>
          store.keep(
            [
              { key: key(name), value: `of ${name}`, ttlMs: 60_000, keepsLongerLife: true },
              { key: key(`${name} more`), value: "", ttlMs: 60_000 },
            ].slice(0, 1 + (index % 2)),
            Array.from({ length: index % 4 }, (_, tag) => ({
              key: keys.cacheGeneration(`t:${name}-${tag}`),
              named: `g${tag}`,
              isNew: true,
            })),
            store.now() + 60_000,
          ),
        ),
      );
      for (const [index, generations] of kept.entries())
        expect(generations).to.deep.equal(Array.from({ length: index % 4 }, (_, tag) => `g${tag}`));
      expect(await store.getMany(names.map(key))).to.deep.equal(names.map((name) => `of ${name}`));
    });

    it("keeps the longer life of a value that stays the same, if it is told to", async () => {
      const write = async (name: string, value: string, ttlMs: number) =>
        store.keep([{ key: key(name), value, ttlMs, keepsLongerLife: true }], [], 0);
      for (const name of ["same", "other"]) await write(name, "v", 60_000);
      await write("same", "v", 50);
      await write("other", "w", 50);
      expect(await store.getMany(["same", "other"].map(key))).to.deep.equal(["v", "w"]);
      await until(async () => (await store.getMany([key("other")]))[0] === undefined);
      expect(await store.getMany(["same", "other"].map(key))).to.deep.equal(["v", undefined]);
      await write("same", "v", 1e9);
      expect(await store.getMany([key("same")])).to.deep.equal(["v"]);
    });

    it("leases a key to one owner, which stores its value or fails", async () => {
      const value = { outcome: "filled", value: "made", ttlMs: 60_000 } as const;
      expect(await store.lease(key("k"), "a", 60_000)).to.deep.equal({ waitMs: 0, value: undefined });
      const refused = await store.lease(key("k"), "b", 60_000);
      expect(refused.waitMs).to.be.within(1, 60_000);
      expect([await store.extend(key("k"), "a", 60_000), await store.extend(key("k"), "b", 60_000)]).to.deep.equal([
        true,
        false,
      ]);
      expect(await store.endLease(key("k"), "b", value)).to.equal(false);
      expect(await store.getMany([key("k")])).to.deep.equal([undefined]);
      expect(await store.endLease(key("k"), "a", value)).to.equal(true);
      expect(await store.endLease(key("k"), "a", value)).to.equal(false);
      expect(await store.lease(key("k"), "b", 60_000)).to.deep.equal({ waitMs: 0, value: "made" });
      expect(await store.endLease(key("k"), "b", { outcome: "failed" })).to.equal(true);
      expect(await store.getMany([key("k")])).to.deep.equal(["made"]);
    });

    it("ends a lease after its time, and gives it to a caller that forces it", async () => {
      await store.lease(key("k"), "a", 30);
      await new Promise((resolve) => setTimeout(resolve, 60));
      expect((await store.lease(key("k"), "b", 60_000)).waitMs).to.equal(0);
      expect((await store.lease(key("k"), "c", 60_000, true)).waitMs).to.equal(0);
      expect(await store.endLease(key("k"), "b", { outcome: "filled", value: "old", ttlMs: 60_000 })).to.equal(false);
      expect(await store.endLease(key("k"), "c", { outcome: "filled", value: "new", ttlMs: 60_000 })).to.equal(true);
      expect(await store.getMany([key("k")])).to.deep.equal(["new"]);
    });

    it("never gives a lease that was withdrawn before it was asked for, not even by force", async () => {
      await store.withdraw(key("k"), "late");
      const late = await store.lease(key("k"), "late", 60_000);
      expect(late.waitMs).to.be.above(0);
      expect(await store.extend(key("k"), "late", 60_000)).to.equal(false);
      expect(await store.lease(key("k"), "a", 60_000)).to.deep.equal({ waitMs: 0, value: undefined });
      expect((await store.lease(key("k"), "late", 60_000, true)).waitMs).to.be.above(0);
      const made = { outcome: "filled", value: "made", ttlMs: 60_000 } as const;
      expect(await store.endLease(key("k"), "a", made)).to.equal(true);
      expect((await store.lease(key("k"), "late", 60_000)).waitMs).to.be.above(0);
      expect(await store.lease(key("k"), "b", 60_000)).to.deep.equal({ waitMs: 0, value: "made" });
    });

    it("ends a lease that is withdrawn while its owner has it, and no other's", async () => {
      await store.lease(key("k"), "a", 60_000);
      await store.withdraw(key("k"), "b");
      expect(await store.extend(key("k"), "a", 60_000)).to.equal(true);
      await store.withdraw(key("k"), "a");
      expect((await store.lease(key("k"), "c", 60_000)).waitMs).to.equal(0);
    });

    it("does not store a value that was being made when its key was written or deleted", async () => {
      for (const change of [
        () => store.setMany([{ key: key("k"), value: "newer", ttlMs: 60_000 }]),
        () => store.deleteMany([key("k")]),
      ]) {
        await store.lease(key("k"), "a", 60_000);
        await change();
        const [before] = await store.getMany([key("k")]);
        expect(await store.endLease(key("k"), "a", { outcome: "filled", value: "older", ttlMs: 60_000 })).to.equal(
          false,
        );
        expect(await store.getMany([key("k")])).to.deep.equal([before]);
      }
    });

    it("sends waiters the outcome of a key, and all processes its deletions and the renewals of generations", async () => {
      const heard: unknown[] = [];
      let gaps = 0;
      const stop = news().subscribe(
        cacheChannel,
        (message) => heard.push(readEvent(message)),
        () => (gaps += 1),
      );
      try {
        await until(() => gaps > 0 && news().isAlive(1000));
        for (const outcome of ["filled", "nothing", "unkept", "failed"] as const) {
          const settlement = outcome === "filled" ? { outcome, value: "v", ttlMs: 60_000 } : { outcome };
          await store.lease(key(`quiet ${outcome}`), "a", 60_000);
          await store.endLease(key(`quiet ${outcome}`), "a", settlement);
          await store.lease(key(outcome), "a", 60_000);
          await store.lease(key(outcome), "b", 60_000);
          await store.endLease(key(outcome), "a", settlement);
        }
        await store.lease(key("withdrawn"), "a", 60_000);
        await store.lease(key("withdrawn"), "b", 60_000);
        await store.withdraw(key("withdrawn"), "a");
        await store.lease(key("written"), "a", 60_000);
        await store.lease(key("written"), "b", 60_000);
        await store.setMany([{ key: key("written"), value: "v", ttlMs: 60_000 }]);
        await store.deleteMany([key("deleted")]);
        await store.ensureGenerations([generation("renewed")], 60_000);
        await store.renewGenerations([generation("renewed"), generation("new")]);
        const expected = [
          ...(["filled", "nothing", "unkept", "failed"] as const).map((one) => ({ key: key(one), news: one })),
          { key: key("withdrawn"), news: "failed" },
          { key: key("written"), news: "filled" },
          { key: key("deleted"), news: "deleted" },
          // Nobody has an entry of a generation that was not there.
          { key: generation("renewed"), news: "deleted" },
        ];
        await until(() => heard.length >= expected.length);
        expect(heard).to.have.deep.members(expected);
      } finally {
        stop();
      }
    });

    it("reads the same key twice at once", async () => {
      await store.setMany([{ key: key("k"), value: "v", ttlMs: 60_000 }]);
      const [one, two] = await Promise.all([store.getMany([key("k"), key("k")]), store.getMany([key("k")])]);
      expect([...one, ...two]).to.deep.equal(["v", "v", "v"]);
    });
  });
}
