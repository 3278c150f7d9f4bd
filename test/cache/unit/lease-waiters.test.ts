import { expect } from "chai";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";
import { FakeCacheStore, openProcess } from "../support/cache-process.js";
import type { FakeProcess } from "../support/cache-process.js";

/** Here no lease runs out: the clock of the store stands still, and whoever waits hears of an hour. */
describe("a caller that waits for another process to make a value", () => {
  const open: FakeProcess[] = [];
  afterEach(async () => {
    await Promise.all(open.splice(0).map(async ({ service }) => service.close()));
  });

  function start(store?: FakeCacheStore): FakeProcess {
    const process = openProcess(store);
    open.push(process);
    return process;
  }

  /** A factory of another process that is at it, and does not come to an end before the test does. */
  async function hold({ request, store }: FakeProcess): Promise<(value: string) => void> {
    let finish: (value: string) => void = () => undefined;
    let begun = false;
    const made = request().getOrSet({ key: "k", hardTimeout: "1h" }, () => {
      begun = true;
      return new Promise<string>((resolve) => (finish = resolve));
    });
    made.catch(() => undefined);
    await until(() => begun);
    const lease = store.lease.bind(store);
    store.lease = async (...given) => {
      const { waitMs, value } = await lease(...given);
      return { waitMs: waitMs > 0 ? 3_600_000 : 0, value };
    };
    return finish;
  }

  it("does not wait for a lease whose reply was lost: it is given back until it is", async () => {
    const one = start();
    const other = start(one.store);
    const { store } = one;
    const withdraw = store.withdraw.bind(store);
    const lease = store.lease.bind(store);
    let attempts = 0;
    store.withdraw = async (...given) => {
      attempts += 1;
      if (attempts <= 3) throw new StoreFault("unreachable");
      return withdraw(...given);
    };
    store.lease = async (...given) => {
      await lease(...given);
      throw new StoreFault("timeout");
    };
    expect(await one.request().getOrSet({ key: "k" }, () => "made alone")).to.equal("made alone");
    store.lease = lease;
    expect(await other.request().getOrSet({ key: "k" }, () => "made")).to.equal("made");
    expect(attempts).to.be.above(3);
    expect(await one.request().get("k")).to.equal("made");
  });

  it("does not wait for a lease whose request arrives only after it was given back", async () => {
    const one = start();
    const other = start(one.store);
    const { store } = one;
    const lease = store.lease.bind(store);
    let arrive: () => Promise<unknown> = () => Promise.resolve();
    store.lease = (...given) => {
      arrive = async () => lease(...given);
      return Promise.reject(new StoreFault("timeout"));
    };
    expect(await one.request().getOrSet({ key: "k" }, () => "made alone")).to.equal("made alone");
    store.lease = lease;
    await arrive();
    expect(await other.request().getOrSet({ key: "k" }, () => "made")).to.equal("made");
  });

  it("does not wait for a lease whose end the store missed, and that no process extends any more", async () => {
    const one = start();
    const other = start(one.store);
    const { store } = one;
    const settle = store.endLease.bind(store);
    store.endLease = () => Promise.reject(new StoreFault("timeout"));
    expect(await one.request().getOrSet({ key: "k" }, () => "made")).to.equal("made");
    const waiting = other.request().getOrSet({ key: "k" }, () => "made by who waited");
    store.endLease = settle;
    expect(await waiting).to.equal("made by who waited");
  });

  it("does not wait for a process that is closed while it makes the value", async () => {
    const one = start();
    const other = start(one.store);
    await hold(one);
    const waiting = other.request().getOrSet({ key: "k", hardTimeout: "1h" }, () => "made by who waited");
    const { leases } = one.store;
    await until(() => one.store.leases > leases);
    await one.service.close();
    expect(await waiting).to.equal("made by who waited");
  });

  it("does not end the lease of another when it gives back its own", async () => {
    const { store } = start();
    await store.lease("k", "holder", 60_000);
    const process = start(store);
    const lease = store.lease.bind(store);
    let failed = 0;
    store.lease = async (...given) => {
      await lease(...given);
      failed += 1;
      throw new StoreFault("timeout");
    };
    await process.request().getOrSet({ key: "k" }, () => "alone");
    expect(failed).to.equal(1);
    expect(await store.extend("k", "holder", 60_000)).to.equal(true);
  });

  it("looks again, so that a lost message does not matter", async () => {
    const one = start();
    // Its channels are its own: it hears nothing of the others.
    const deaf = new FakeCacheStore();
    const finish = await hold(one);
    for (const name of ["getMany", "ensureGenerations", "lease", "endLease"] as const)
      deaf[name] = one.store[name].bind(one.store) as never;
    const lease = deaf.lease.bind(deaf);
    let asked = 0;
    deaf.lease = async (...given) => lease(...given).finally(() => (asked += 1));
    const waiting = start(deaf)
      .request()
      .getOrSet({ key: "k", hardTimeout: "1h" }, () => "made twice");
    await until(() => asked > 0);
    finish("made");
    expect(await waiting).to.equal("made");
  });

  it("notices that the store has gone, and makes the value: one for all in its process", async () => {
    const one = start();
    const other = start(one.store);
    const finish = await hold(one);
    let calls = 0;
    const waiting = Array.from({ length: 50 }, () =>
      other.request().getOrSet({ key: "k", hardTimeout: "1h" }, () => `made alone ${(calls += 1)}`),
    );
    // They wait, and would go on doing so.
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(calls).to.equal(0);
    one.store.goDown();
    expect(new Set(await Promise.all(waiting))).to.deep.equal(new Set(["made alone 1"]));
    finish("never mind");
  });

  it("gets the error of a bug in the store, and does not wait", async () => {
    const one = start();
    const other = start(one.store);
    await hold(one);
    const waiting = rejectionOf(other.request().getOrSet({ key: "k", hardTimeout: "1h" }, () => 1));
    await new Promise((resolve) => setTimeout(resolve, 400));
    one.store.failure = new TypeError("a bug");
    expect(await waiting).to.be.instanceOf(TypeError);
  });
});
