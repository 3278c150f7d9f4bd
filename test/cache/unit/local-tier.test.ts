import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { expect } from "chai";
import { events } from "../../../packages/core/src/telemetry/events.js";
import { prometheusText } from "../../../packages/core/src/telemetry/metrics.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";
import type { FakeProcess } from "../support/cache-process.js";
import { FakeCacheStore, cacheKeys, openProcess } from "../support/cache-process.js";
import { withoutGate } from "../../support/without-gate.js";

const local = { ttl: "1m" } as const;
const sharedKey = (key: string, namespace = ""): string => cacheKeys.cacheEntry("shared", namespace, key);

/** A process that listens already: what it kept before is forgotten then. */
async function openWarm(...args: Parameters<typeof openProcess>): Promise<FakeProcess> {
  const opened = openProcess(...args);
  await opened.request().get("warm");
  opened.store.reads.length = 0;
  return opened;
}

describe("the tier in process", () => {
  it("answers without the store, for all requests and outside of them", async () => {
    const { request, cache, store } = await openWarm(undefined, { local });
    await request().set("k", { a: 1 });
    const answers = [await request().get("k"), await cache.get("k"), await request().getOrSet({ key: "k" }, () => 2)];
    expect(answers).to.deep.equal([{ a: 1 }, { a: 1 }, { a: 1 }]);
    expect([await request().has("k"), await request().getMany(["k"])]).to.deep.equal([true, [{ a: 1 }]]);
    expect(store.reads).to.have.length(0);
  });

  it("shares frozen values", async () => {
    const { request } = await openWarm(undefined, { local });
    await request().set("k", { list: [{ a: 1 }], deep: { er: { still: 1 } } });
    const value = await request().get<{ list: { a: number }[]; deep: { er: object } }>("k");
    expect(value).to.equal(await request().get("k"));
    expect(() => Object.assign(value!.list[0] as object, { a: 2 })).to.throw(TypeError);
    expect(() => value!.list.push({ a: 2 })).to.throw(TypeError);
    expect(Object.isFrozen(value!.deep.er)).to.equal(true);
    const made = { a: 1 };
    expect(await request().getOrSet({ key: "l" }, () => made)).to.deep.equal(made);
    made.a = 2;
    expect(await request().get("l")).to.deep.equal({ a: 1 });
  });

  it("gives each caller a copy if a value cannot be frozen, or if copies are configured", async () => {
    const structured = await openWarm(undefined, { local, codec: "structured" });
    await structured.request().set("k", { at: new Date(5), map: new Map([["a", [1]]]) });
    const one = await structured.request().get<{ at: Date; map: Map<string, number[]> }>("k");
    one!.map.set("b", [2]);
    one!.at.setTime(0);
    expect(await structured.request().get("k")).to.deep.equal({ at: new Date(5), map: new Map([["a", [1]]]) });
    const copying = await openWarm(undefined, { local: { ...local, copies: true } });
    await copying.request().set("k", { a: 1 });
    (await copying.request().get<{ a: number }>("k"))!.a = 2;
    expect(await copying.request().get("k")).to.deep.equal({ a: 1 });
    expect(copying.store.reads).to.have.length(0);
  });

  it("trusts a value no longer than its ttl, and no longer than that of the value", async () => {
    const store = new FakeCacheStore();
    const process = await openWarm(store, { local: { ttl: 30 } });
    await process.request().set("k", "old", { ttl: "1h" });
    await openProcess(store).request().set("k", "new", { ttl: "1h" });
    expect(await process.request().get("k")).to.equal("old");
    await until(async () => (await process.request().get("k")) === "new");
    const long = await openWarm(store, { local });
    await long.request().set("short", 1, { ttl: 30 });
    await until(async () => {
      store.clock.ms += 10;
      return (await long.request().get("short")) === undefined;
    });
  });

  it("keeps a tracked value for longer while changes are heard, and drops it with the first", async () => {
    const store = new FakeCacheStore();
    const process = await openWarm(store, { local: { ttl: 20 }, tracked: ["n"] });
    const view = () => process.request().namespace("n");
    process.signals.alive = true;
    await view().set("k", "old");
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect([await view().get("k"), store.reads.length]).to.deep.equal(["old", 0]);
    await openProcess(store).request().namespace("n").set("k", "new");
    process.signals.changed(sharedKey("k", "n"));
    expect(await view().get("k")).to.equal("new");
    process.signals.alive = false;
    await new Promise((resolve) => setTimeout(resolve, 40));
    const before = store.reads.length;
    await view().get("k");
    expect(store.reads.length).to.equal(before + 1);
  });

  it("does not keep an entry that a push or another deletion changed during the read", async () => {
    const store = new FakeCacheStore();
    const process = await openWarm(store, { local, tracked: true });
    await openProcess(store).request().set("k", "old");
    await process.request().get("warm");
    for (const change of [
      () => process.signals.changed(sharedKey("k")),
      () => store.channels.publish("cache", `${sharedKey("k")} d`),
    ]) {
      const reading = process.request().get("k");
      await Promise.resolve(change());
      expect(await reading).to.equal("old");
      const before = store.reads.length;
      await process.request().get("k");
      expect(store.reads.length).to.equal(before + 1);
      process.service.flush();
    }
  });

  it("drops an entry that another process deleted when the event arrives", async () => {
    const store = new FakeCacheStore();
    const process = await openWarm(store, { local });
    await process.request().set("k", 1);
    await process.request().get("other");
    await openProcess(store).request().delete("k");
    await until(async () => (await process.request().get("k")) === undefined);
  });

  it("drops entries of a deleted tag or namespace: in this process at once, in others with the push", async () => {
    const store = new FakeCacheStore();
    const process = await openWarm(store, { local });
    process.signals.alive = true;
    await process.request().set("k", 1, { tags: ["t"] });
    await openProcess(store).request().deleteByTag("t");
    expect(await process.request().get("k")).to.equal(1);
    process.signals.changed(cacheKeys.cacheGeneration("t:t"));
    expect(await process.request().get("k")).to.equal(undefined);
    await process.request().set("k", 2);
    await process.request().clear();
    expect(await process.request().get("k")).to.equal(undefined);
  });

  it("goes on while the store is down, with one call of the factory", async () => {
    const { request, store } = await openWarm(undefined, { local });
    store.goDown();
    let calls = 0;
    const ask = (): Promise<number> => request().getOrSet({ key: "k" }, () => (calls += 1));
    expect(await Promise.all([ask(), ask(), ask()])).to.deep.equal([1, 1, 1]);
    expect([await ask(), calls]).to.deep.equal([1, 1]);
    expect(await rejectionOf(request().delete("k"))).to.include({ status: 503 });
    expect([await ask(), calls]).to.deep.equal([2, 2]);
  });

  it("is bounded by entries and by bytes", async () => {
    const few = await openWarm(undefined, { local: { ...local, entries: 10 } });
    const small = await openWarm(undefined, { local: { ...local, bytes: 20_000 } });
    for (const { request, store } of [few, small]) {
      for (let index = 0; index < 100; index += 1) await request().set(`k${index}`, "x".repeat(500));
      await request().getMany(Array.from({ length: 100 }, (_, index) => `k${index}`));
      expect(store.reads.length).to.be.at.least(85);
    }
  });

  it("takes no name for another: users, namespaces and odd keys", async () => {
    const { request, store } = await openWarm(undefined, { local });
    const views = [
      request(),
      request().namespace("shared"),
      request("a").forUser(),
      request("a").forUser().namespace("b"),
      request("a:b").forUser(),
    ];
    const keys = ["k", "b:k", ":k", "shared:k", "user:a:k", "x".repeat(300), "\ud800", "__proto__"];
    for (const [at, view] of views.entries()) for (const key of keys) await view.set(key, `${at} ${key}`);
    for (const [at, view] of views.entries()) {
      for (const key of keys) expect(await view.get(key)).to.equal(`${at} ${key}`);
    }
    expect(store.reads).to.have.length(0);
  });
});

