import { startProxy, startRedis } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { adapters, allAdapters } from "../../support/app.js";
import type { AnyGate, RunningApp, TestAdapter } from "../../support/app.js";
import { startCacheProcess } from "../../support/cache-fleet.js";
import type { CacheProcess } from "../../support/cache-fleet.js";
import { send as sendTo } from "../../support/http.js";
import type { SendOptions, TestAnswer } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { origin } from "../../support/origin.js";
import { freshPrefix } from "../../support/redis.js";
import { until } from "../../support/until.js";

/** What keeps an invalidation from its Redis, and how that ends. */
type Fault = "stands still" | "is cut off" | "loses a reply and is cut off" | "takes no writes";
const faults: readonly Fault[] = ["stands still", "is cut off", "loses a reply and is cut off", "takes no writes"];

describe("an invalidation that Redis missed", function () {
  this.timeout(60_000);
  let server: RedisServer;
  let proxy: Proxy;
  let admin: Redis;

  before(async () => {
    server = await startRedis();
    admin = new Redis(server.url);
  });
  beforeEach(async () => {
    proxy = await startProxy(server);
  });
  afterEach(async () => {
    await end();
    await proxy.close();
  });
  after(async () => {
    admin.disconnect();
    await server.stop();
  });

  async function begin(fault: Fault): Promise<void> {
    if (fault === "stands still") server.pause();
    if (fault === "takes no writes") await admin.config("SET", "maxmemory", "1");
    if (fault === "is cut off" || fault === "loses a reply and is cut off") {
      proxy.mode = "refuse";
      if (fault === "is cut off") proxy.reset();
      else proxy.cutAfter("portcullis");
    }
  }

  async function end(): Promise<void> {
    server.resume();
    await admin.config("SET", "maxmemory", "0");
    proxy.mode = "pass";
  }

  /** How an application ends its responses. */
  const ways: Record<string, (app: RunningApp) => Promise<unknown>> = {
    "an unsafe request": (app) => send(`${app.url}/r`, { method: "POST" }),
    "responses.purge()": ({ gate }) => gate.responses.purge("t"),
    "responses.purgePath()": ({ gate }) => gate.responses.purgePath("/r"),
    "cache.deleteByTag()": ({ gate }) => gate.cache.deleteByTag("t"),
  };

  // What is repeated has no framework in it: each fault is tried on one of them, in every way.
  for (const [index, fault] of faults.entries()) {
    for (const adapter of allAdapters.slice(index, index + 1)) {
      it(`is repeated, and its process receives events again, when Redis ${fault} (${adapter.name})`, async () => {
        for (const [way, invalidate] of Object.entries(ways)) {
          const prefix = freshPrefix();
          let version = 1;
          const [one, other] = [
            await serve(adapter, proxy.url, prefix, () => version),
            await serve(adapter, server.url, prefix, () => version),
          ];
          const reads = (app: RunningApp) => async () => (await send(`${app.url}/r`)).text === `version ${version}`;
          await until(reads(one));
          await until(async () => String((await send(`${other.url}/r`)).headers["cache-status"]).includes("hit"));
          await begin(fault);
          version += 1;
          await invalidate(one).catch(() => undefined);
          // This process knows it at once, whether Redis can be read or not.
          expect((await send(`${one.url}/r`)).text, way).to.equal("version 2");
          await until(() => invalidations(one.gate, "missed") > 0);
          await end();
          // Nobody asks the process that missed it.
          await until(reads(other));
          await until(() => invalidations(one.gate, "missed") === invalidations(one.gate, "repeated"));
          for (let round = 0; round < 2; round += 1) {
            await until(async () => String((await send(`${one.url}/r`)).headers["cache-status"]).includes("hit"));
            version += 1;
            await other.gate.responses.purge("t");
            // Only the event ends what this process keeps.
            await until(reads(one));
          }
          await Promise.all([one.close(), other.close()]);
        }
      });
    }
  }

  for (const adapter of adapters) {
    it(`is made good when its process closes before it is repeated (${adapter.name})`, async () => {
      for (const [way, invalidate] of Object.entries(ways)) {
        const prefix = freshPrefix();
        let version = 1;
        const one = await serve(adapter, proxy.url, prefix, () => version);
        const other = await serve(adapter, server.url, prefix, () => version);
        const reads = async (): Promise<string> => (await send(`${other.url}/r`)).text;
        await until(async () => (await reads()) === "version 1");
        // Refused, so that nothing is on its way that could arrive later by itself.
        await begin("takes no writes");
        version += 1;
        await invalidate(one).catch(() => undefined);
        await until(() => invalidations(one.gate, "missed") > 0);
        await end();
        await one.close();
        expect(await reads(), way).to.equal("version 2");
        await other.close();
      }
    });
  }

  it("of values too, in a process whose listening connection was away meanwhile, and in others", async () => {
    const processes = [startCacheProcess(), startCacheProcess(), startCacheProcess()];
    try {
      const [one, ...others] = processes as [CacheProcess, CacheProcess, CacheProcess];
      const prefix = freshPrefix();
      const cache = { tracked: true, local: { ttl: "1m" } } as const;
      await one.run({ op: "open", url: proxy.url, prefix, cache });
      for (const other of others) await other.run({ op: "open", url: server.url, prefix, cache });
      const reads = (expected: unknown) =>
        until(async () => {
          const values = await Promise.all(processes.map((each) => each.run({ op: "get", key: "k" })));
          return values.every((value) => value === expected);
        });
      for (const change of [
        { op: "delete", key: "k" },
        { op: "deleteByTag", tag: "t" },
      ] as const) {
        await others[0].run({ op: "set", key: "k", value: "old" });
        await reads("old");
        proxy.mode = "refuse";
        proxy.reset();
        expect(await one.run(change).catch(() => "missed")).to.equal("missed");
        proxy.mode = "pass";
        await reads(undefined);
        await others[0].run({ op: "set", key: "k", value: "new" });
        await reads("new");
        await others[1].run(change);
        await reads(undefined);
      }
    } finally {
      for (const each of processes) await each.kill();
    }
  });
});

async function serve(adapter: TestAdapter, redis: string, prefix: string, version: () => number): Promise<RunningApp> {
  const app = await adapter.start({
    // Only events end what a process keeps.
    options: { redis, prefix, logger: silentLogger, responses: { local: { ttl: "1h" } } },
    routes: {},
    use: (gate) => [
      gate.cacheResponse({ ttl: "1h", tags: ["t"] }),
      origin(({ method }) => (method === "POST" ? { status: 204 } : { body: `version ${version()}` })),
    ],
  });
  // So that the first fault is not that there is no connection yet.
  await until(() => app.gate.health().store.status === "up");
  return app;
}

function invalidations(gate: AnyGate, outcome: string): number {
  const samples = gate.metrics().find(({ name }) => name === "portcullis_cache_invalidations_total")?.samples ?? [];
  return samples.find(({ labels }) => labels.outcome === outcome)?.value ?? 0;
}

/** Whichever process answers, it is the same host. */
function send(url: string, options: SendOptions = {}): Promise<TestAnswer> {
  return sendTo(url, { ...options, headers: { host: "api.example.com" } });
}
