import { expect } from "chai";
import { CacheTimeout } from "../../../packages/core/src/index.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";
import { openProcess } from "../support/cache-process.js";

/** A factory that counts its calls, and answers when told to. */
function openFactory() {
  const calls: { resolve: (value: unknown) => void; reject: (error: Error) => void; signal: AbortSignal }[] = [];
  const factory = ({ signal }: { signal: AbortSignal }): Promise<unknown> =>
    new Promise((resolve, reject) => void calls.push({ resolve, reject, signal }));
  return { calls, factory };
}

describe("a value past its ttl", () => {
  const options = { key: "k", ttl: "10s", grace: "60s" } as const;

  async function stale(more: object = {}) {
    const process = openProcess();
    await process.request().getOrSet({ ...options, ...more }, () => "old");
    process.store.clock.ms += 11_000;
    return process;
  }

  it("is the answer while no new one can be made, for as long as its grace", async () => {
    const { request, store } = await stale();
    const failing = (): never => {
      throw new Error("the source is down");
    };
    expect(await request().getOrSet(options, failing)).to.equal("old");
    expect(await request().get("k")).to.equal(undefined);
    store.clock.ms += 60_000;
    expect(await rejectionOf(request().getOrSet(options, failing))).to.be.instanceOf(Error);
  });

  it("is replaced if a new one can be made, and shown to its factory", async () => {
    const { request } = await stale();
    expect(await request().getOrSet<string>(options, ({ stale: old }) => `after ${old}`)).to.equal("after old");
    expect(await request().get("k")).to.equal("after old");
  });

  it("is the answer at once with swr, while one new value is made", async () => {
    const { request } = await stale();
    const { calls, factory } = openFactory();
    const answers = Array.from({ length: 20 }, () => request().getOrSet({ ...options, swr: true }, factory));
    expect(new Set(await Promise.all(answers))).to.deep.equal(new Set(["old"]));
    await until(() => calls.length > 0);
    calls[0]?.resolve("new");
    await until(async () => (await request().get("k")) === "new");
    expect(calls).to.have.length(1);
  });

  it("is the answer after the soft time-out, and the new one is kept when it comes", async () => {
    const { request } = await stale();
    const { calls, factory } = openFactory();
    expect(await request().getOrSet({ ...options, timeout: 20 }, factory)).to.equal("old");
    expect(calls[0]?.signal.aborted).to.equal(false);
    calls[0]?.resolve("new");
    await until(async () => (await request().get("k")) === "new");
  });

  it("is the answer when the factory hangs beyond the hard time-out", async () => {
    const { request } = await stale();
    const { calls, factory } = openFactory();
    expect(await request().getOrSet({ ...options, hardTimeout: 30 }, factory)).to.equal("old");
    expect(calls[0]?.signal.aborted).to.equal(true);
  });
});

describe("a factory", () => {
  it("that hangs is given up, its lease too, and the next call tries anew", async () => {
    const { request } = openProcess();
    const { calls, factory } = openFactory();
    const waiting = Array.from({ length: 10 }, () =>
      rejectionOf(request().getOrSet({ key: "k", hardTimeout: 40 }, factory)),
    );
    for (const fault of await Promise.all(waiting)) {
      expect(fault).to.be.instanceOf(CacheTimeout).and.to.include({ code: "cache_timeout", status: 503 });
    }
    expect([calls.length, calls[0]?.signal.aborted]).to.deep.equal([1, true]);
    expect(await request().getOrSet({ key: "k", hardTimeout: 1000 }, () => "made")).to.equal("made");
    calls[0]?.resolve("too late");
    await new Promise((resolve) => setImmediate(resolve));
    expect(await request().get("k")).to.equal("made");
  });

  it("that never settles extends no lease once it is given up", async function () {
    this.timeout(10_000);
    const { request, store } = openProcess();
    let extended = 0;
    store.extend = () => {
      extended += 1;
      return Promise.resolve(true);
    };
    const hang = (): Promise<never> => new Promise(() => undefined);
    expect(await rejectionOf(request().getOrSet({ key: "k", hardTimeout: 1300 }, hang))).to.be.instanceOf(CacheTimeout);
    expect(extended).to.equal(1);
    await new Promise((resolve) => setTimeout(resolve, 1300));
    expect(extended).to.equal(1);
  });

  it("that asks for its own key ends with the hard time-out", async () => {
    const { request } = openProcess();
    const [one, other] = [request(), request()];
    const hard = { hardTimeout: 50 } as const;
    const inner = (): Promise<string> => other.getOrSet({ key: "k", ...hard }, () => "never");
    expect(await rejectionOf(one.getOrSet({ key: "k", ...hard }, inner))).to.be.instanceOf(CacheTimeout);
  });

  it("of two that wait for each other ends with the hard time-out", async () => {
    const { request } = openProcess();
    const hard = { hardTimeout: 50 } as const;
    const ask = (key: string, then: string): Promise<unknown> =>
      request().getOrSet({ key, ...hard }, () => request().getOrSet({ key: then, ...hard }, () => ask(key, then)));
    const faults = await Promise.all([rejectionOf(ask("a", "b")), rejectionOf(ask("b", "a"))]);
    expect(faults.every((fault) => fault instanceof CacheTimeout)).to.equal(true);
  });

  it("goes on while one of its requests does, and is aborted with the last", async () => {
    const { request } = openProcess();
    const { calls, factory } = openFactory();
    const [first, second] = [new AbortController(), new AbortController()];
    const answers = [first, second].map(({ signal }) =>
      rejectionOf(request(undefined, signal).getOrSet({ key: "k" }, factory)),
    );
    await until(() => calls.length === 1);
    first.abort();
    expect(calls[0]?.signal.aborted).to.equal(false);
    second.abort();
    expect(calls[0]?.signal.aborted).to.equal(true);
    for (const fault of await Promise.all(answers)) expect(fault).to.include({ name: "AbortError" });
    expect(await request().getOrSet({ key: "k" }, () => "made")).to.equal("made");
  });

  it("serves the requests that go on when the request that began it ends", async () => {
    const { request } = openProcess();
    const { calls, factory } = openFactory();
    const leader = new AbortController();
    const begun = request(undefined, leader.signal).getOrSet({ key: "k" }, factory);
    await until(() => calls.length === 1);
    const waiting = request().getOrSet({ key: "k" }, factory);
    await new Promise((resolve) => setTimeout(resolve, 5));
    leader.abort();
    calls[0]?.resolve("made");
    expect(await Promise.all([begun, waiting])).to.deep.equal(["made", "made"]);
    expect(calls).to.have.length(1);
  });

  it("is not waited for by a call whose own signal is aborted", async () => {
    const { request } = openProcess();
    const { calls, factory } = openFactory();
    const own = new AbortController();
    const impatient = rejectionOf(request().getOrSet({ key: "k", signal: own.signal }, factory));
    const patient = request().getOrSet({ key: "k" }, factory);
    await until(() => calls.length === 1);
    own.abort(new RangeError("enough"));
    expect(await impatient).to.be.instanceOf(RangeError);
    calls[0]?.resolve("made");
    expect(await patient).to.equal("made");
    expect(await rejectionOf(request().getOrSet({ key: "l", signal: own.signal }, factory))).to.be.instanceOf(
      RangeError,
    );
    expect(calls).to.have.length(1);
  });
});

