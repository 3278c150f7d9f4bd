import { startRedis } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import type { IdempotencyOptions } from "@portcullis/core";
import type { RunningApp } from "../../support/app.js";
import { adapters } from "../../support/app.js";
import { send } from "../../support/http.js";
import type { TestAnswer } from "../../support/http.js";
import { openLatch } from "../../support/latch.js";
import type { Latch } from "../../support/latch.js";
import { silentLogger } from "../../support/logger.js";
import { until } from "../../support/until.js";
import { startShops } from "../support/shop.js";

interface Shop {
  readonly app: RunningApp;
  readonly latch: Latch;
  readonly order: (key?: string) => Promise<TestAnswer>;
}

describe("idempotent requests on a bad day of Redis", function () {
  this.timeout(30_000);
  const cleanUp: (() => unknown)[] = [];
  let redis: RedisServer;

  beforeEach(async () => {
    redis = await startRedis({ config: { appendonly: "yes", appendfsync: "always" } });
    cleanUp.push(() => redis.stop());
  });
  afterEach(async () => {
    for (const clean of cleanUp.splice(0).reverse()) await clean();
  });

  for (const adapter of adapters) {
    describe(`on ${adapter.name}`, () => {
      async function open(options?: IdempotencyOptions): Promise<Shop> {
        const latch = openLatch();
        const app = await adapter.start({
          options: { redis: redis.url, service: "shop", deadline: 100, logger: silentLogger },
          use: (gate) => [gate.routes.health(), gate.idempotency({ caller: () => "alice", lease: "1s", ...options })],
          routes: { "POST /orders": latch.wait },
        });
        cleanUp.push(() => app.close());
        await until(() => app.gate.health().status === "up");
        const headers = (key: string): object => ({ headers: { "idempotency-key": key } });
        return { app, latch, order: (key = "k") => send(`${app.url}/orders`, { method: "POST", ...headers(key) }) };
      }

      it("are answered where it dies between execution and storing; back within the lease it has the response", async () => {
        const { order, latch } = await open({ lease: "20s" });
        const first = order();
        await latch.waiting(1);
        await redis.kill();
        latch.open();
        expect((await first).status).to.equal(200);
        await redis.restart();
        await until(async () => (await order()).headers["idempotency-replayed"] === "?1");
        expect(latch.held()).to.equal(1);
      });

      // Behind the middleware, frameworks differ in the way of a response: one of them shows what else is the same.
      if (adapter.name === "Koa") {
        it("are refused with 503 while it is gone, and no handler runs", async () => {
          const { order, latch, app } = await open();
          await redis.kill();
          await until(async () => (await order()).status === 503);
          const { status, headers, json } = await order();
          expect([status, headers["retry-after"] !== undefined, latch.held()]).to.deep.equal([503, true, 0]);
          expect(json).to.include({ code: "store_unavailable" });
          expect((await send(`${app.url}/readyz`)).status).to.equal(503);
          await redis.restart();
          latch.open();
          await until(async () => (await order()).status === 200);
          expect(app.gate.breakers.map(({ name }) => name)).to.include("redis.idempotency");
        });

        it("run unprotected while it is gone, where onStoreError allows it", async () => {
          const { order, latch, app } = await open({ onStoreError: "allow" });
          latch.open();
          await redis.kill();
          for (let count = 0; count < 8; count += 1) expect((await order()).status).to.equal(200);
          expect(latch.held()).to.equal(8);
          expect((await send(`${app.url}/readyz`)).status).to.equal(200);
        });
      } else {
        it("run again where it dies between execution and storing, and comes back after the lease", async () => {
          const { order, latch } = await open();
          const first = order();
          await latch.waiting(1);
          await redis.kill();
          latch.open();
          expect((await first).status).to.equal(200);
          await new Promise((resolve) => setTimeout(resolve, 1500));
          await redis.restart();
          await until(async () => (await order()).status === 200);
          expect(latch.held()).to.equal(2);
        });
      }

      it("leave no lease behind whose claim had lost its reply", async () => {
        const { order, latch } = await open({ lease: "10m" });
        latch.open();
        redis.pause();
        expect((await order()).status).to.equal(503);
        redis.resume();
        await until(async () => (await order()).status === 200);
        expect(latch.held()).to.equal(1);
      });
    });
  }

  it("release their key when their process is killed: refused until the lease ends, then executed", async () => {
    const shops = await startShops(2, { lease: "2s" }, { workMs: 1000, redis: redis.url });
    const lost = shops.order(0, "k").catch(() => "lost");
    await until(async () => (await shops.begun()) === 1);
    process.kill(shops.pids[0] ?? 0, "SIGKILL");
    expect(await lost).to.equal("lost");
    expect((await shops.order(1, "k")).status).to.equal(409);
    await until(async () => (await shops.order(1, "k")).status === 200);
    expect(await shops.begun()).to.equal(2);
    expect((await shops.order(1, "k")).json).to.deep.equal({ order: 2 });
  });

  it("wait for the end of the lease of a process that was killed, where they wait", async () => {
    const shops = await startShops(2, { lease: "1s", onConflict: "wait" }, { workMs: 300, redis: redis.url });
    const lost = shops.order(0, "k").catch(() => "lost");
    await until(async () => (await shops.begun()) === 1);
    process.kill(shops.pids[0] ?? 0, "SIGKILL");
    expect(await lost).to.equal("lost");
    expect((await shops.order(1, "k")).json).to.deep.equal({ order: 2 });
  });

  it("keep the first response that is stored, where a process was stopped past its lease", async () => {
    const shops = await startShops(2, { lease: "1s" }, { workMs: 500, redis: redis.url });
    const stopped = shops.order(0, "k");
    await until(async () => (await shops.begun()) === 1);
    process.kill(shops.pids[0] ?? 0, "SIGSTOP");
    await until(async () => (await shops.order(1, "k")).status === 200);
    process.kill(shops.pids[0] ?? 0, "SIGCONT");
    expect((await stopped).status).to.equal(200);
    for (const shop of [0, 1]) expect((await shops.order(shop, "k")).json).to.deep.equal({ order: 2 });
    expect(await shops.begun()).to.equal(2);
  });

  it("keep their lease for as long as their handler runs", async () => {
    const shops = await startShops(2, { lease: "1s" }, { workMs: 1800, redis: redis.url });
    const first = shops.order(0, "k");
    await until(async () => (await shops.begun()) === 1);
    const seen = new Set<number>();
    await until(async () => {
      const { status } = await shops.order(1, "k");
      seen.add(status);
      return status === 200;
    });
    expect([(await first).status, await shops.begun()]).to.deep.equal([200, 1]);
    expect(seen).to.deep.equal(new Set([409, 200]));
  });
});
