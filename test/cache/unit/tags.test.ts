import { expect } from "chai";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";
import { FakeCacheStore, cacheKeys, openProcess } from "../support/cache-process.js";

describe("a tag", () => {
  it("that was deleted before any entry had it lives as long as the entries that get it later", async () => {
    const { store, signals, cache } = openProcess(undefined, { local: { ttl: "1m" } });
    signals.alive = true;
    await cache.deleteByTag("x");
    expect(await cache.getOrSet({ key: "a", tags: ["x"], ttl: "1h" }, () => 1)).to.equal(1);
    store.clock.ms += 50 * 60_000;
    expect(await openProcess(store).cache.get("a")).to.equal(1);
    await openProcess(store).cache.deleteByTag("x");
    expect(await openProcess(store).cache.get("a")).to.equal(undefined);
  });

  it("ends every entry that has it, of all users, in every process, and no other entry", async () => {
    const { request, store } = openProcess();
    const other = openProcess(store);
    await request().set("a", 1, { tags: ["x", "y"] });
    await request("alice")
      .forUser()
      .set("a", 2, { tags: ["x"] });
    await request()
      .namespace("n")
      .getOrSet({ key: "a", tags: ["x"] }, () => 3);
    await request().setMany([["b", 4]], { tags: ["y"] });
    await request().set("c", 5);
    await other.cache.deleteByTag("x");
    expect(await request().getMany(["a", "b", "c"])).to.deep.equal([undefined, 4, 5]);
    expect(await request("alice").forUser().get("a")).to.equal(undefined);
    expect(await request().namespace("n").get("a")).to.equal(undefined);
    await request().set("a", 6, { tags: ["x"] });
    expect(await other.request().get("a")).to.equal(6);
  });

  it("ends values that were being made at its deletion, except for the callers that wait", async () => {
    const { request } = openProcess();
    let finish: ((value: string) => void) | undefined;
    const making = request().getOrSet(
      { key: "k", tags: ["x"] },
      () => new Promise<string>((resolve) => (finish = resolve)),
    );
    await until(() => finish !== undefined);
    await request().deleteByTag("x");
    finish?.("of before");
    expect(await making).to.equal("of before");
    expect(await request().get("k")).to.equal(undefined);
  });

  for (const what of ["a tag", "a view"] as const) {
    it(`that ends while a value is being read ends it in process too (${what})`, async () => {
      const writer = openProcess();
      const { store } = writer;
      await writer
        .request("alice")
        .forUser()
        .set("k", "old", { tags: ["x"] });
      const reader = openProcess(store, { local: { ttl: "1h" }, tracked: true });
      reader.signals.alive = true;
      // It begins to listen at its first use, and drops then what it has.
      await reader.request().get("warm");
      await new Promise((resolve) => setImmediate(resolve));
      const generations: string[] = [];
      const getMany = store.getMany.bind(store);
      let release: (() => void) | undefined;
      // Read in the store, answered later: what changes in between is told first.
      store.getMany = async (keys) => {
        generations.push(...keys.filter((key) => key.startsWith(cacheKeys.generationPrefix())));
        const values = await getMany(keys);
        await new Promise<void>((resolve) => (release = resolve));
        return values;
      };
      const reading = reader
        .request("alice")
        .forUser()
        .getOrSet({ key: "k", tags: ["x"] }, () => "new");
      await until(() => release !== undefined);
      store.getMany = getMany;
      if (what === "a tag") await writer.cache.deleteByTag("x");
      else await writer.request("alice").forUser().clear();
      expect(generations).to.have.length.above(1);
      for (const key of generations) reader.signals.changed(key);
      release?.();
      expect(await reading).to.equal("old");
      expect(await reader.request("alice").forUser().get("k")).to.equal(undefined);
    });
  }

  for (const tag of ["", undefined, null, 5, {}, ["a"]]) {
    it(`is not ${JSON.stringify(tag)}`, async () => {
      expect(await rejectionOf(openProcess().cache.deleteByTag(tag as string))).to.be.instanceOf(TypeError);
    });
  }

  it("may be any text, and hostile tags equal no other tag", async () => {
    const { request } = openProcess();
    const tags = ["a", "a,b", "a=b", "~a", "{1}", "\n", "\ud800", "x".repeat(5000), "n:", "A", "t:a", "*"];
    for (const [index, tag] of tags.entries()) await request().set(`k${index}`, index, { tags: [tag] });
    await request().set("all", 1, { tags });
    for (const [index, tag] of tags.entries()) {
      expect(await request().get(`k${index}`), tag).to.equal(index);
      await request().deleteByTag(tag);
      expect(await request().get(`k${index}`), tag).to.equal(undefined);
    }
    expect(await request().get("all")).to.equal(undefined);
  });
});