describe("forceFresh", () => {
  it("makes a new value, which an older making does not overwrite", async () => {
    const { request } = openProcess();
    const { calls, factory } = openFactory();
    const older = request().getOrSet({ key: "k" }, factory);
    await until(() => calls.length === 1);
    expect(await request().getOrSet({ key: "k", forceFresh: true }, () => "new")).to.equal("new");
    calls[0]?.resolve("old");
    expect(await older).to.equal("old");
    expect(await request().get("k")).to.equal("new");
    const cache = request();
    await cache.get("k");
    expect(await cache.getOrSet({ key: "k", forceFresh: true }, () => "newer")).to.equal("newer");
    expect(await cache.get("k")).to.equal("newer");
  });
});

describe("a missing value", () => {
  it("is remembered for negativeTtl", async () => {
    const { request, store } = openProcess();
    let calls = 0;
    for (const nothing of [undefined, null]) {
      calls = 0;
      const ask = (): Promise<unknown> =>
        request().getOrSet({ key: `k ${nothing}`, ttl: "1h", negativeTtl: "5s" }, () => ((calls += 1), nothing));
      expect([await ask(), await ask(), calls]).to.deep.equal([nothing, nothing, 1]);
      expect(await request().has(`k ${nothing}`)).to.equal(nothing === null);
      store.clock.ms += 5001;
      await ask();
      expect(calls).to.equal(2);
    }
  });
});

describe("the time that a value is fresh", () => {
  it("is shortened by jitter, differently each time", async () => {
    const { request, store } = openProcess();
    for (let index = 0; index < 50; index += 1) await request().set(`k${index}`, 1, { ttl: 10_000, jitter: 0.5 });
    const ttls = store.written.map(({ ttlMs }) => ttlMs);
    expect(Math.min(...ttls)).to.be.at.least(5000);
    expect(Math.max(...ttls)).to.be.at.most(10_000);
    expect(new Set(ttls).size).to.be.above(40);
  });

  it("ends early: one call runs in the background, and all callers get the stored value", async () => {
    const { request, store } = openProcess();
    const options = { key: "k", ttl: "10s", earlyRefresh: 0.8 } as const;
    await request().getOrSet(options, () => "old");
    const { calls, factory } = openFactory();
    store.clock.ms += 7000;
    expect(await request().getOrSet(options, factory)).to.equal("old");
    store.clock.ms += 1500;
    const answers = await Promise.all(Array.from({ length: 10 }, () => request().getOrSet(options, factory)));
    expect(new Set(answers)).to.deep.equal(new Set(["old"]));
    await until(() => calls.length > 0);
    calls[0]?.resolve("new");
    await until(async () => (await request().get("k")) === "new");
    expect(calls).to.have.length(1);
  });
});

describe("options of getOrSet that mean nothing", () => {
  const wrong: readonly object[] = [
    { swr: true },
    { swr: 1, grace: "1m" },
    { timeout: "1s" },
    { hardTimeout: 0 },
    { jitter: 1 },
    { jitter: -0.1 },
    { earlyRefresh: 0 },
    { earlyRefresh: 1 },
    { grace: "x" },
    { negativeTtl: -1 },
    { tags: "a" },
    { tags: [""] },
    { tags: [1] },
    { tags: Array.from({ length: 65 }, String) },
  ];
  for (const options of wrong) {
    it(`reject, and nothing is made: ${JSON.stringify(options).slice(0, 60)}`, async () => {
      let calls = 0;
      const { request } = openProcess();
      const fault = await rejectionOf(request().getOrSet({ key: "k", ...options }, () => (calls += 1)));
      expect(fault instanceof TypeError || fault instanceof RangeError).to.equal(true);
      expect(calls).to.equal(0);
    });
  }
});
