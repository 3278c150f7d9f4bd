import { expect } from "chai";
import { startProxy, startRedis } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import type { Redis } from "ioredis";
import { adapters, allAdapters } from "../../support/app.js";
import type { RunningApp, TestAdapter } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import type { Latch } from "../../support/latch.js";
import { openLatch } from "../../support/latch.js";
import { silentLogger } from "../../support/logger.js";
import { operate } from "../../support/redis.js";
import { until } from "../../support/until.js";

/** Far longer than a test, so that what lasts for it is not there in time. */
const windowMs = 600_000;
const releaseAfterMs = 2000;
const limit = 3;

describe("a slot that is held when its gate is closed", function () {
  this.timeout(30_000);
  let server: RedisServer;
  let operator: Redis;
  let proxy: Proxy;

  before(async () => {
    server = await startRedis();
    proxy = await startProxy(server);
  });
  after(async () => {
    await proxy.close();
    await server.stop();
  });
  beforeEach(async () => {
    operator = operate(server.url);
    await operator.flushall();
    proxy.delayMs = 0;
  });

  async function start(adapter: TestAdapter, redis: string): Promise<RunningApp & { readonly latch: Latch }> {
    const latch = openLatch();
    const limits = [
      { name: "p", per: "ip", algorithm: "concurrency", limit, window: "10m", releaseAfter: "2s" },
    ] as const;
    const app = await adapter.start({
      options: { redis, logger: silentLogger, deadline: 1000, limits: [...limits] },
      routes: { "GET /held": async () => latch.wait(), "GET /": () => ({ in: true }) },
    });
    cleanUp(() => {
      latch.open();
      return app.close();
    });
    await until(async () => (await remaining(app)) === limit - 1);
    return Object.assign(app, { latch });
  }

  async function remaining(app: RunningApp): Promise<number> {
    return Number(/r=(\d+)/.exec(String((await send(app.url)).headers.ratelimit))?.[1]);
  }

  /** For how long Redis holds each slot. */
  async function lives(): Promise<number[]> {
    const [key] = await operator.keys("*:quota-concurrency-*");
    if (key === undefined) return [];
    const [seconds] = await operator.time();
    const scores = (await operator.zrange(key, "0", "-1", "WITHSCORES")).filter((_, index) => index % 2 === 1);
    return scores.map((score) => Number(score) - Number(seconds) * 1000);
  }

  for (const adapter of allAdapters) {
    it(`is held for its handler, and free after releaseAfter, not a window later (${adapter.name})`, async () => {
      const [closing, other] = [await start(adapter, server.url), await start(adapter, server.url)];
      const held = [send(`${closing.url}/held`), send(`${closing.url}/held`)].map(async (one) =>
        one.catch(() => undefined),
      );
      await closing.latch.waiting(2);
      expect(Math.min(...(await lives())), "while it is open").to.be.above(windowMs / 2);
      await closing.close();
      await Promise.all(held);
      const after = await lives();
      expect(after, "the handlers run, and nobody may take their slots").to.have.length(2);
      expect(Math.max(...after)).to.be.at.most(releaseAfterMs + 1000);
      await until(async () => (await remaining(other)) === limit - 1);
    });
  }

  for (const adapter of adapters) {
    it(`is free after releaseAfter, if Redis had not said yet that it was taken (${adapter.name})`, async () => {
      const closing = await start(adapter, proxy.url);
      proxy.delayMs = 800;
      const asked = send(`${closing.url}/held`).catch(() => undefined);
      await until(async () => (await lives()).length === 1);
      await closing.close();
      await asked;
      await until(async () => (await lives()).every((life) => life <= releaseAfterMs + 1000));
    });
  }

  it("is free at once, if the connection to Redis is lost and made again as the gate closes", async () => {
    const [adapter] = adapters;
    const closing = await start(adapter!, proxy.url);
    const held = send(`${closing.url}/held`);
    await closing.latch.waiting(1);
    proxy.reset();
    closing.latch.open();
    await held;
    await closing.close();
    expect(await lives()).to.deep.equal([]);
  });
});
