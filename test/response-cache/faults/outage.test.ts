import { Redis } from "ioredis";
import { startProxy } from "@portcullis/testkit";
import type { Proxy } from "@portcullis/testkit";
import { StoreFault } from "@portcullis/core";
import { expect } from "chai";
import { adapters } from "../../support/app.js";
import type { RunningApp, TestAdapter } from "../../support/app.js";
import { hostileIdentifiers } from "../../support/hostile.js";
import { send as sendTo } from "../../support/http.js";
import type { SendOptions, TestAnswer } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { origin } from "../../support/origin.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import { latch } from "../../support/response-cache.js";
import { until } from "../../support/until.js";

for (const adapter of adapters) {
  describe(`the response cache on ${adapter.name} and its store`, () => {
    const closing: (() => Promise<unknown>)[] = [];
    afterEach(async () => {
      for (const close of closing.splice(0).reverse()) await close();
    });

    async function serve(
      url: string,
      prefix: string,
      made: () => Promise<string> | string,
      deadline = 2000,
    ): Promise<RunningApp> {
      const app = await start(adapter, { redis: url, prefix, deadline }, made);
      closing.push(() => app.close());
      return app;
    }

    async function startBroken(): Promise<{ proxy: Proxy; prefix: string }> {
      const { port, hostname } = new URL(testRedisUrl());
      const proxy = await startProxy({ port: Number(port), host: hostname });
      closing.push(() => proxy.close());
      return { proxy, prefix: freshPrefix() };
    }

    it("goes on without it: no request hangs, one handler call serves all concurrent requests, a lost purge is reported", async () => {
      const { proxy, prefix } = await startBroken();
      let calls = 0;
      let gate = latch();
      gate.open();
      const make = async (): Promise<string> => {
        calls += 1;
        await gate.opened;
        return `made ${calls}`;
      };
      const app = await serve(proxy.url, prefix, make, 50);
      await send(`${app.url}/a`);
      await until(async () => (await send(`${app.url}/a`)).headers.age !== undefined);
      const kept = calls;
      proxy.freeze();
      const started = performance.now();
      expect((await send(`${app.url}/a`)).text).to.equal(`made ${kept + 1}`);
      // Ten times the deadline.
      expect(performance.now() - started).to.be.below(500);
      gate = latch();
      const asked = Array.from({ length: 10 }, () => send(`${app.url}/b`));
      // All have given up on the store.
      await until(() => degraded(app) >= 11);
      expect(calls).to.equal(kept + 2);
      gate.open();
      for (const { text, status } of await Promise.all(asked))
        expect([text, status]).to.deep.equal([`made ${kept + 2}`, 200]);
      const fault = await rejectionOf(app.gate.responses.purgePath("/a"));
      expect(fault).to.be.instanceOf(StoreFault);
      proxy.thaw();
      await until(async () => {
        await send(`${app.url}/c`);
        return app.gate.breakers.every(({ state }) => state === "closed");
      });
      // What this process should have ended is gone for it.
      expect((await send(`${app.url}/a`)).text).not.to.equal(`made ${kept}`);
    });

    it("takes whatever another program left there for nothing", async () => {
      const prefix = freshPrefix();
      let calls = 0;
      const app = await serve(testRedisUrl(), prefix, () => `made ${(calls += 1)}`);
      const redis = new Redis(testRedisUrl());
      closing.push(() => redis.quit());
      await send(`${app.url}/a`);
      // It is stored while its client reads it already.
      await until(async () => (await redis.keys(`${prefix}*response:*`)).length > 0);
      const key = (await redis.keys(`${prefix}*response:*`))[0] ?? "";
      const good = (await redis.get(key)) ?? "";
      expect(good).to.include("made 1");
      const bad = [
        ...hostileIdentifiers.slice(0, 60),
        ...hostileIdentifiers.slice(0, 60).map((text) => `r1:${text}`),
        good.slice(0, -1),
        good.slice(0, 20),
      ];
      for (const text of bad) {
        await redis.set(key, text);
        const before = calls;
        expect((await send(`${app.url}/a`)).text).to.equal(`made ${before + 1}`);
        await until(async () => (await redis.get(key)) !== text);
      }
      await redis.del(key);
      await redis.rpush(key, "a list");
      expect((await send(`${app.url}/a`)).status).to.equal(200);
    });

    it("is kept again although another program wrote where its end is kept, and ends all the same", async () => {
      const prefix = freshPrefix();
      let version = 1;
      const app = await serve(testRedisUrl(), prefix, () => `version ${version}`);
      const redis = new Redis(testRedisUrl());
      closing.push(() => redis.quit());
      const isKept = async (): Promise<boolean> =>
        String((await send(`${app.url}/a`)).headers["cache-status"]).includes("hit");
      await until(isKept);
      const keys = [...(await redis.keys(`${prefix}*response-*`)), ...(await redis.keys(`${prefix}*:generation:*`))];
      expect(keys).to.have.length(3);
      const ways: readonly ((key: string) => Promise<unknown>)[] = [
        (key) => redis.set(key, "not one of ours"),
        (key) => redis.set(key, "x".repeat(100_000)),
        (key) => redis.set(key, Buffer.from([0xff, 0])),
        (key) => redis.set(key, ""),
        (key) => redis.set(key, "word"),
        (key) => redis.rpush(key, "a list"),
      ];
      for (const key of keys) {
        for (const [way, put] of ways.entries()) {
          await redis.del(key);
          await put(key);
          await until(isKept);
          expect(await redis.pttl(key), `${way} ${key}`).to.be.above(0);
          version += 1;
          await app.gate.responses.purge("orders");
          expect((await send(`${app.url}/a`)).text, `${way} ${key}`).to.equal(`version ${version}`);
          await until(isKept);
        }
      }
    });

    it("is the same for all processes, as are purges, and every key of it has a TTL", async () => {
      const prefix = freshPrefix();
      let calls = 0;
      const make = () => `made ${(calls += 1)}`;
      const [one, two] = [await serve(testRedisUrl(), prefix, make), await serve(testRedisUrl(), prefix, make)];
      const redis = new Redis(testRedisUrl());
      closing.push(() => redis.quit());
      expect((await send(`${one.url}/a`)).text).to.equal("made 1");
      await until(async () => (await redis.keys(`${prefix}*response:*`)).length > 0);
      expect((await send(`${two.url}/a`)).text).to.equal("made 1");
      await two.gate.responses.purge("orders");
      expect((await send(`${one.url}/a`)).text).to.equal("made 2");
      await send(`${one.url}/a`, { method: "DELETE" });
      expect((await send(`${two.url}/a`)).text).to.equal("made 4");
      const keys = await redis.keys(`${prefix}*`);
      expect(keys).to.have.length.above(2);
      for (const key of keys) expect(await redis.pttl(key), key).to.be.above(0);
    });
  });
}

/** Whichever process answers, it is the same host. */
function send(url: string, options: SendOptions = {}): Promise<TestAnswer> {
  return sendTo(url, { ...options, headers: { host: "api.example.com" } });
}

/** How often a policy stood in for the store. */
function degraded({ gate }: RunningApp): number {
  const samples = gate.metrics().find(({ name }) => name === "portcullis_degraded_total")?.samples ?? [];
  return samples.reduce((sum, { value }) => sum + value, 0);
}

async function start(
  adapter: TestAdapter,
  options: { readonly redis: string; readonly prefix: string; readonly deadline: number },
  made: () => Promise<string> | string,
): Promise<RunningApp> {
  return adapter.start({
    // What other programs write is seen at once where nothing is kept in process.
    options: { ...options, logger: silentLogger, responses: { local: false } },
    routes: {},
    use: (gate) => [
      gate.cacheResponse({ tags: ["orders"] }),
      origin(async () => ({ headers: { "cache-control": "max-age=60" }, body: await made() })),
    ],
  });
}
