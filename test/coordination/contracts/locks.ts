import { getEventListeners } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { LockError, LockLostError } from "@portcullis/core";
import { expect } from "chai";
import type { FakeGate } from "../../support/fake-gate.js";
import { hostileIdentifiers } from "../../support/hostile.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";

/** Two gates of one service; in process, one gate twice. */
export interface LockRig {
  readonly one: FakeGate;
  readonly other: FakeGate;
}

/** The behaviour of locks and leaders, whatever their store. `open` is called for each test. */
export function describeLocks(open: () => LockRig | Promise<LockRig>): void {
  let one: FakeGate;
  let other: FakeGate;
  beforeEach(async () => {
    ({ one, other } = await open());
  });

  it("exclude a second holder, and fence each holder higher than the last", async () => {
    const fences: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      const lock = await (round % 2 === 0 ? one : other).locks.acquire("a");
      expect(lock).to.include({ isHeld: true });
      expect(await one.locks.tryAcquire("a")).to.equal(undefined);
      expect(await other.locks.tryAcquire("a")).to.equal(undefined);
      fences.push(lock.fence);
      expect(await lock.release()).to.equal(true);
      expect(await lock.release()).to.equal(false);
      expect(lock.isHeld).to.equal(false);
      expect(lock.signal.aborted).to.equal(false);
    }
    expect(fences).to.deep.equal([...new Set(fences)].sort((a, b) => a - b));
    expect(fences.every(Number.isSafeInteger)).to.equal(true);
  });

  it("are taken all or none, with one fence for all names", async () => {
    const names = ["b", "a", "c", "b"];
    const all = await one.locks.acquire(names);
    expect(all.names).to.deep.equal(["a", "b", "c"]);
    for (const name of ["a", "b", "c"]) expect(await other.locks.tryAcquire(name)).to.equal(undefined);
    await all.release();
    const c = await other.locks.acquire("c");
    expect(c.fence).to.be.greaterThan(all.fence);
    expect(await one.locks.tryAcquire(names)).to.equal(undefined);
    const a = await one.locks.tryAcquire("a");
    expect(a?.fence).to.be.greaterThan(all.fence);
    await a?.release();
    await c.release();
    await (await other.locks.acquire(names)).release();
  });

  it("wake a waiter when the holder gives the lock back, long before its lease ends", async () => {
    const lock = await one.locks.acquire("a", { lease: "1m" });
    const waiting = other.locks.acquire("a", { wait: "30s" });
    await sleep(30);
    const start = performance.now();
    await lock.release();
    const next = await waiting;
    expect(performance.now() - start).to.be.lessThan(5000);
    expect(next.fence).to.be.greaterThan(lock.fence);
    await next.release();
  });

  it("let callers of one process have their turns in order", async () => {
    const order: number[] = [];
    const first = await one.locks.acquire("a");
    const all = [1, 2, 3, 4, 5].map(async (index) => one.locks.using("a", () => void order.push(index)));
    await first.release();
    await Promise.all(all);
    expect(order).to.deep.equal([1, 2, 3, 4, 5]);
  });

  it("end a wait by its time or its signal, and leave nothing behind", async () => {
    const lock = await one.locks.acquire(["a", "b"]);
    const late = await rejectionOf(other.locks.acquire("a", { wait: 50 }));
    expect(late).to.be.instanceOf(LockError).and.to.include({ code: "lock_timeout", status: 503 });
    const abort = new AbortController();
    const aborted = other.locks.acquire(["a", "c"], { signal: abort.signal });
    abort.abort(new Error("left"));
    expect(await rejectionOf(aborted)).to.include({ message: "left" });
    expect(await rejectionOf(other.locks.acquire("c", { signal: abort.signal }))).to.include({ message: "left" });
    await lock.release();
    await until(async () => {
      const free = await one.locks.tryAcquire(["a", "b", "c"]);
      return (await free?.release()) === true;
    });
  });

  it("are free when the lease of a holder has ended, which then has lost them", async () => {
    const lock = await one.locks.acquire("a", { lease: 200, autoExtend: false });
    const next = await other.locks.acquire("a", { wait: "30s" });
    expect(next.fence).to.be.greaterThan(lock.fence);
    expect(lock).to.include({ isHeld: false });
    await until(() => lock.signal.aborted);
    expect(lock.signal.reason).to.be.instanceOf(LockLostError).and.to.include({ code: "lock_lost", reason: "expired" });
    expect(await rejectionOf(lock.extend())).to.be.instanceOf(LockLostError);
    expect(await lock.release()).to.equal(false);
    expect(next.isHeld).to.equal(true);
    expect(await one.locks.tryAcquire("a")).to.equal(undefined);
    await next.release();
  });

  it("are extended while they are held, up to maxHold", async () => {
    const lock = await one.locks.acquire("a", { lease: 150 });
    const short = await one.locks.acquire("b", { lease: 150, maxHold: 300 });
    const byHand = await one.locks.acquire("c", { lease: 100, autoExtend: false });
    await byHand.extend("1m");
    await until(() => short.signal.aborted);
    await sleep(300);
    expect(await other.locks.tryAcquire("a")).to.equal(undefined);
    expect(await other.locks.tryAcquire("c")).to.equal(undefined);
    expect(await lock.release()).to.equal(true);
    expect(await byHand.release()).to.equal(true);
    await (await other.locks.acquire(["a", "b", "c"])).release();
  });

  it("are extended automatically also after a longer lease that was asked for by hand has ended", async () => {
    const lock = await one.locks.acquire("a", { lease: 400 });
    await lock.extend(1000);
    await sleep(1700);
    expect(lock).to.include({ isHeld: true });
    expect(await other.locks.tryAcquire("a")).to.equal(undefined);
    expect(await lock.release()).to.equal(true);
  });

  it("leave one listener on a signal that many callers wait with, and none after that", async () => {
    const { signal } = new AbortController();
    const lock = await one.locks.acquire("a");
    const all = Array.from({ length: 20 }, async () => one.locks.using("a", { signal }, () => undefined));
    await sleep(10);
    expect(getEventListeners(signal, "abort")).to.have.lengthOf(1);
    await lock.release();
    await Promise.all(all);
    expect(getEventListeners(signal, "abort")).to.have.lengthOf(0);
  });

  it("are not called held if the answer comes after the lease", async () => {
    const attempt = one.locks.tryAcquire("a", { lease: 100 });
    await Promise.resolve();
    const end = performance.now() + 150;
    while (performance.now() < end);
    expect(await rejectionOf(attempt)).to.include({ code: "store_unavailable", kind: "timeout" });
    await (await other.locks.acquire("a")).release();
  });

  it("give the result of a function, its error, or the loss of the lock", async () => {
    expect(await one.locks.using("a", (signal, fence) => [signal.aborted, Number.isSafeInteger(fence)])).to.deep.equal([
      false,
      true,
    ]);
    const failure = new Error("of the function");
    const failing = one.locks.using("a", { lease: "5s" }, () => Promise.reject(failure));
    expect(await rejectionOf(failing)).to.equal(failure);
    const lost = one.locks.using("a", { lease: 100, autoExtend: false }, () => sleep(200, "done"));
    expect(await rejectionOf(lost)).to.be.instanceOf(LockLostError);
    const disposed = await other.locks.acquire("a");
    await disposed[Symbol.asyncDispose]();
    expect(disposed.isHeld).to.equal(false);
    await (await one.locks.acquire("a")).release();
  });

  it("are not reentrant", async () => {
    await one.locks.using("a", async () => {
      expect(await rejectionOf(one.locks.acquire("a", { wait: 30 }))).to.include({ code: "lock_timeout" });
    });
  });

  it("take any name, and keep different names apart", async () => {
    const names = [...hostileIdentifiers, "x".repeat(10_240), "\ud800", "\udfff", "\ufffd"].filter(
      (name) => name !== "",
    );
    const locks = await Promise.all([...new Set(names)].map(async (name) => one.locks.tryAcquire(name)));
    expect(locks.filter((lock) => lock === undefined)).to.deep.equal([]);
    expect(await other.locks.tryAcquire("__proto__")).to.equal(undefined);
    await Promise.all(locks.map(async (lock) => lock?.release()));
  });

  it("lose no increment of a counter that is read and written apart", async () => {
    let count = 0;
    async function increment(gate: FakeGate): Promise<void> {
      await gate.locks.using("counter", { wait: "30s" }, async () => {
        const read = count;
        await new Promise((resolve) => setImmediate(resolve));
        count = read + 1;
      });
    }
    await Promise.all(Array.from({ length: 60 }, (_, index) => increment(index % 2 === 0 ? one : other)));
    expect(count).to.equal(60);
  });

  it("elect one leader, which resigns to the other", async () => {
    const told: string[] = [];
    const leader = one.leader("l", { lease: "2s" });
    const fences: number[] = [];
    leader.on("elected", ({ fence }) => told.push(`elected ${fences.push(fence)}`));
    leader.on("lost", ({ reason }) => told.push(`lost ${reason}`));
    expect(leader).to.include({ isLeader: false, fence: undefined, signal: undefined });
    let signal: AbortSignal | undefined;
    leader.run((own) => {
      signal = own;
      return new Promise<void>((resolve) => own.addEventListener("abort", () => resolve()));
    });
    await until(() => leader.isLeader);
    expect(leader.signal).to.equal(signal);
    const rival = other.leader("l", { lease: "2s" });
    if (rival !== leader) {
      rival.start();
      await sleep(100);
      expect(rival.isLeader).to.equal(false);
    }
    await leader.resign();
    expect(signal?.aborted).to.equal(true);
    expect(told).to.deep.equal(["elected 1", "lost released"]);
    await until(() => rival.isLeader);
    expect(rival.fence).to.be.greaterThan(fences[0] ?? Infinity);
    await rival.close();
    expect(rival.isLeader).to.equal(false);
    expect(() => rival.start()).to.throw("closed");
    if (rival !== leader) {
      await until(() => leader.isLeader);
      await leader.close();
    }
  });

  it("let a leader resign whose function fails", async () => {
    const leader = one.leader("failing", { lease: 100 });
    const fences: number[] = [];
    leader.run((_signal, fence) => {
      fences.push(fence);
      return Promise.reject(new Error("of the function"));
    });
    await until(() => fences.length >= 2);
    await leader.close();
    expect(fences[1]).to.be.greaterThan(fences[0] ?? Infinity);
  });

  it("let a function of a leader wait for the resignation, and hand over when the function has ended", async () => {
    for (const delay of [undefined, 10]) {
      const leader = one.leader(`own ${delay}`, { lease: "30s" });
      let [resigned, ended] = [false, false];
      leader.run(async () => {
        if (delay !== undefined) await sleep(delay);
        await leader.resign();
        resigned = true;
        await sleep(100);
        ended = true;
      });
      await until(() => resigned);
      // Another call waits, also where it comes later.
      await leader.resign();
      expect(ended).to.equal(true);
      await leader.close();
      const next = other.leader(`own ${delay}`, { lease: "20s" });
      next.start();
      await until(() => next.isLeader);
      await next.close();
    }
  });

  it("call a function once in a term, also if a listener or another function has passed it to run()", async () => {
    const leader = one.leader("once", { lease: "30s" });
    const calls: string[] = [];
    const stop = leader.on("elected", () => leader.run(() => calls.push("of the listener")));
    leader.run(() => {
      calls.push("first");
      leader.run(() => calls.push("of the function"));
    });
    await until(() => leader.isLeader);
    stop();
    expect(calls.sort()).to.deep.equal(["first", "of the function", "of the listener"]);
    await leader.close();
  });

  it("call no function after a listener has resigned", async () => {
    const leader = one.leader("early", { lease: "30s" });
    let calls = 0;
    leader.on("elected", () => void leader.resign());
    const lost = new Promise((resolve) => leader.on("lost", resolve));
    leader.run(() => (calls += 1));
    await lost;
    await leader.close();
    expect(calls).to.equal(0);
  });
}
