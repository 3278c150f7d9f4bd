import { startCluster } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster } from "ioredis";
import { adapters } from "../support/app.js";
import type { RunningApp } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { origin } from "../support/origin.js";
import { operate } from "../support/redis.js";
import { until } from "../support/until.js";

describe("stored responses in a Cluster", function () {
  this.timeout(60_000);

  for (const adapter of adapters) {
    it(`are never again those from before a purge, whichever node loses all that it has (${adapter.name})`, async () => {
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
          for (const app of apps)
            for (const path of paths) expect((await get(app, path)).text, path).to.equal(`version ${version}`);
        }
      }
      // Without a purge, what is lost is made anew, and nothing else.
      for (const path of paths) await until(async () => isKept(path));
      await nodes[0]?.flushall();
      for (const path of paths) await until(async () => isKept(path));
    });
  }
});
