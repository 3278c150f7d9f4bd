import { expect } from "chai";
import type { CacheOptions } from "../../../packages/core/src/index.js";
import { openProcess } from "../support/cache-process.js";
import type { FakeProcess } from "../support/cache-process.js";

interface Basket {
  at: Date | string;
  items: { n: number }[];
}

const shared: CacheOptions = { local: { ttl: "1m" } };
const later = { at: "1970-01-01T00:00:00.000Z", items: [{ n: 1 }] };

function isFrozen(value: Basket): boolean {
  return Object.isFrozen(value) && Object.isFrozen(value.items) && Object.isFrozen(value.items[0]);
}

describe("the caller whose factory made a value", () => {
  const ways: Readonly<Record<string, (process: FakeProcess, made: Basket) => Promise<Basket>>> = {
    "getOrSet() of a request": async ({ request }, made) => request().getOrSet({ key: "k" }, () => made),
    "getOrSet() of the gate": async ({ cache }, made) => cache.getOrSet({ key: "k" }, () => made),
    "getOrSet() with forceFresh": async ({ request }, made) =>
      request().getOrSet({ key: "k", forceFresh: true }, () => made),
    "getOrSet() of a value that is too large": async ({ request }, made) =>
      request().getOrSet({ key: "k" }, () => made),
    "getOrSet() while the store is down": async ({ store, request }, made) => {
      store.goDown();
      return request().getOrSet({ key: "k" }, () => made);
    },
    "set() and get() in one request": async ({ request }, made) => {
      const own = request();
      await own.set("k", made);
      return (await own.get<Basket>("k")) as Basket;
    },
  };
  for (const [name, read] of Object.entries(ways)) {
    it(`gets what all others get, frozen, and its own object stays as it was: ${name}`, async () => {
      const size = name.includes("too large") ? { maxValueSize: 10 } : {};
      const made: Basket = { at: new Date(0), items: [{ n: 1 }] };
      const value = await read(openProcess(undefined, { ...shared, ...size }), made);
      expect(value).to.deep.equal(later);
      expect(isFrozen(value)).to.equal(true);
      made.items.push({ n: 2 });
      made.at = "changed";
      expect(value).to.deep.equal(later);
    });
  }

  it("gets a copy of its own where values are copied", async () => {
    const { request } = openProcess(undefined, { local: { ttl: "1m", copies: true } });
    const made: Basket = { at: new Date(0), items: [{ n: 1 }] };
    const [first, second] = await Promise.all([
      request().getOrSet<Basket>({ key: "k" }, () => made),
      request().getOrSet<Basket>({ key: "k" }, () => made),
    ]);
    first.items.push({ n: 2 });
    expect([second, made.items, await request().get("k")]).to.deep.equal([later, [{ n: 1 }], later]);
  });

  it("gets the value itself where its own codec cannot read it back", async () => {
    const codec = { encode: () => "x", decode: () => undefined };
    const { request } = openProcess(undefined, { ...shared, codec });
    const made = { a: 1 };
    expect(await request().getOrSet({ key: "k" }, () => made)).to.equal(made);
  });

  it("gets a Map and a Date as they are from the structured codec, and as a copy", async () => {
    const { request } = openProcess(undefined, { ...shared, codec: "structured" });
    const made = new Map([["a", new Date(0)]]);
    const value = await request().getOrSet({ key: "k" }, () => made);
    expect(value).to.deep.equal(made);
    expect(value === made).to.equal(false);
  });

  it("encodes a value once", async () => {
    let reads = 0;
    const value = {
      toJSON: () => ({ a: (reads += 1) }),
    };
    const { request } = openProcess(undefined, shared);
    const first = await request().getOrSet<unknown>({ key: "k" }, () => value);
    await request().set("l", value);
    const second = await request().get("l");
    expect([first, second, reads]).to.deep.equal([{ a: 1 }, { a: 2 }, 2]);
  });
});
