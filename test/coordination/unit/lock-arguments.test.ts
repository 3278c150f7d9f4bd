import { expect } from "chai";
import { LockWaiters } from "../../../packages/core/src/coordination/lock-waiters.js";
import { MemoryChannels } from "../../../packages/core/src/store/memory/channels.js";
import { MemoryLockStore } from "../../../packages/core/src/store/memory/locks.js";
import type { LockKeys } from "../../../packages/core/src/store/ports/locks.js";
import type { FakeGate } from "../../support/fake-gate.js";
import { openGate } from "../../support/fake-gate.js";
import { expectOptionError } from "../../support/option-error.js";
import { rejectionOf } from "../../support/rejection.js";

/** Values that callers without types may pass. */
type Loose = (...args: unknown[]) => Promise<unknown>;

async function refuses(call: Promise<unknown>, option: string, hint: string | RegExp): Promise<void> {
  const error = await rejectionOf(call);
  expectOptionError(
    () => {
      throw error;
    },
    option,
    hint,
  );
}

describe("arguments of locks and leaders", () => {
  let gate: FakeGate;
  let acquire: Loose;
  let tryAcquire: Loose;
  let using: Loose;
  beforeEach(() => {
    gate = openGate({});
    acquire = gate.locks.acquire.bind(gate.locks) as Loose;
    tryAcquire = gate.locks.tryAcquire.bind(gate.locks) as Loose;
    using = gate.locks.using.bind(gate.locks) as Loose;
  });

  it("are checked at once: leases and waits that are no durations, too short or too long", async () => {
    for (const lease of [0, -1, 1.5, Infinity, NaN, "", "10", "1.5s", "-1s", 99, "99ms", "25h", null, true, {}, []]) {
      await refuses(acquire("a", { lease }), "locks.acquire().lease", /duration|at least/);
      await refuses(tryAcquire("a", { lease }), "locks.tryAcquire().lease", /duration|at least/);
      await refuses(
        using("a", { lease }, () => 1),
        "locks.using().lease",
        /duration|at least/,
      );
      expectOptionError(() => gate.leader("a", { lease: lease as number }), "leader().lease", /duration|at least/);
    }
    for (const wait of [0, -1, 1.5, Infinity, NaN, "x", "25h"])
      await refuses(acquire("a", { wait }), "locks.acquire().wait", "duration");
    for (const maxHold of [0, Infinity, "8d"])
      await refuses(acquire("a", { maxHold }), "locks.acquire().maxHold", "duration");
    const lock = await gate.locks.acquire("a");
    const extend = lock.extend.bind(lock) as Loose;
    for (const lease of [0, -1, 1.5, Infinity, NaN, 99])
      await refuses(extend(lease), "lock.extend()", /duration|at least/);
    expect(lock.isHeld).to.equal(true);
  });

  it("are checked at once: names", async () => {
    for (const name of ["", null, undefined, 1, {}, Symbol("a"), () => "a", [], [""], [1], ["a", null], [["a"]]])
      await refuses(acquire(name), "locks.acquire()", /string|name/);
    const hole: string[] = [];
    hole[1] = "a";
    await refuses(acquire(hole), "locks.acquire()", "non-empty string");
    await refuses(acquire("x".repeat(20_000)), "locks.acquire()", "16384");
    const many = Array.from({ length: 17 }, (_, index) => String(index));
    await refuses(acquire(many), "locks.acquire()", "at most 16 names");
    for (const name of ["", null, undefined, 1, ["a"]])
      expectOptionError(() => gate.leader(name as string), "leader()", "string");
  });

  it("are checked at once: options that do not exist, signals and functions", async () => {
    await refuses(acquire("a", { leese: "1s" }), "locks.acquire().leese", "lease");
    await refuses(tryAcquire("a", { wait: "1s" }), "locks.tryAcquire().wait", "not an option");
    await refuses(acquire("a", "10s"), "locks.acquire()", "object");
    await refuses(acquire("a", { signal: {} }), "locks.acquire().signal", "AbortController");
    await refuses(acquire("a", { autoExtend: 1 }), "locks.acquire().autoExtend", "true or false");
    await refuses(using("a"), "locks.using()", "function");
    await refuses(using("a", {}), "locks.using()", "function");
    expectOptionError(() => gate.leader("a").run(1 as never), "leader.run()", "function");
    expectOptionError(() => gate.leader("a").on("elect" as never, () => undefined), "leader.on()", "elected");
    expectOptionError(() => gate.leader("a", { lease: "20s" }), "leader().lease", "earlier call");
    for (let index = 1; index < 100; index += 1) gate.leader(String(index));
    expectOptionError(() => gate.leader("one more"), "leader()", "at most 100");
  });
});

describe("the waiters of a process", () => {
  const keysOf = (...locks: string[]): LockKeys[] => locks.map((lock) => ({ lock, withdrawal: `${lock}:withdrawn` }));

  it("are bounded, and refused above that", () => {
    const waiters = new LockWaiters(new MemoryChannels());
    const all = Array.from({ length: 10_000 }, () => waiters.enter(keysOf("a", "b")));
    expect(() => waiters.enter(keysOf("c")))
      .to.throw()
      .with.property("code", "lock_overloaded");
    expect(all.filter((one) => waiters.isFirst(one))).to.deep.equal(all.slice(0, 1));
    for (const one of all) waiters.leave(one);
    expect(waiters.size).to.equal(0);
    expect(waiters.isFirst(waiters.enter(keysOf("a")))).to.equal(true);
  });

  it("wait for those before them only if they share a name", () => {
    const waiters = new LockWaiters(new MemoryChannels());
    const [ab, b, c, bc] = [["a", "b"], ["b"], ["c"], ["b", "c"]].map((locks) => waiters.enter(keysOf(...locks)));
    if (!ab || !b || !c || !bc) throw new Error("a waiter is missing");
    expect([ab, b, c, bc].map((one) => waiters.isFirst(one))).to.deep.equal([true, false, true, false]);
    waiters.leave(ab);
    waiters.leave(c);
    expect([b, bc].map((one) => waiters.isFirst(one))).to.deep.equal([true, false]);
    waiters.leave(b);
    expect(waiters.isFirst(bc)).to.equal(true);
  });
});

describe("the locks of a store in process", () => {
  it("do not grow with the names that were used", async () => {
    let now = 0;
    const store = new MemoryLockStore({ channels: new MemoryChannels(), now: () => now });
    for (let index = 0; index < 20_000; index += 1) {
      now += 1;
      const keys = [{ lock: `lock ${index}`, withdrawal: "" }];
      await store.take({ keys, owner: String(index), leaseMs: 100, waits: false });
    }
    expect(store.size).to.be.lessThan(2000);
  });

  it("fence higher after the wall clock went back", async () => {
    const store = new MemoryLockStore({ channels: new MemoryChannels() });
    const keys = [{ lock: "a", withdrawal: "" }];
    const fences: number[] = [];
    const { now } = Date;
    try {
      for (const clock of [2e12, 1e12, 1e12 + 1]) {
        Date.now = () => clock;
        const answer = await store.take({ keys, owner: "o", leaseMs: 100, waits: false });
        if ("fence" in answer) fences.push(answer.fence);
      }
    } finally {
      Date.now = now;
    }
    expect(fences).to.deep.equal([2e15, 2e15 + 1, 2e15 + 2]);
  });
});
