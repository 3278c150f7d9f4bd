import { expect } from "chai";
import type { RequestCache } from "../../../packages/core/src/index.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";
import { openProcess } from "../support/cache-process.js";

describe("one request", () => {
  it("reads a key once, however often and in whatever way it asks", async () => {
    const { store, request } = openProcess();
    await request().set("k", 1);
    const cache = request();
    const answers = await Promise.all([
      cache.get("k"),
      cache.get("k"),
      cache.has("k"),
      cache.getMany(["k", "k"]),
      cache.getOrSet({ key: "k" }, () => 2),
    ]);
    expect(answers).to.deep.equal([1, 1, true, [1, 1], 1]);
    expect(await cache.get("k")).to.equal(1);
    expect(store.reads).to.have.length(1);
  });

  it("remembers a miss too", async () => {
    const { store, request } = openProcess();
    const cache = request();
    expect([await cache.get("k"), await cache.has("k"), await cache.getMany(["k"])]).to.deep.equal([
      undefined,
      false,
      [undefined],
    ]);
    expect(store.reads).to.have.length(1);
  });

  it("sees one value from beginning to end, whatever others write meanwhile", async () => {
    const { request } = openProcess();
    await request().set("k", "old");
    const cache = request();
    expect(await cache.get("k")).to.equal("old");
    await request().set("k", "new");
    expect(await cache.get("k")).to.equal("old");
    expect(await request().get("k")).to.equal("new");
  });

  it("sees its own writes and deletions without a read", async () => {
    const { store, request } = openProcess();
    const cache = request();
    await cache.set("k", 1);
    expect(await cache.get("k")).to.equal(1);
    await cache.delete("k");
    expect([await cache.get("k"), await cache.has("k")]).to.deep.equal([undefined, false]);
    await cache.setMany([
      ["k", 2],
      ["l", 3],
    ]);
    expect(await cache.getMany(["k", "l"])).to.deep.equal([2, 3]);
    expect(store.reads).to.have.length(0);
  });

  it("gets many in the order of its keys, with gaps where there is nothing", async () => {
    const { request } = openProcess();
    await request().setMany(
      new Map<string, unknown>([
        ["a", 1],
        ["c", null],
        ["d", false],
      ]),
    );
    expect(await request().getMany(["d", "b", "a", "c", "a"])).to.deep.equal([false, undefined, 1, null, 1]);
    expect(await request().getMany([])).to.deep.equal([]);
  });

  it("is over when it is over: the next reads anew", async () => {
    const { store, request } = openProcess();
    await request().get("k");
    await request().get("k");
    expect(store.reads).to.have.length(2);
  });

  it("writes several entries at once: all or none; an invalid value prevents all", async () => {
    const { store, request } = openProcess();
    const cache = request();
    expect(
      await rejectionOf(
        cache.setMany([
          ["a", 1],
          ["b", undefined],
        ]),
      ),
    ).to.be.instanceOf(TypeError);
    expect(store.written).to.have.length(0);
    expect(await cache.get("a")).to.equal(undefined);
  });
});

