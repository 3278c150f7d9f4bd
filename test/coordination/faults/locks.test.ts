import { setTimeout as sleep } from "node:timers/promises";
import { startProxy, startRedis } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { LockLostError, StoreFault } from "@portcullis/core";
import { expect } from "chai";
import { Redis } from "ioredis";
import type { FakeGate, FakeOptions } from "../../support/fake-gate.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";

/** A key outlives the lease by so long. */
const fenceMs = 86_400_000;

describe("locks on a bad day of Redis", function () {
  this.timeout(30_000);
  let server: RedisServer;
  let proxy: Proxy;
  let admin: Redis;
  let prefixes = 0;

  before(async () => {
    server = await startRedis({ config: { appendonly: "yes", appendfsync: "always" } });
    proxy = await startProxy(server);
    admin = new Redis(server.url, { retryStrategy: () => 50 });
    admin.on("error", () => undefined);
  });
  after(async () => {
    admin.disconnect();
    await proxy.close();
    await server.stop();
  });
  beforeEach(() => void (prefixes += 1));
  afterEach(() => {
    proxy.thaw();
    proxy.mode = "pass";
    proxy.cutAfter("");
    server.resume();
  });

  /** A gate through the proxy, or straight at the server. */
  async function open(more: Partial<FakeOptions> = {}): Promise<FakeGate> {
    const gate = openGate({ redis: proxy.url, service: "s", prefix: `locks-${prefixes}:`, deadline: 200, ...more });
    await until(async () => (await gate.locks.tryAcquire("warm").catch(() => undefined))?.release() ?? false);
    return gate;
  }

  /** The keys of the locks that are held. The examination of a gate takes a key of its own for a moment. */
  async function lockKeys(): Promise<string[]> {
    const keys = await admin.keys(`locks-${prefixes}:*:lock:*`);
    const values = await Promise.all(keys.map(async (key) => (key.includes(":withdrawn:") ? "" : admin.get(key))));
    return keys.filter((_, index) => /^\d+:[^:]/.test(values[index] ?? ""));
  }

  async function serverMicros(): Promise<number> {
    const [seconds, micros] = await admin.time();
    return Number(seconds) * 1e6 + Number(micros);
  }

  it("are refused at once while Redis does not answer, and no function runs", async () => {
    const gate = await open();
    proxy.mode = "refuse";
    proxy.reset();
    let ran = false;
    for (let attempt = 0; attempt < 12; attempt += 1) {
      const start = performance.now();
      const fault = await rejectionOf(gate.locks.using("a", { wait: "20s" }, () => void (ran = true)));
      expect(fault).to.be.instanceOf(StoreFault).and.to.include({ status: 503 });
      expect(await rejectionOf(gate.locks.tryAcquire("a"))).to.be.instanceOf(StoreFault);
      expect(performance.now() - start).to.be.lessThan(4000);
    }
    expect(ran).to.equal(false);
    expect(gate.health()).to.deep.include({ status: "down" });
    expect(gate.health().store.findings).to.include("locks fail");
    proxy.mode = "pass";
    await until(async () => (await gate.locks.tryAcquire("a").catch(() => undefined))?.release() ?? false);
    expect(gate.health().store.findings).to.deep.equal([]);
  });

  it("leave nothing behind where the reply to a take is lost", async () => {
    const gate = await open();
    proxy.cutAfter(":lock:");
    expect(await rejectionOf(gate.locks.acquire(["a", "b"], { lease: "1m" }))).to.be.instanceOf(StoreFault);
    expect(proxy.cuts).to.be.greaterThan(0);
    proxy.cutAfter("");
    await until(async () => (await lockKeys()).length === 0);
    const other = await open({ redis: server.url });
    await (await other.locks.acquire(["a", "b"], { wait: "5s" })).release();
  });

  it("leave nothing behind where a take reaches Redis long after its caller gave up", async () => {
    const gate = await open();
    proxy.strand(":lock:");
    expect(await rejectionOf(gate.locks.acquire("a", { lease: "1m" }))).to.be.instanceOf(StoreFault);
    expect(proxy.stranded).to.equal(1);
    proxy.strand("");
    await until(async () => (await admin.keys(`locks-${prefixes}:*withdrawn*`)).length > 0);
    await proxy.deliver();
    expect(await lockKeys()).to.deep.equal([]);
    // Other calls are not delayed by the note, and keep it.
    const other = await open({ redis: server.url });
    for (const names of ["a", ["a", "b"]]) {
      const lock = await other.locks.tryAcquire(names);
      expect(lock?.isHeld).to.equal(true);
      await lock?.extend();
      expect(await lock?.release()).to.equal(true);
      const [key = ""] = await admin.keys(`locks-${prefixes}:*:lock:*:a`);
      expect(Number((await admin.get(key))?.split(":")[2])).to.be.within(
        await serverMicros(),
        (await serverMicros()) + 6e7,
      );
    }
  });

  it("leave nothing behind where Redis stood still", async () => {
    const gate = await open();
    server.pause();
    const fault = await rejectionOf(gate.locks.acquire("a", { lease: "1m" }));
    expect(fault).to.be.instanceOf(StoreFault);
    server.resume();
    await until(async () => (await lockKeys()).length === 0);
    await until(async () => (await gate.locks.tryAcquire("a").catch(() => undefined))?.release() ?? false);
  });

  it("are given back although the reply is lost, or Redis is away for a moment", async () => {
    const gate = await open();
    const [one, two] = [await gate.locks.acquire("a", { lease: "1m" }), await gate.locks.acquire("b", { lease: "1m" })];
    proxy.cutAfter(":lock:");
    expect(await one.release()).to.equal(true);
    proxy.cutAfter("");
    proxy.mode = "refuse";
    proxy.reset();
    expect(await two.release()).to.equal(true);
    proxy.mode = "pass";
    await until(async () => (await lockKeys()).length === 0);
  });

  it("are lost before their lease ends in Redis, while Redis does not answer", async () => {
    const gate = await open();
    const lock = await gate.locks.acquire("a", { lease: "1s" });
    const key = (await lockKeys())[0] ?? "";
    const lostAt = new Promise<number>((resolve) =>
      lock.signal.addEventListener("abort", () => resolve(performance.now())),
    );
    proxy.freeze();
    // The server itself goes on, and says when the lease ends.
    const endsAt = performance.now() + (await admin.pttl(key)) - fenceMs;
    expect(await lostAt).to.be.lessThan(endsAt + 50);
    expect(lock.signal.reason).to.be.instanceOf(LockLostError).and.to.include({ reason: "expired" });
    expect(lock.isHeld).to.equal(false);
  });

  it("survive an outage that is shorter than the lease", async () => {
    const gate = await open();
    const lock = await gate.locks.acquire("a", { lease: "3s" });
    proxy.mode = "refuse";
    proxy.reset();
    await sleep(1200);
    proxy.mode = "pass";
    await sleep(2500);
    expect(lock.isHeld).to.equal(true);
    expect(await lock.release()).to.equal(true);
  });

  it("are lost when Redis has lost them", async () => {
    const gate = await open();
    const lock = await gate.locks.acquire(["a", "b"], { lease: 300 });
    await admin.del(...(await lockKeys()).slice(0, 1));
    await until(() => lock.signal.aborted);
    expect(lock.signal.reason).to.include({ reason: "taken" });
    expect(await lock.release()).to.equal(false);
    const lost = gate.locks.using("c", { lease: "1m" }, async () => admin.del(...(await lockKeys())));
    expect(await rejectionOf(lost))
      .to.be.instanceOf(LockLostError)
      .and.to.include({ reason: "taken" });
  });

  it("are given back where Redis has lost one of several names", async () => {
    const gate = await open();
    const lock = await gate.locks.acquire(["a", "b"], { lease: "1m" });
    const [lost] = (await lockKeys()).sort();
    await admin.del(lost ?? "");
    expect(await rejectionOf(lock.extend())).to.include({ code: "lock_lost", reason: "taken" });
    // The other name is protected while its holder winds up.
    expect(await lockKeys()).to.have.lengthOf(1);
    expect(await lock.release()).to.equal(false);
    await until(async () => (await lockKeys()).length === 0);
  });

  it("are refused, and not called held, by a gate that closes meanwhile", async () => {
    const gate = await open();
    const calls = [gate.locks.tryAcquire("a"), gate.locks.acquire("b")].map(rejectionOf);
    await gate.close();
    for (const error of await Promise.all(calls)) expect(error).to.include({ code: "lock_closed" });
    await until(async () => (await lockKeys()).length === 0);
  });

  it("of another owner are neither extended nor given back", async () => {
    const gate = await open();
    const lock = await gate.locks.acquire("a", { lease: "1m" });
    const key = (await lockKeys())[0] ?? "";
    const others = `${lock.fence + 1}:somebody-else:`;
    await admin.set(key, others, "PX", fenceMs + 60_000);
    expect(await rejectionOf(lock.extend()))
      .to.be.instanceOf(LockLostError)
      .and.to.include({ reason: "taken" });
    expect(await lock.release()).to.equal(false);
    expect(await admin.get(key)).to.equal(others);
    expect(await gate.locks.tryAcquire("a")).to.equal(undefined);
    // A lease that ends too late, since the clock of Redis went back, or that has no end, ends after the lease of the next caller.
    for (const late of [["PX", fenceMs + 1e9] as const, []]) {
      await admin.set(key, `${lock.fence + 1}:somebody-else:`, ...(late as ["PX", number]));
      expect(await gate.locks.tryAcquire("a", { lease: 100 })).to.equal(undefined);
      const next = await gate.locks.acquire("a");
      expect(next.fence).to.be.greaterThan(lock.fence + 1);
      expect(await admin.pttl(key)).to.be.within(fenceMs, fenceMs + 10_000);
      await next.release();
    }
  });

  it("of a day are not cut short by callers with a shorter lease where the clock of Redis went back a little", async () => {
    const gate = await open();
    const lock = await gate.locks.acquire("a", { lease: "1d" });
    const [key = ""] = await lockKeys();
    // So it looks where the clock went back by two seconds.
    await admin.pexpire(key, 2 * 86_400_000 + 2000);
    const before = await admin.get(key);
    expect(await gate.locks.tryAcquire("a", { lease: 100 })).to.equal(undefined);
    expect(await admin.get(key)).to.equal(before);
    expect(await admin.pttl(key)).to.be.greaterThan(2 * 86_400_000);
    expect(await lock.release()).to.equal(true);
  });

  it("fence higher after a restart of Redis, and after its clock went back as far as it remembers", async () => {
    const gate = await open();
    const lock = await gate.locks.acquire("a");
    await lock.release();
    const [fenceKey = ""] = await admin.keys(`locks-${prefixes}:*:lock:*:a`);
    const ahead = lock.fence + 3_600_000_000;
    await admin.set(fenceKey, String(ahead), "KEEPTTL");
    expect(await admin.pttl(fenceKey)).to.be.greaterThan(86_400_000);
    await server.restart();
    let next: number | undefined;
    await until(async () => {
      const again = await gate.locks.tryAcquire("a").catch(() => undefined);
      next = again?.fence;
      return (await again?.release()) === true;
    });
    expect(next).to.equal(ahead + 1);
    for (const garbage of [
      "",
      "x",
      "-1",
      "1e99",
      "9007199254740993",
      "nan",
      "0x10",
      " 1",
      "1:",
      "1:a",
      "1:a:b",
      "1:a:::",
      "1:a:b:c:",
      "x:a:",
    ]) {
      await admin.set(fenceKey, garbage);
      for (const names of ["a", ["a", "b"], ["b", "a"]])
        expect(await rejectionOf(gate.locks.acquire(names)), garbage).to.be.instanceOf(StoreFault);
      expect(await admin.get(fenceKey)).to.equal(garbage);
    }
    await admin.del(fenceKey);
    await admin.rpush(fenceKey, "a list");
    expect(await rejectionOf(gate.locks.acquire(["a", "b"]))).to.be.instanceOf(StoreFault);
    await admin.del(fenceKey);
    expect(await lockKeys()).to.deep.equal([]);
  });

  it("wake waiters by the end of a lease where no message arrives", async () => {
    const [gate, other] = [await open(), await open({ redis: server.url })];
    const lock = await other.locks.acquire("a", { lease: "2s", autoExtend: false });
    const waiting = gate.locks.acquire("a", { wait: "20s" });
    await until(async () => ((await admin.get((await lockKeys())[0] ?? "")) ?? "").includes("+"));
    await admin.call("CLIENT", "KILL", "TYPE", "pubsub");
    const next = await waiting;
    expect(next.fence).to.be.greaterThan(lock.fence);
    await next.release();
  });

  it("refuse with the word of a server that takes no writes", async () => {
    const gate = await open({ redis: server.url });
    const lock = await gate.locks.acquire("held", { lease: "1m" });
    await admin.config("SET", "maxmemory", "1");
    try {
      expect(await rejectionOf(gate.locks.acquire("a"))).to.include({ kind: "refused", reply: "OOM" });
    } finally {
      await admin.config("SET", "maxmemory", "0");
    }
    await gate.locks.acquire("a").then((free) => free.release());
    expect(await lock.release()).to.equal(true);
  });

  it("are given up by a gate that closes, with their signals, within a second", async () => {
    const gate = await open();
    const other = await open({ redis: server.url });
    const lock = await gate.locks.acquire("kept", { lease: "2s" });
    const orderly = gate.locks.using("orderly", { lease: "1m" }, (signal) => {
      return new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    });
    const blocker = await other.locks.acquire("blocked", { lease: "1m" });
    const waiting = rejectionOf(gate.locks.acquire("blocked"));
    const leader = gate.leader("l", { lease: "1m" });
    leader.start();
    await until(() => leader.isLeader);
    const rival = other.leader("l", { lease: "1m" });
    rival.start();
    const start = performance.now();
    await gate.close();
    expect(performance.now() - start).to.be.lessThan(3000);
    expect(lock.signal.reason).to.include({ reason: "closed" });
    expect(await waiting).to.include({ code: "lock_closed" });
    await orderly;
    await until(() => rival.isLeader);
    expect(await rejectionOf(gate.locks.acquire("x"))).to.include({ code: "lock_closed" });
    // The holder that did not react may still be at work.
    expect(await other.locks.tryAcquire("kept")).to.equal(undefined);
    await (await other.locks.acquire("orderly")).release();
    await blocker.release();
  });

  it("make a process unready during an outage only where they are used", async () => {
    const gate = openGate({ redis: "redis://127.0.0.1:1", service: "s", deadline: 50 });
    const ready = async (): Promise<number> => {
      const verdict = await gate.routes.health().check(fakeExchange({ url: "/readyz" }));
      return "status" in verdict ? verdict.status : 200;
    };
    expect(await ready()).to.equal(200);
    expect(await rejectionOf(gate.locks.tryAcquire("a"))).to.be.instanceOf(StoreFault);
    expect(await ready()).to.equal(503);
  });

  it("are a finding for a service without a name, once they are used", async () => {
    const gate = openGate({ redis: server.url, prefix: `locks-${prefixes}:` });
    const codes = async (): Promise<string[]> => (await gate.examine()).map(({ code }) => code);
    await until(async () => !(await codes()).includes("store_unreachable"));
    expect(await codes()).not.to.include("service_unnamed");
    await until(async () => (await gate.locks.tryAcquire("a").catch(() => undefined))?.release() ?? false);
    expect(await codes()).to.include("service_unnamed");
  });

  it("open no connection, no subscription and no key before the application asks, nor without a wait", async () => {
    const gate = await open({ redis: server.url });
    const listeners = async (): Promise<number> =>
      ((await admin.call("CLIENT", "LIST", "TYPE", "PUBSUB")) as string).split("\n").filter((line) => line !== "")
        .length;
    const leaders = async (): Promise<number> => (await admin.keys("*:leader:*never-started*")).length;
    const others = await listeners();
    gate.leader("never-started").on("elected", () => undefined);
    expect(await leaders()).to.equal(0);
    await gate.locks.using("a", () => undefined);
    expect(await gate.locks.tryAcquire("a").then((lock) => lock?.release())).to.equal(true);
    expect(await listeners()).to.equal(others);
    const lock = await gate.locks.acquire("a");
    expect(await rejectionOf(gate.locks.acquire("a", { wait: 300 }))).to.include({ code: "lock_timeout" });
    await lock.release();
    expect(await listeners()).to.equal(others + 1);
  });

  it("take one round trip to take and one to give back", async () => {
    await admin.config("RESETSTAT");
    const gate = await open({ redis: server.url });
    const calls = async (): Promise<number> =>
      Number(/cmdstat_evalsha:calls=(\d+)/.exec(await admin.info("commandstats"))?.[1] ?? 0);
    // A gate runs scripts of its own when its connection is new, and examines its Redis, which sends ZMSCORE alone.
    await gate.locks.using(["a", "b"], () => undefined);
    await until(async () => (await admin.info("commandstats")).includes("cmdstat_zmscore:"));
    let seen = -1;
    await until(async () => {
      const now = await calls();
      const isQuiet = now === seen;
      seen = now;
      await new Promise((resolve) => setTimeout(resolve, 50));
      return isQuiet;
    });
    const before = await calls();
    for (let round = 0; round < 10; round += 1) await gate.locks.using(["a", "b"], () => undefined);
    expect((await calls()) - before).to.equal(20);
  });
});
