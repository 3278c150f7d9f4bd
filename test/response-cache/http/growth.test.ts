import { expect } from "chai";
import { Redis } from "ioredis";
import { allAdapters } from "../../support/app.js";
import type { RunningApp, TestAdapter } from "../../support/app.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import type { OriginHandler } from "../../support/origin.js";
import { origin } from "../../support/origin.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";

for (const adapter of allAdapters) {
  describe(`the data of the response cache in Redis on ${adapter.name}`, () => {
    const closing: (() => unknown)[] = [];
    let redis: Redis;
    let prefix: string;

    beforeEach(() => {
      prefix = freshPrefix();
      redis = new Redis(testRedisUrl());
      closing.push(() => redis.disconnect());
    });
    afterEach(async () => {
      for (const close of closing.splice(0).reverse()) await close();
    });

    async function serve(handle: OriginHandler): Promise<RunningApp> {
      const app = await start(adapter, prefix, handle);
      closing.push(() => app.close());
      return app;
    }

    /** Milliseconds that are left of each key of the cache, by the family. */
    async function lives(): Promise<{ readonly key: string; readonly leftMs: number }[]> {
      const keys = (await redis.keys(`${prefix}*`)).filter((key) => /response|:t:/.test(key));
      return Promise.all(keys.map(async (key) => ({ key, leftMs: await redis.pttl(key) })));
    }

    it("ends with the last response for a URL, for all requests, and with Vary", async () => {
      const app = await serve(({ response }) => {
        response.setHeader("vary", "Accept-Encoding");
        return { headers: { "cache-control": "max-age=1" }, body: "[]" };
      });
      for (let index = 0; index < 50; index += 10)
        await Promise.all(Array.from({ length: 10 }, async (_, part) => send(`${app.url}/search?q=${index + part}`)));
      await until(async () => (await lives()).length > 0);
      for (const { key, leftMs } of await lives()) expect(leftMs, key).to.be.at.most(1000);
      await until(async () => (await lives()).length === 0);
    });

    it("lives for a minute at most after unsafe requests to paths without a response, in one key per path", async () => {
      const app = await serve(() => ({ status: 204 }));
      await Promise.all(Array.from({ length: 50 }, async (_, index) => post(`${app.url}/contact?x=${index}`)));
      await until(async () => (await lives()).length > 0);
      expect(await lives()).to.have.length(1);
      await Promise.all(Array.from({ length: 20 }, async (_, index) => post(`${app.url}/contact/${index}`)));
      await until(async () => (await lives()).length === 21);
      await app.gate.responses.purge("a", "b");
      await app.gate.responses.purgePath("/c?d", { query: "exact" });
      await app.gate.cache.deleteByTag("e");
      const after = await lives();
      expect(after).to.have.length(25);
      for (const { key, leftMs } of after) expect(leftMs, key).to.be.within(1, 60_000);
    });

    it("lives as long as the longest-lived of several responses for a URL, and a purge does not change that", async () => {
      const app = await serve(({ headers, response }) => {
        const seconds = headers["accept-language"] === "de" ? 600 : 2;
        response.setHeader("vary", "Accept-Language");
        return { headers: { "cache-control": `max-age=${seconds}` }, body: "x" };
      });
      const ask = async (language: string) => send(`${app.url}/a`, { headers: { "accept-language": language } });
      await ask("de");
      // A record of Vary, the response, and the generations of path, target and tag.
      await until(async () => (await lives()).length === 5);
      for (const { key, leftMs } of await lives()) expect(leftMs, key).to.be.within(590_000, 600_000);
      await ask("en");
      await until(async () => (await lives()).length === 6);
      const short = (await lives()).filter(({ leftMs }) => leftMs <= 2000);
      expect(short).to.have.length(1);
      for (const { key, leftMs } of await lives())
        if (key !== short[0]?.key) expect(leftMs, key).to.be.within(590_000, 600_000);
      expect((await ask("de")).headers["cache-status"]).to.include("hit");
      await app.gate.responses.purge("pages");
      const tag = (await lives()).filter(({ key }) => key.includes(":t:"));
      expect(tag).to.have.length(1);
      expect(tag[0]?.leftMs).to.be.within(590_000, 600_000);
    });

    it("contains no response that was purged while its handler ran", async () => {
      let run: () => void = () => undefined;
      const app = await serve(async () => {
        await new Promise<void>((resolve) => (run = resolve));
        return { headers: { "cache-control": "max-age=600" }, body: "x" };
      });
      const ends: readonly (() => Promise<unknown>)[] = [
        () => app.gate.responses.purge("pages"),
        () => app.gate.responses.purgePath("/A/"),
        () => app.gate.cache.deleteByTag("pages"),
      ];
      for (const [index, end] of ends.entries()) {
        run = () => undefined;
        const begun = run;
        const asked = send(`${app.url}/a?${index}`);
        await until(() => run !== begun);
        await end();
        run();
        await asked;
        // What is asked of the store later is answered later.
        await app.gate.cache.get("any");
        const left = await lives();
        expect(left.filter(({ key }) => key.includes(":response:"))).to.deep.equal([]);
      }
    });
  });
}

async function post(url: string): Promise<void> {
  expect((await send(url, { method: "POST" })).status).to.equal(204);
}

async function start(adapter: TestAdapter, prefix: string, handle: OriginHandler): Promise<RunningApp> {
  return adapter.start({
    options: { redis: testRedisUrl(), prefix, deadline: 1000, logger: silentLogger },
    routes: {},
    use: (gate) => [gate.cacheResponse({ tags: ["pages"] }), origin(handle)],
  });
}