describe("getOrSet", () => {
  it("makes a missing value, stores it, and does not make it again", async () => {
    const { request } = openProcess();
    let made = 0;
    const make = (): number => (made += 1);
    expect(await request().getOrSet({ key: "k" }, make)).to.equal(1);
    expect(await request().getOrSet({ key: "k" }, make)).to.equal(1);
    expect(await request().get("k")).to.equal(1);
  });

  it("200 times at once in one request is one call of the factory and one read", async () => {
    const { store, request } = openProcess();
    const cache = request();
    let made = 0;
    const calls = Array.from({ length: 200 }, () =>
      cache.getOrSet({ key: "k" }, async () => Promise.resolve((made += 1))),
    );
    expect(new Set(await Promise.all(calls))).to.deep.equal(new Set([1]));
    expect([made, store.reads.length, store.written.length]).to.deep.equal([1, 1, 1]);
  });

  it("200 times at once is one call of the factory, also if it returns undefined", async () => {
    const cache = openProcess().request();
    let made = 0;
    const calls = Array.from({ length: 200 }, () =>
      cache.getOrSet({ key: "k" }, async () => {
        made += 1;
        return Promise.resolve(undefined);
      }),
    );
    expect(new Set(await Promise.all(calls))).to.deep.equal(new Set([undefined]));
    expect(made).to.equal(1);
  });

  it("rejects all waiting calls with the error of the factory, stores nothing, and calls the factory again the next time", async () => {
    const { store, request } = openProcess();
    const cache = request();
    let made = 0;
    async function make(): Promise<number> {
      made += 1;
      if (made === 1) return Promise.reject(new Error("of the application"));
      return Promise.resolve(made);
    }
    const errors = await Promise.all(Array.from({ length: 20 }, () => rejectionOf(cache.getOrSet({ key: "k" }, make))));
    for (const error of errors) expect(error).to.be.instanceOf(Error).and.to.include({ message: "of the application" });
    expect([made, store.written.length]).to.deep.equal([1, 0]);
    expect(await cache.getOrSet({ key: "k" }, make)).to.equal(2);
    expect(await request().get("k")).to.equal(2);
  });

  it("treats a factory that throws at once like one that rejects", async () => {
    const cache = openProcess().request();
    const throwing = (): number => {
      throw new RangeError("at once");
    };
    expect(await rejectionOf(cache.getOrSet({ key: "k" }, throwing))).to.be.instanceOf(RangeError);
    expect(await cache.getOrSet({ key: "k" }, () => 5)).to.equal(5);
  });

  it("keeps null and everything false, but not undefined", async () => {
    const { request, store } = openProcess();
    for (const [index, value] of [null, false, 0, "", [], {}].entries()) {
      expect(await request().getOrSet({ key: `k${index}` }, () => value)).to.deep.equal(value);
      expect(await request().getOrSet({ key: `k${index}` }, () => "again")).to.deep.equal(value);
    }
    const written = store.written.length;
    expect(await request().getOrSet<string | undefined>({ key: "u" }, () => undefined)).to.equal(undefined);
    expect(store.written).to.have.length(written);
    expect(await request().getOrSet({ key: "u" }, () => "found")).to.equal("found");
  });

  it("does not bring back a value that was deleted while the factory ran", async () => {
    const { request } = openProcess();
    const cache = request();
    let finish: ((value: string) => void) | undefined;
    const made = cache.getOrSet({ key: "k" }, () => new Promise<string>((resolve) => (finish = resolve)));
    await until(() => finish !== undefined);
    await cache.delete("k");
    finish?.("stale");
    expect(await made).to.equal("stale");
    expect(await cache.get("k")).to.equal(undefined);
    expect(await request().get("k")).to.equal(undefined);
  });

  it("does not overwrite a value that was written while the factory ran", async () => {
    const { request } = openProcess();
    const cache = request();
    let finish: ((value: string) => void) | undefined;
    const made = cache.getOrSet({ key: "k" }, () => new Promise<string>((resolve) => (finish = resolve)));
    await until(() => finish !== undefined);
    await cache.set("k", "newer");
    finish?.("older");
    await made;
    expect(await cache.get("k")).to.equal("newer");
    expect(await request().get("k")).to.equal("newer");
  });
});

describe("the time to live", () => {
  async function livesFor(write: (cache: RequestCache) => Promise<unknown>): Promise<number> {
    const { store, request } = openProcess();
    await write(request());
    for (const ms of [998, 2, 59_000, 239_999, 300_001, 3_600_000]) {
      if ((await request().get("k")) === undefined) return store.clock.ms - 1_000_000;
      store.clock.ms += ms;
    }
    return Number.POSITIVE_INFINITY;
  }

  it("is the gate's unless said otherwise, in set, setMany and getOrSet", async () => {
    expect(await livesFor((cache) => cache.set("k", 1))).to.equal(600_000);
    expect(await livesFor((cache) => cache.set("k", 1, { ttl: "59s" }))).to.equal(60_000);
    expect(await livesFor((cache) => cache.setMany([["k", 1]], { ttl: 999 }))).to.equal(1000);
    expect(await livesFor((cache) => cache.getOrSet({ key: "k", ttl: "59s" }, () => 1))).to.equal(60_000);
    expect(await livesFor((cache) => cache.set("k", 1, { ttl: undefined }))).to.equal(600_000);
  });

  for (const ttl of [0, -1, 0.5, Number.NaN, Infinity, "0s", "5 m", "", "5", null, {}, "-1s", 1e21, true]) {
    it(`is not ${JSON.stringify(ttl)}, and nothing is read, made or written`, async () => {
      const { store, request } = openProcess();
      const options = { ttl: ttl as never };
      let made = 0;
      for (const attempt of [
        request().set("k", 1, options),
        request().setMany([["k", 1]], options),
        request().getOrSet({ key: "k", ...options }, () => (made += 1)),
      ]) {
        const error = await rejectionOf(attempt);
        expect(error instanceof RangeError || error instanceof TypeError).to.be.true;
        expect((error as Error).message).to.include("ttl");
      }
      expect([made, store.reads.length, store.written.length]).to.deep.equal([0, 0, 0]);
    });
  }
});
