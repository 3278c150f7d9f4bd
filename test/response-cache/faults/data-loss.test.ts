import { startCluster, startRedis } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster } from "ioredis";
import { adapters } from "../../support/app.js";
import type { RunningApp } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { origin } from "../../support/origin.js";
import { operate } from "../../support/redis.js";
import { until } from "../../support/until.js";

describe("stored responses of before a purge", function () {
  this.timeout(60_000);

  for (const adapter of adapters) {
    it(`come back for a moment at most with a Redis that has lost the purge, and never in its process (${adapter.name})`, async () => {
      const server = await startRedis({ config: { save: "3600 1000000" } });
      cleanUp(() => server.stop());
      const admin = operate(server.url);
      let version = 1;
      const serve = async (): Promise<RunningApp> => {
        const app = await adapter.start({
          options: { redis: server.url, deadline: 2000, logger: silentLogger },
          routes: {},
          use: (gate) => [
            gate.cacheResponse({ ttl: "10m", tags: ["t"] }),
            origin(({ method }) => (method === "POST" ? { status: 204 } : { body: `version ${version}` })),
          ],
        });
        cleanUp(() => app.close());
        return app;
      };
      const [one, other] = [await serve(), await serve()] as const;
      const ask = async (app: RunningApp, method = "GET") =>
        send(`${app.url}/r`, { method, headers: { host: "api.example.com" } });
      const isKept = async (app: RunningApp) => String((await ask(app)).headers["cache-status"]).includes("hit");
      const ways: Record<string, () => Promise<unknown>> = {
        "responses.purge()": () => one.gate.responses.purge("t"),
        "responses.purgePath()": () => one.gate.responses.purgePath("/r"),
        "cache.deleteByTag()": () => one.gate.cache.deleteByTag("t"),
        "an unsafe request": () => ask(one, "POST"),
      };
      for (const [way, purge] of Object.entries(ways)) {
        for (const app of [one, other]) await until(() => isKept(app));
        await admin.save();
        version += 1;
        await purge();
        expect((await ask(one)).text, way).to.equal(`version ${version}`);
        // The message of the purge is on its way.
        await until(async () => (await ask(other)).text === `version ${version}`);
        await server.kill();
        await server.restart();
        // The first answers are those of a process without Redis.
        for (let hits = 0; hits < 3;) {
          const { headers, text } = await ask(one);
          expect(text, way).to.equal(`version ${version}`);
          if (String(headers["cache-status"]).includes("hit")) hits += 1;
          else await new Promise((resolve) => setImmediate(resolve));
        }
        await until(async () => (await ask(other)).text === `version ${version}` && isKept(other));
        expect((await ask(other)).text, way).to.equal(`version ${version}`);
      }
    });
  }
});

describe("stored responses in a Cluster", function () {
  this.timeout(60_000);

  for (const adapter of adapters) {
    it(`are never those from before a purge, whichever node loses its data (${adapter.name})`, async () => {
      const cluster = await startCluster({ masters: 3 });
      cleanUp(() => cluster.stop());
      const nodes = cluster.nodes.map(({ url }) => operate(url));
      let version = 1;
      const serve = async (): Promise<RunningApp> => {
        const client = new Cluster([...cluster.seeds]);
        cleanUp(() => client.disconnect());
        const app = await adapter.start({
          options: { redis: client, deadline: 2000, logger: silentLogger },
          routes: {},
          use: (gate) => [
            gate.cacheResponse({ ttl: "10m", tags: ((raw: { url: string }) => ["all", raw.url]) as never }),
            origin(({ response }) => {
              response.setHeader("vary", "Accept-Language");
              return { body: `version ${version}` };
            }),
          ],
        });
        cleanUp(() => app.close());
        return app;
      };
      const apps = [await serve(), await serve()] as const;
      const paths = Array.from({ length: 12 }, (_, index) => `/p${index}`);
      const get = async (app: RunningApp, path: string) =>
        send(app.url + path, { headers: { host: "api.example.com" } });
      const isKept = async (path: string) => String((await get(apps[0], path)).headers["cache-status"]).includes("hit");
      const ways: readonly (() => Promise<unknown>)[] = [
        () => apps[1].gate.responses.purge("all"),
        () => apps[1].gate.responses.purge(...paths),
        () => Promise.all(paths.map(async (path) => apps[1].gate.responses.purgePath(path))),
        () => Promise.all(paths.map(async (path) => apps[1].gate.responses.purgePath(path, { query: "exact" }))),
      ];
      for (const purge of ways) {
        for (const node of nodes) {
          for (const path of paths) await until(async () => isKept(path));
          version += 1;
          await purge();
          await node.flushall();
          for (const path of paths) {
            expect((await get(apps[1], path)).text, path).to.equal(`version ${version}`);
            await until(async () => (await get(apps[0], path)).text === `version ${version}`);
          }
        }
      }
      // Without a purge, what is lost is made anew, and nothing else.
      for (const path of paths) await until(async () => isKept(path));
      await nodes[0]?.flushall();
      for (const path of paths) await until(async () => isKept(path));
    });
  }
});