describe("clear()", () => {
  async function fill() {
    const process = openProcess(undefined, { tenantClaim: "sub" });
    const { request } = process;
    const views = {
      root: () => request(),
      a: () => request().namespace("a"),
      ab: () => request().namespace("a").namespace("b"),
      b: () => request().namespace("b"),
      alice: () => request("alice").forUser(),
      aliceA: () => request("alice").forUser().namespace("a"),
      bobA: () => request("bob").namespace("a").forUser(),
      tenantA: () => request("alice").namespace("a").forTenant(),
    };
    for (const [name, view] of Object.entries(views)) await view().set("k", name);
    const left = async (): Promise<string[]> => {
      const found = await Promise.all(
        Object.entries(views).map(async ([name, view]) => ((await view().has("k")) ? name : "")),
      );
      return found.filter((name) => name !== "");
    };
    expect(await left()).to.have.length(8);
    return { ...process, views, left };
  }

  it("of a namespace empties it, the namespaces within it, and the entries of users in it", async () => {
    const { views, left } = await fill();
    await views.a().clear();
    expect(await left()).to.deep.equal(["root", "b", "alice"]);
  });

  it("of a user's view empties that of this user alone", async () => {
    const { views, left } = await fill();
    await views.aliceA().clear();
    expect(await left()).to.deep.equal(["root", "a", "ab", "b", "alice", "bobA", "tenantA"]);
    await views.alice().clear();
    expect(await left()).to.deep.equal(["root", "a", "ab", "b", "bobA", "tenantA"]);
  });

  it("outside requests empties everything", async () => {
    const { cache, left } = await fill();
    await cache.clear();
    expect(await left()).to.deep.equal([]);
  });

  it("asks the store the same for one entry and for many", async () => {
    const { request, store } = openProcess();
    for (let index = 0; index < 300; index += 1) await request().namespace("n").set(`k${index}`, 1);
    const before = store.written.length;
    await request().namespace("n").clear();
    expect(store.written.length).to.equal(before);
    expect(await request().namespace("n").getMany(["k0", "k299"])).to.deep.equal([undefined, undefined]);
  });
});

describe("a deletion of many that the store missed", () => {
  for (const [name, end] of [
    ["deleteByTag()", (process: ReturnType<typeof openProcess>) => process.request().deleteByTag("x")],
    ["clear()", (process: ReturnType<typeof openProcess>) => process.request().clear()],
  ] as const) {
    it(`by ${name} is never silent, counts in this process, and is made good by the next write`, async () => {
      const store = new FakeCacheStore();
      const process = openProcess(store);
      const other = openProcess(store);
      await process.request().set("k", "stale", { tags: ["x"] });
      await process.request().set("l", "stale", { tags: ["x"] });
      store.goDown();
      expect(await rejectionOf(end(process))).to.be.instanceOf(StoreFault);
      store.comeBack();
      expect(await process.request().get("k")).to.equal(undefined);
      await process.request().set("k", "fresh", { tags: ["x"] });
      expect(await process.request().getMany(["k", "l"])).to.deep.equal(["fresh", undefined]);
      expect(await other.request().getMany(["k", "l"])).to.deep.equal(["fresh", undefined]);
    });
  }
});
