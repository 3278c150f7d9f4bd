import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { expect } from "chai";
import fc from "fast-check";
import { Invalidations } from "../../../packages/core/src/cache/invalidations.js";
import { RetryQueue } from "../../../packages/core/src/lib/retry-queue.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { events } from "../../../packages/core/src/telemetry/events.js";
import { Telemetry } from "../../../packages/core/src/telemetry/telemetry.js";
import { silentLogger } from "../../support/logger.js";
import { isRejected, rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";
import { FakeCacheStore, openProcess } from "../support/cache-process.js";
import type { FakeProcess } from "../support/cache-process.js";
import { withoutGate } from "../../support/without-gate.js";

interface Told {
  readonly outcome: string;
  readonly fault: string | undefined;
}

describe("an invalidation that the store missed", () => {
  const told: Told[] = [];
  const note = (message: unknown): void => void told.push(withoutGate(message) as Told);
  const open: FakeProcess[] = [];
  beforeEach(() => subscribe(events.cacheInvalidation.name, note));
  afterEach(async () => {
    unsubscribe(events.cacheInvalidation.name, note);
    told.length = 0;
    await closeAll();
  });

  async function closeAll(): Promise<void> {
    await Promise.all(open.splice(0).map(async ({ service }) => service.close()));
  }

  function start(store?: FakeCacheStore): FakeProcess {
    const process = openProcess(store);
    open.push(process);
    return process;
  }

  const count = (outcome: string): number => told.filter((one) => one.outcome === outcome).length;
  const allRepeated = (): Promise<void> => until(() => count("missed") === count("repeated") + count("dropped"));

  const ways: Record<string, (cache: FakeProcess["cache"]) => Promise<void>> = {
    "delete()": (cache) => cache.delete("k"),
    "deleteByTag()": (cache) => cache.deleteByTag("t"),
    "clear()": (cache) => cache.clear(),
  };
  for (const [way, invalidate] of Object.entries(ways)) {
    it(`by ${way} reaches it when its process closes, also if it comes back only then`, async () => {
      const one = start();
      const other = start(one.store);
      await one.cache.set("k", "old", { tags: ["t"] });
      one.store.goDown();
      expect(await rejectionOf(invalidate(one.cache))).to.be.instanceOf(StoreFault);
      const closing = one.service.close();
      await Promise.resolve();
      one.store.comeBack();
      await closing;
      expect(await other.cache.get("k")).to.equal(undefined);
    });

    it(`by ${way} reaches it once it is back, and its process goes by the store again`, async () => {
      const one = start();
      const other = start(one.store);
      await one.cache.set("k", "old", { tags: ["t"] });
      one.store.goDown();
      expect(await rejectionOf(invalidate(one.cache))).to.be.instanceOf(StoreFault);
      one.store.comeBack();
      // Nobody writes, so that nothing but the repetition can make it good.
      await until(async () => (await other.cache.get("k")) === undefined);
      await allRepeated();
      for (const value of ["new", "newer"]) {
        await other.cache.set("k", value, { tags: ["t"] });
        expect(await one.cache.get("k")).to.equal(value);
        await invalidate(other.cache);
        expect(await one.cache.get("k")).to.equal(undefined);
      }
    });
  }

  it("is reported: an event for each, and one warning for an outage", async () => {
    const warned: unknown[] = [];
    const store = new FakeCacheStore();
    const logger = {
      debug: () => undefined,
      warn: (fields: object, message: string) => warned.push([fields, message]),
    };
    const process = openProcess(store, {}, logger);
    open.push(process);
    store.goDown();
    for (const key of ["a", "b"]) await rejectionOf(process.cache.delete(key));
    expect(told).to.deep.equal(Array.from({ length: 2 }, () => ({ outcome: "missed", fault: "unreachable" })));
    const message = "portcullis: Redis missed an invalidation of the cache; it is repeated until Redis has it";
    expect(warned).to.deep.equal([[{ fault: "unreachable" }, message]]);
    store.comeBack();
    await allRepeated();
    expect(count("repeated")).to.equal(2);
  });

  it("is not repeated once its entry was written anew", async () => {
    const { store, cache } = start();
    store.goDown();
    await rejectionOf(cache.delete("k"));
    store.comeBack();
    await cache.set("k", "new");
    expect(count("repeated")).to.equal(1);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await cache.get("k")).to.equal("new");
  });

  it("is one of too many to remember: then no entry that was stored before is used", async function () {
    this.timeout(60_000);
    const { store, cache } = start();
    await cache.set("first", "old");
    await cache.set("other", "old");
    store.goDown();
    await rejectionOf(cache.delete("first"));
    for (let start = 0; start < 10_000; start += 100) {
      await Promise.all(
        Array.from({ length: 100 }, async (_, index) => rejectionOf(cache.delete(`k ${start + index}`))),
      );
    }
    expect(count("dropped")).to.equal(1);
    store.comeBack();
    expect([await cache.get("first"), await cache.get("other")]).to.deep.equal([undefined, undefined]);
    store.clock.ms += 1;
    await cache.set("other", "new");
    expect(await cache.get("other")).to.equal("new");
    await allRepeated();
  });

  it("never lets an older value through in any order of events, and all processes agree in the end", async function () {
    this.timeout(120_000);
    const key = fc.constantFrom("a", "b");
    const who = fc.integer({ min: 0, max: 1 });
    const step = fc.oneof(
      fc.record({ op: fc.constant("set" as const), who, key }),
      fc.record({ op: fc.constantFrom("delete" as const, "deleteByTag" as const, "clear" as const), who, key }),
      fc.record({ op: fc.constant("get" as const), who, key }),
      fc.record({ op: fc.constantFrom("down" as const, "up" as const), who, key }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 30 }), async (steps) => {
        told.length = 0;
        const store = new FakeCacheStore();
        const processes = [start(store), start(store)] as const;
        let version = 0;
        // Versions that a process may still read of a key: those after the last invalidation it knows of.
        const least = processes.map((): Record<string, number> => ({ a: 0, b: 0 }));
        const check = async (index: number, name: string): Promise<void> => {
          const found = await processes[index]?.cache.get<number>(name);
          if (found !== undefined) expect(found).to.be.greaterThan(least[index]?.[name] ?? 0);
        };
        for (const { op, who: index, key: name } of steps) {
          const cache = processes[index]?.cache;
          if (op === "down") store.goDown();
          else if (op === "up") store.comeBack();
          else if (op === "get") await check(index, name);
          else if (op === "set") await cache?.set(name, (version += 1), { tags: [name] });
          else {
            const attempt =
              op === "delete" ? cache?.delete(name) : op === "clear" ? cache?.clear() : cache?.deleteByTag(name);
            const missed = await isRejected(attempt ?? Promise.resolve());
            for (const one of op === "clear" ? ["a", "b"] : [name]) {
              for (const [at, known] of least.entries()) if (!missed || at === index) known[one] = version;
            }
          }
          for (const name of ["a", "b"]) await check(index, name);
        }
        store.comeBack();
        await allRepeated();
        for (const name of ["a", "b"]) {
          for (const index of processes.keys()) await check(index, name);
          const [mine, theirs] = await Promise.all(processes.map(({ cache }) => cache.get(name)));
          expect(mine).to.equal(theirs);
          await processes[0].cache.set(name, "last");
          expect(await processes[1].cache.get(name)).to.equal("last");
          await processes[1].cache.delete(name);
          expect(await processes[0].cache.get(name)).to.equal(undefined);
        }
        await closeAll();
      }),
      { numRuns: 40 },
    );
  });
});

