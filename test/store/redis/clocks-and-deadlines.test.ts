import { setImmediate as turn } from "node:timers/promises";
import { expect } from "chai";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import type { Answer, Consumption, Question } from "../../../packages/core/src/store/ports/decisions.js";
import { RedisCacheStore } from "../../../packages/core/src/store/redis/cache.js";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import { ClockComparison, RedisDecisionStore } from "../../../packages/core/src/store/redis/decisions.js";
import { RedisChannels } from "../../../packages/core/src/store/redis/channels.js";
import { Tracking } from "../../../packages/core/src/store/redis/tracking.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { silentLogger } from "../../support/logger.js";
import { until } from "../../support/until.js";
import { rejectionOf } from "../../support/rejection.js";

interface Call {
  readonly command: string;
  readonly args: readonly (string | number)[];
  readonly resolve: (reply: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** A connection to a server that answers when told to. */
function openConnection(): { connection: Connection; calls: Call[] } {
  const calls: Call[] = [];
  const connection: Connection = {
    client: {
      status: "ready",
      // The cache asks for the time, too, but nobody waits for that.
      call: (command, ...args) =>
        command === "TIME"
          ? Promise.resolve(["0", "0"])
          : new Promise((resolve, reject) => void calls.push({ command, args, resolve, reject })),
      on: () => undefined,
      off: () => undefined,
    },
    isCluster: false,
    unsafeOptions: [],
    hasConnected: () => true,
    isUp: () => true,
    onConnect: () => () => undefined,
    leaveReplica: () => undefined,
    close: () => Promise.resolve(),
  };
  return { connection, calls };
}

function openCache(connection: Connection, ms = deadlineMs): RedisCacheStore {
  const keys = new Keyspace("", "test");
  const tracking = new Tracking({ connection, logger: silentLogger });
  const channels = new RedisChannels({ connection, tracking, keys, deadlineMs: ms, logger: silentLogger });
  return new RedisCacheStore({ connection, channels, deadlineMs: ms });
}

const question: Question = {
  beforeToken: [],
  token: { revokedKey: "auth:revoked:a", cutoffKeys: [], issuedAt: 1 },
  afterToken: [],
};
const deadlineMs = 15;

describe("a Cluster whose clock is another than ours", () => {
  it("is noticed also without limits, and forgotten when the clock is right again", async () => {
    const { connection, calls } = openConnection();
    let aheadMs = 3_600_000;
    const { client } = connection;
    const call = client.call.bind(client);
    client.call = (command, ...args) =>
      command === "TIME"
        ? Promise.resolve([String(Math.floor((Date.now() + aheadMs) / 1000)), "0"])
        : call(command, ...args);
    const store = new RedisDecisionStore({
      connection: { ...connection, isCluster: true },
      ...{ deadlineMs: 5000, clockToleranceMs: 5000 },
    });
    async function ask(): Promise<unknown> {
      const answer = Promise.resolve(store.ask(question));
      await until(() => calls.length > 0);
      for (const { resolve } of calls.splice(0)) resolve(0);
      const { revoked } = (await answer) as { revoked: unknown };
      return revoked instanceof StoreFault ? revoked.kind : revoked;
    }
    await ask();
    expect(store.state().findings).to.include("its clock and ours disagree");
    expect(await ask()).to.equal("skewed");
    aheadMs = 0;
    await until(async () => (await ask()) === false);
    expect(store.state().findings).to.not.include("its clock and ours disagree");
    store.close();
  });
});

describe("a clock that differs, as far as is known", () => {
  it("is looked at again while nothing else is asked, so that it does not differ for ever", async () => {
    const { connection } = openConnection();
    let aheadMs = 3_600_000;
    let asked = 0;
    connection.client.call = () => {
      asked += 1;
      return Promise.resolve([String(Math.floor((Date.now() + aheadMs) / 1000)), "0"]);
    };
    const store = new RedisDecisionStore({ connection, deadlineMs, clockToleranceMs: 5000 });
    await until(() => store.state().clockDiffers === true);
    expect(asked).to.equal(1);
    aheadMs = 0;
    for (let round = 0; round < 100; round += 1) store.state();
    expect(asked).to.equal(1);
    await until(() => store.state().clockDiffers === undefined);
    expect(asked).to.equal(2);
    store.close();
  });

  it("does not differ by an answer that is no time, nor by how long an answer takes", () => {
    const clocks = new ClockComparison(1000);
    expect(clocks.differs()).to.be.false;
    for (const nonsense of [0, -1, Number.NaN]) clocks.compare(performance.now(), nonsense);
    expect(clocks.differs()).to.be.false;
    // Redis read its clock at some time within the last ten seconds.
    clocks.compare(performance.now() - 10_000, Date.now() - 9900);
    expect(clocks.differs()).to.be.false;
    clocks.compare(performance.now() - 10_000, Date.now() - 11_500);
    expect(clocks.differs()).to.be.true;
    clocks.compare(performance.now(), Date.now() + 1500);
    expect(clocks.differs()).to.be.true;
    clocks.compare(performance.now(), Date.now() + 500);
    expect(clocks.differs()).to.be.false;
  });
});

describe("a server that answers, but always after the deadline", () => {
  it("opens the breaker of the security store at the 5th time: a reply nobody waits for is no success", async () => {
    const { connection, calls } = openConnection();
    const store = new RedisDecisionStore({ connection, deadlineMs, clockToleranceMs: 1000 });
    let asked = 0;
    while (store.state().status === "up" && asked < 50) {
      const answer = await store.ask(question);
      expect(answer).to.be.instanceOf(StoreFault).and.to.include({ kind: "timeout" });
      calls.pop()?.resolve([Date.now(), 0]);
      await turn();
      asked += 1;
    }
    expect(asked).to.equal(5);
  });

  it("opens the breaker of the cache at the 5th time", async () => {
    const { connection, calls } = openConnection();
    const store = openCache(connection);
    const kinds: string[] = [];
    for (let asked = 0; asked < 7; asked += 1) {
      await store.getMany(["a"]).catch((error: unknown) => kinds.push((error as StoreFault).kind));
      calls.pop()?.resolve([null]);
      await turn();
    }
    expect(kinds).to.deep.equal(["timeout", "timeout", "timeout", "timeout", "timeout", "open", "open"]);
  });
});

describe("reads of the cache", () => {
  it("of one turn of the event loop are one MGET, whichever request asks", async () => {
    const { connection, calls } = openConnection();
    const store = openCache(connection, 5000);
    const reads = [store.getMany(["a"]), store.getMany(["b", "c"]), store.getMany(["a"])];
    await turn();
    expect(calls.map(({ command, args }) => [command, ...args])).to.deep.equal([["MGET", "a", "b", "c"]]);
    calls[0]?.resolve(["1", null, "3"]);
    expect(await Promise.all(reads)).to.deep.equal([["1"], [undefined, "3"], ["1"]]);
  });

  it("beyond 256 keys are several", async () => {
    const { connection, calls } = openConnection();
    const store = openCache(connection, 5000);
    const keys = Array.from({ length: 300 }, (_, index) => `k${index}`);
    const read = store.getMany(keys);
    await turn();
    expect(calls.map(({ args }) => args.length)).to.deep.equal([256, 44]);
    for (const { args, resolve } of calls) resolve(args.map(String));
    expect(await read).to.deep.equal(keys);
  });

  it("of nothing ask nothing", async () => {
    const { connection, calls } = openConnection();
    expect(await openCache(connection).getMany([])).to.deep.equal([]);
    await turn();
    expect(calls).to.have.length(0);
  });
});

describe("writes of the cache", () => {
  it("reject with a fault at the deadline, and drop later replies", async () => {
    const { connection, calls } = openConnection();
    const store = openCache(connection);
    const key = new Keyspace("", "test").cacheEntry("shared", "default", "a");
    for (const write of [() => store.setMany([{ key, value: "1", ttlMs: 5 }]), () => store.deleteMany([key])]) {
      const error = await rejectionOf(write());
      expect(error).to.be.instanceOf(StoreFault).and.to.include({ kind: "timeout" });
      calls.pop()?.reject(new Error("late"));
      await turn();
    }
  });
});

describe("a server whose clock is not ours", () => {
  for (const [how, aheadMs] of [
    ["an hour ahead", 3_600_000],
    ["an hour behind", -3_600_000],
  ] as const) {
    it(`and ${how} is not believed that a token is good, but that it is revoked`, async () => {
      const { connection, calls } = openConnection();
      const store = new RedisDecisionStore({ connection, deadlineMs: 5000, clockToleranceMs: 5000 });
      async function ask(revoked: number, ahead: number): Promise<unknown> {
        const asking = store.ask(question);
        await turn();
        calls.pop()?.resolve([Date.now() + ahead, revoked]);
        const answer = await asking;
        return answer instanceof StoreFault ? answer : answer.revoked;
      }
      expect(await ask(0, 0)).to.equal(false);
      expect(store.state().status).to.equal("up");
      expect(await ask(0, aheadMs))
        .to.be.instanceOf(StoreFault)
        .and.to.include({ kind: "skewed" });
      expect(await ask(1, aheadMs)).to.equal(true);
      expect(store.state()).to.deep.include({ status: "degraded", findings: ["its clock and ours disagree"] });
      expect(await ask(0, 0)).to.equal(false);
      expect(store.state().status).to.equal("up");
    });
  }

  it("is not asked to count for a token or a proof that is refused for that, and counts for what may pass", async () => {
    const { connection, calls } = openConnection();
    const store = new RedisDecisionStore({ connection, deadlineMs: 5000, clockToleranceMs: 5000 });
    const charge = (key: string): Consumption => ({ key, limit: 9, windowSeconds: 60, cost: 1 });
    async function ask(more: Partial<Question>, ahead: number): Promise<{ keys: unknown; answer: Answer }> {
      const asked = { ...question, beforeToken: [charge("ip")], afterToken: [charge("user")], ...more };
      const asking = store.ask(asked);
      await turn();
      const call = calls.pop();
      const sent = call?.args.slice(2).filter((arg) => typeof arg === "string") ?? [];
      const keys = ["ip", "user"].filter((key) => sent.includes(key));
      const parts = asked.replayCheck === undefined ? [0] : [0, 0];
      call?.resolve([Date.now() + ahead, ...parts, ...keys.flatMap(() => [1, 60_000])]);
      return { keys, answer: (await asking) as Answer };
    }
    const counted = { consumed: 1, resetMs: 60_000 };
    const strict = { refusesUnknown: true };
    expect((await ask(strict, 3_600_000)).keys).to.deep.equal(["ip", "user"]);
    // The clocks agree by this answer, but nobody has counted.
    const refused = await ask(strict, 0);
    expect(refused.keys).to.deep.equal(["ip"]);
    expect(refused.answer.revoked).to.be.instanceOf(StoreFault).and.to.include({ kind: "skewed" });
    expect([refused.answer.beforeToken, refused.answer.afterToken]).to.deep.equal([[counted], [undefined]]);
    const passed = await ask(strict, 3_600_000);
    expect(passed.keys).to.deep.equal(["ip", "user"]);
    const lenient = await ask({ refusesUnknown: false }, 3_600_000);
    expect([lenient.keys, lenient.answer.afterToken]).to.deep.equal([["ip", "user"], [counted]]);
    const tokenless = await ask({ ...strict, token: undefined, replayCheck: undefined, beforeToken: [] }, 3_600_000);
    expect(tokenless.keys).to.deep.equal(["user"]);
    const proven = await ask({ refusesUnknown: false, replayCheck: { key: "proof", ttlMs: 1000 } }, 3_600_000);
    expect([proven.keys, proven.answer.afterToken]).to.deep.equal([["ip"], [undefined]]);
    expect(proven.answer.replayed).to.be.instanceOf(StoreFault).and.to.include({ kind: "skewed" });
  });
});
