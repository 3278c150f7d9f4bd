import { expect } from "chai";
import { Redis } from "ioredis";
import { allAdapters } from "../../support/app.js";
import type { RunningApp } from "../../support/app.js";
import { describeOnEveryFramework } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { origin } from "../../support/origin.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import { serveCached } from "../../support/response-cache.js";
import { until } from "../../support/until.js";

const fresh = { "cache-control": "max-age=600" };

/** Asks for these, and returns those that the handler was asked for. */
async function made(app: RunningApp, paths: readonly string[]): Promise<string[]> {
  const asked: string[] = [];
  for (const path of paths)
    if (!String((await send(app.url + path)).headers["cache-status"]).includes("hit")) asked.push(path);
  return asked;
}

/** Asks for these until all are stored. */
async function fill(app: RunningApp, paths: readonly string[]): Promise<void> {
  await until(async () => (await made(app, paths)).length === 0);
}

describeOnEveryFramework("the responses for a path", (start) => {
  const spellings = ["/posts/7", "/POSTS/7", "/posts/7/", "/Posts/%37/", "/posts/7?page=2", "/posts/7/?page=2&size=9"];
  const others = ["/posts/70", "/posts", "/posts/7/comments"];

  it("end with purgePath, in every spelling by which a router finds it, and with any query", async () => {
    const app = await serveCached(start, () => ({ headers: fresh, body: "x" }));
    for (const path of ["/posts/7", "/Posts/7/", "/posts/7?page=3", "/posts/%37"]) {
      await fill(app, [...spellings, ...others]);
      await app.gate.responses.purgePath(path);
      expect(await made(app, [...spellings, ...others]), path).to.deep.equal(spellings);
    }
  });

  it("end for one query alone by an option of purgePath, in any order of its parameters", async () => {
    const app = await serveCached(start, () => ({ headers: fresh, body: "x" }));
    const pages = ["/posts", "/posts?page=1", "/posts?page=2&size=9", "/POSTS/?size=9&page=2"];
    await fill(app, pages);
    await app.gate.responses.purgePath("/posts?size=9&page=2", { query: "exact" });
    expect(await made(app, pages)).to.deep.equal(pages.slice(2));
    await fill(app, pages);
    await app.gate.responses.purgePath("/posts", { query: "exact" });
    expect(await made(app, pages)).to.deep.equal(pages.slice(0, 1));
  });

  it("end with a successful unsafe request to the path, whatever the query and spelling of either", async () => {
    const app = await serveCached(start, ({ method, url }) =>
      method === "GET" ? { headers: fresh, body: "x" } : { status: url.includes("fail") ? 422 : 204 },
    );
    for (const path of ["/posts/7", "/POSTS/7/", "/posts/7?notify=1"]) {
      await fill(app, [...spellings, ...others]);
      await send(`${app.url}${path}${path.includes("?") ? "&" : "?"}fail`, { method: "PUT" });
      expect(await made(app, spellings)).to.deep.equal([]);
      await send(app.url + path, { method: "PUT" });
      expect(await made(app, [...spellings, ...others]), path).to.deep.equal(spellings);
    }
  });

  it("are purged by purgePath only with a path and known options", async () => {
    const { gate } = await serveCached(start, () => ({ body: "x" }));
    for (const [path, options] of [
      ["posts", {}],
      ["", {}],
      [undefined, {}],
      ["/posts", { query: "all" }],
      ["/posts", { exact: true }],
      ["/posts", "exact"],
      ["/posts", null],
    ] as const) {
      const error: unknown = await rejectionOf(gate.responses.purgePath(path as string, options as object));
      expect(error, JSON.stringify([path, options])).to.be.instanceOf(TypeError);
    }
    await gate.responses.purgePath("/posts", { query: undefined });
    await gate.responses.purgePath("/posts", undefined);
  });
});

describe("a purged response", () => {
  for (const adapter of allAdapters) {
    it(`does not come back when its purge is lost: evicted, expired, or flushed (${adapter.name})`, async () => {
      const prefix = freshPrefix();
      const redis = new Redis(testRedisUrl());
      const serve = async () =>
        adapter.start({
          options: { redis: testRedisUrl(), prefix, deadline: 1000, logger: silentLogger },
          routes: {},
          use: (gate) => [
            gate.cacheResponse({ ttl: "10m", tags: ["prices"] }),
            origin(({ url }) => ({ body: `${url} ${(calls += 1)}` })),
          ],
        });
      let calls = 0;
      const apps = [await serve(), await serve()] as const;
      const get = async (app: RunningApp) =>
        (await send(`${app.url}/p?q=1`, { headers: { host: "api.example.com" } })).text;
      try {
        const ways: readonly ((app: RunningApp) => Promise<unknown>)[] = [
          ({ gate }) => gate.responses.purge("prices"),
          ({ gate }) => gate.cache.deleteByTag("prices"),
          ({ gate }) => gate.responses.purgePath("/p"),
          ({ gate }) => gate.responses.purgePath("/p?q=1", { query: "exact" }),
          ({ url }) => send(`${url}/p`, { method: "POST", headers: { host: "api.example.com" } }),
        ];
        for (const purge of ways) {
          let before = "";
          await until(async () => {
            before = await get(apps[0]);
            return (await get(apps[0])) === before;
          });
          const stored = await redis.keys(`${prefix}*:response:*`);
          expect(stored).to.have.length(1);
          await purge(apps[1]);
          const ends = await redis.keys(`${prefix}*`);
          const lost = ends.filter((key) => !key.includes(":response:"));
          expect(lost).to.have.length.at.least(3);
          await redis.del(lost);
          expect(await redis.keys(`${prefix}*:response:*`)).to.deep.equal(stored);
          // The process that has purged knows it at once, the other one by a message.
          expect(await get(apps[1])).not.to.equal(before);
          await until(async () => (await get(apps[0])) !== before);
        }
      } finally {
        for (const app of apps) await app.close();
        redis.disconnect();
      }
    });
  }
});
