import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { expect } from "chai";
import { events } from "../../../packages/core/src/telemetry/events.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { rejectionOf } from "../../support/rejection.js";
import { FakeCacheStore, openProcess } from "../support/cache-process.js";
import { withoutGate } from "../../support/without-gate.js";

describe("while the store is away", () => {
  it("reads are misses, writes do nothing, factories run, and each is said once", async () => {
    const { store, request } = openProcess();
    await request().set("k", "kept");
    store.goDown();
    const said: unknown[] = [];
    const note = (message: unknown): void => void said.push(message);
    subscribe(events.degraded.name, note);
    try {
      const cache = request();
      expect([await cache.get("k"), await cache.has("k"), await cache.getMany(["k", "l"])]).to.deep.equal([
        undefined,
        false,
        [undefined, undefined],
      ]);
      await cache.set("k", "mine");
      expect(await cache.get("k")).to.equal("mine");
      expect(await request().getOrSet({ key: "k" }, () => "made")).to.equal("made");
    } finally {
      unsubscribe(events.degraded.name, note);
    }
    expect(said.length).to.be.within(3, 6);
    for (const message of said)
      expect(withoutGate(message)).to.deep.equal({
        part: "cache",
        policy: "allow",
        fault: "unreachable",
        outcome: "allowed",
      });
    store.comeBack();
    expect(await request().get("k")).to.equal("kept");
  });

  it("an error that is no fault of the store is a bug, and thrown", async () => {
    const { store, request } = openProcess();
    store.failure = new TypeError("a bug");
    for (const attempt of [
      request().get("k"),
      request().set("k", 1),
      request().delete("k"),
      request().getOrSet({ key: "k" }, () => 1),
    ]) {
      expect(await rejectionOf(attempt))
        .to.be.instanceOf(TypeError)
        .and.to.include({ message: "a bug" });
    }
  });
});

describe("a deletion that the store missed", () => {
  async function missedDeletion() {
    const process = openProcess();
    await process.request().set("k", "stale");
    process.store.goDown();
    const error = await rejectionOf(process.request().delete("k"));
    expect(error).to.be.instanceOf(StoreFault).and.to.include({ status: 503 });
    return process;
  }

  it("is never silent, and the entry is gone for this process, also when the store is back", async () => {
    const { store, request } = await missedDeletion();
    expect(await request().get("k")).to.equal(undefined);
    store.comeBack();
    for (let round = 0; round < 3; round += 1) {
      expect([await request().get("k"), await request().has("k"), await request().getMany(["k"])]).to.deep.equal([
        undefined,
        false,
        [undefined],
      ]);
    }
  });

  it("is over when the entry is written again", async () => {
    const { store, request } = await missedDeletion();
    store.comeBack();
    await request().set("k", "fresh");
    expect(await request().get("k")).to.equal("fresh");
  });

  it("is over when getOrSet makes it again", async () => {
    const { store, request } = await missedDeletion();
    store.comeBack();
    expect(await request().getOrSet({ key: "k" }, () => "made")).to.equal("made");
    expect(await request().get("k")).to.equal("made");
  });

  it("is not over by a write that the store missed as well", async () => {
    const { store, request } = await missedDeletion();
    await request().set("k", "lost");
    await request().getOrSet({ key: "k" }, () => "lost too");
    store.comeBack();
    expect(await request().get("k")).to.equal(undefined);
  });

  it("is complete when a repetition succeeds: later writes of others are visible", async () => {
    const { store, request } = await missedDeletion();
    store.comeBack();
    await request().delete("k");
    await openProcess(store).request().set("k", "of another process");
    expect(await request().get("k")).to.equal("of another process");
  });

  it("is not undone by a write that was on its way before it", async () => {
    const { store, request } = openProcess();
    let arrive = (): void => undefined;
    store.writesWait = new Promise((resolve) => (arrive = resolve));
    const write = request().set("k", "before");
    store.goDown();
    expect(await rejectionOf(request().delete("k"))).to.be.instanceOf(StoreFault);
    store.comeBack();
    arrive();
    await write;
    expect(await request().get("k")).to.equal(undefined);
  });

  it("of the entry of one user does not affect another user", async () => {
    const { store, request } = openProcess(new FakeCacheStore());
    for (const name of ["alice", "bob"]) await request(name).forUser().set("k", name);
    store.goDown();
    await rejectionOf(request("alice").forUser().delete("k"));
    store.comeBack();
    expect(await request("alice").forUser().get("k")).to.equal(undefined);
    expect(await request("bob").forUser().get("k")).to.equal("bob");
  });
});
