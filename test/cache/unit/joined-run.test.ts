import { expect } from "chai";
import type { RequestCache } from "../../../packages/core/src/index.js";
import { until } from "../../support/until.js";
import type { FakeProcess, FakeCacheStore } from "../support/cache-process.js";
import { cacheKeys, openProcess } from "../support/cache-process.js";

const order = { key: "k", tags: ["x"] } as const;

/** What ends the value, by who does it, as the processes that serve requests hear of it. */
const invalidations: Readonly<Record<string, (cache: RequestCache) => Promise<void>>> = {
  "delete()": async (cache) => cache.delete("k"),
  "deleteByTag()": async (cache) => cache.deleteByTag("x"),
  "clear()": async (cache) => cache.clear(),
};

/** A value that is being made of what was there before, until it is told to finish. */
async function begin(cache: RequestCache): Promise<{ made: Promise<unknown>; finish: (value?: string) => void }> {
  let finish: ((value?: string) => void) | undefined;
  const made = cache.getOrSet(order, () => new Promise<string | undefined>((resolve) => (finish = resolve)));
  await until(() => finish !== undefined);
  return { made, finish: (value) => finish?.(value) };
}

describe("a call of getOrSet after an invalidation", () => {
  const open: FakeProcess[] = [];
  afterEach(async () => {
    await Promise.all(open.splice(0).map(async ({ service }) => service.close()));
  });

  function start(store?: FakeCacheStore): FakeProcess {
    const process = openProcess(store, { local: {} });
    open.push(process);
    return process;
  }

  for (const [name, invalidate] of Object.entries(invalidations)) {
    it(`gets no value whose making began before it (${name})`, async () => {
      const { request } = start();
      const { made, finish } = await begin(request());
      await invalidate(request());
      const late = request().getOrSet(order, () => "new");
      finish("old");
      expect(await made).to.equal("old");
      expect(await late).to.equal("new");
      expect(await request().get("k")).to.equal("new");
    });

    it(`gets none in the request that made it, either (${name})`, async () => {
      const { request } = start();
      const cache = request();
      const { finish } = await begin(cache);
      await invalidate(cache);
      const late = cache.getOrSet(order, () => "new");
      finish("old");
      expect(await late).to.equal("new");
    });
  }

  it("gets no value that another process has invalidated", async () => {
    const { request, store, signals } = start();
    const { finish } = await begin(request());
    await start(store).cache.deleteByTag("x");
    signals.changed(cacheKeys.cacheGeneration("t:x"));
    const late = request().getOrSet(order, () => "new");
    finish("old");
    expect(await late).to.equal("new");
  });

  it("does not take another process' word for it that there is nothing, if that looked before", async () => {
    const { request, store, signals } = start();
    const { made, finish } = await begin(request());
    const other = start(store);
    await other.cache.deleteByTag("x");
    signals.changed(cacheKeys.cacheGeneration("t:x"));
    const leases = store.leases;
    const late = other.request().getOrSet(order, () => "new");
    await until(() => store.leases > leases);
    finish();
    expect(await made).to.equal(undefined);
    expect(await late).to.equal("new");
  });

  it("shares one making with the others that come after it", async () => {
    const { request } = start();
    const { finish } = await begin(request());
    await request().deleteByTag("x");
    let calls = 0;
    const factory = (): string => `new ${(calls += 1)}`;
    const late = Array.from({ length: 20 }, async () => request().getOrSet(order, factory));
    finish("old");
    expect(new Set(await Promise.all(late))).to.deep.equal(new Set(["new 1"]));
  });
});