describe("invalidations on their way", () => {
  it("are one attempt for all who wait for it, and another for one that comes later", async () => {
    const attempts: (() => void)[] = [];
    const apply = (): Promise<void> => new Promise((resolve) => attempts.push(resolve));
    const invalidations = new Invalidations({ apply, telemetry: new Telemetry(), logger: silentLogger });
    const first = invalidations.invalidate("k");
    const waiting = [invalidations.ensureApplied(["k"]), invalidations.ensureApplied(["k", "other"])];
    expect([attempts.length, invalidations.isPending("k")]).to.deep.equal([1, true]);
    const second = invalidations.invalidate("k");
    expect(attempts).to.have.length(2);
    attempts[0]?.();
    await Promise.all([first, ...waiting]);
    expect(invalidations.isPending("k")).to.equal(true);
    attempts[1]?.();
    await second;
    expect(invalidations.isPending("k")).to.equal(false);
    await invalidations.ensureApplied(["k"]);
    expect(attempts).to.have.length(2);
    await invalidations.close();
  });
});

describe("invalidations that are missed when their process closes", () => {
  it("delay the close only for a short time if the store fails or does not answer, and are reported", async () => {
    for (const apply of [
      () => Promise.reject(new StoreFault("unreachable")),
      () => new Promise<never>(() => undefined),
    ]) {
      const warnings: unknown[] = [];
      const logger = { ...silentLogger, warn: (fields: unknown, text: string) => void warnings.push([fields, text]) };
      const invalidations = new Invalidations({ apply, telemetry: new Telemetry(), logger });
      invalidations.invalidate("k").catch(() => undefined);
      await Promise.all([invalidations.close(), invalidations.close()]);
      expect(warnings.at(-1)).to.deep.equal([
        { missed: 1 },
        "portcullis: closed before Redis had every invalidation of the cache; other processes may use old values",
      ]);
    }
  });
});

describe("a repeated invalidation", () => {
  it("runs although other invalidations always fail, and is bounded in number and time", async () => {
    const retries = new RetryQueue(200);
    const done: string[] = [];
    const fail = (): Promise<never> => Promise.reject(new StoreFault("unreachable"));
    for (let index = 0; index < 199; index += 1) retries.add(`stuck ${index}`, fail);
    retries.add("free", () => Promise.resolve(done.push("free")));
    await until(() => done.length === 1);
    expect(retries.size).to.equal(199);
    for (let index = 0; index < 300; index += 1) retries.add(`more ${index}`, fail, 1);
    expect(retries.size).to.equal(200);
    await until(() => retries.size === 0);
    retries.close();
  });
});