describe("the statistics of the cache", () => {
  it("are counted by namespace and by the source of the answer, without keys", async () => {
    const { request, store, service } = await openWarm(undefined, { local });
    const said: unknown[] = [];
    const note = (message: unknown): void => void said.push(message);
    subscribe(events.cacheRead.name, note);
    subscribe(events.cacheFactory.name, note);
    try {
      const cache = request().namespace("n");
      await cache.getOrSet({ key: "secret-key" }, () => 1);
      await cache.get("secret-key");
      await request().namespace("n").get("secret-key");
      service.flush();
      await request().namespace("n").get("secret-key");
      await request().get("missing-key");
      await rejectionOf(request().getOrSet({ key: "failing-key" }, () => Promise.reject(new Error("no"))));
      const old = { key: "stale-key", ttl: 1000, grace: "1h", swr: true } as const;
      await request().getOrSet(old, () => 1);
      store.clock.ms += 2000;
      service.flush();
      await request().getOrSet(old, () => 2);
    } finally {
      unsubscribe(events.cacheRead.name, note);
      unsubscribe(events.cacheFactory.name, note);
    }
    const text = prometheusText(service.metrics());
    for (const line of [
      'portcullis_cache_reads_total{namespace="n",outcome="miss"} 1',
      'portcullis_cache_reads_total{namespace="n",outcome="memo"} 1',
      'portcullis_cache_reads_total{namespace="n",outcome="local"} 1',
      'portcullis_cache_reads_total{namespace="n",outcome="store"} 1',
      'portcullis_cache_reads_total{namespace="default",outcome="stale"} 1',
      'portcullis_cache_factory_calls_total{namespace="n",outcome="made"} 1',
      'portcullis_cache_factory_calls_total{namespace="default",outcome="failed"} 1',
    ]) {
      expect(text).to.include(line);
    }
    expect(said.map(withoutGate)).to.deep.include({ namespace: "n", outcome: "memo" });
    expect(text + JSON.stringify(said)).not.to.match(/-key/);
  });

  it("have a bounded number of labels", async () => {
    const { request, service } = openProcess();
    for (let index = 0; index < 500; index += 1) await request().namespace(`n${index}`).get("k");
    const namespaces = new Set(
      service.metrics().flatMap(({ samples }) => samples.map(({ labels }) => labels.namespace)),
    );
    expect(namespaces.size).to.be.at.most(101);
    expect(namespaces).to.include("other");
  });
});
