import { signToken, startProxy, startRedis, testAuth } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import { adapters } from "../../support/app.js";
import type { AnyOptions, RunningApp } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import type { SendOptions, TestAnswer } from "../../support/http.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { origin } from "../../support/origin.js";
import { operate } from "../../support/redis.js";
import { until } from "../../support/until.js";

/** So long that only messages and gaps end what is kept in process. */
const untold = "1h";

for (const adapter of adapters)
  describe(`responses in the processes of a service on ${adapter.name}`, function () {
    this.timeout(60_000);
    let server: RedisServer;
    let proxy: Proxy;
    let version: number;

    before(async () => {
      server = await startRedis();
    });
    after(() => server.stop());
    beforeEach(async () => {
      proxy = await startProxy(server);
      cleanUp(() => proxy.close());
      version = 1;
    });
    afterEach(() => operate(server.url).flushall());

    async function serve(redis: string, ttl: string | number, options: Partial<AnyOptions> = {}): Promise<RunningApp> {
      const app = await adapter.start({
        options: {
          ...{ redis, deadline: 1000, auth: testAuth, logger: silentLogger },
          responses: { local: { ttl: ttl as never } },
          ...options,
        },
        routes: {},
        use: (gate) => [
          gate.guard({ optional: true }),
          gate.cacheResponse({ ttl: "10m", tags: ["t"] }),
          origin(({ method, response }) => {
            response.setHeader("vary", "Accept-Language");
            response.setHeader("cache-control", "public");
            return method === "POST" ? { status: 204 } : { body: `version ${version}` };
          }),
        ],
      });
      cleanUp(() => app.close());
      return app;
    }

    const ask = async (app: RunningApp, options: SendOptions = {}): Promise<TestAnswer> =>
      send(`${app.url}/r`, { ...options, headers: { host: "api.example.com", ...options.headers } });
    const shows = async (app: RunningApp, text: string): Promise<boolean> => (await ask(app)).text === text;

    /** Asks until the response is in process: one that Redis has lost is still there. */
    async function keepInProcess(...apps: RunningApp[]): Promise<void> {
      const admin = operate(server.url);
      for (const app of apps) await until(async () => String((await ask(app)).headers["cache-status"]).includes("hit"));
      const keys = await admin.keys("*:response:*");
      const values = await Promise.all(keys.map(async (key) => [key, (await admin.get(key)) ?? ""] as const));
      await until(async () => {
        if (keys.length > 0) await admin.del(...keys);
        const hits = await Promise.all(apps.map(async (app) => String((await ask(app)).headers["cache-status"])));
        for (const [key, value] of values) await admin.set(key, value, "PX", 600_000);
        // The second time it was in process before, or it is now.
        if (hits.every((status) => status.includes("hit"))) return true;
        for (const app of apps) await ask(app);
        return false;
      });
    }

    it("are ended everywhere by a purge in one of them: by tag, by path, by a value's tag, by an unsafe request", async () => {
      const [one, other] = [await serve(server.url, untold), await serve(server.url, untold)] as const;
      const ways: Record<string, () => Promise<unknown>> = {
        "responses.purge()": () => one.gate.responses.purge("t"),
        "responses.purgePath()": () => one.gate.responses.purgePath("/r"),
        "responses.purgePath(), exact": () => one.gate.responses.purgePath("/r", { query: "exact" }),
        "cache.deleteByTag()": () => one.gate.cache.deleteByTag("t"),
        "an unsafe request": () => ask(one, { method: "POST" }),
      };
      for (const [way, purge] of Object.entries(ways)) {
        await keepInProcess(one, other);
        version += 1;
        const purged = purge();
        if (way !== "an unsafe request") expect((await ask(one)).text, way).to.equal(`version ${version}`);
        await purged;
        expect((await ask(one)).text, way).to.equal(`version ${version}`);
        await until(() => shows(other, `version ${version}`));
        // And never again: what was being read meanwhile is not kept either.
        for (let asked = 0; asked < 5; asked += 1) expect((await ask(other)).text, way).to.equal(`version ${version}`);
      }
    });

    it("are those of one user, and are ended by the user's tag alone", async () => {
      const made: Record<string, number> = {};
      const start = async (): Promise<RunningApp> => {
        const app = await adapter.start({
          options: {
            ...{ redis: server.url, deadline: 1000, auth: testAuth, logger: silentLogger },
            responses: { local: { ttl: untold } },
          },
          routes: {},
          use: (gate) => [
            gate.guard(),
            gate.cacheResponse({ ttl: "10m", per: "user", tags: (_raw, { auth }) => [`of ${auth?.subject}`] }),
            origin(({ auth }) => {
              const user = auth?.subject ?? "";
              made[user] = (made[user] ?? 0) + 1;
              return { body: `${user} ${made[user]}` };
            }),
          ],
        });
        cleanUp(() => app.close());
        return app;
      };
      const [one, other] = [await start(), await start()] as const;
      const [alice, bob] = [await signToken({ sub: "alice" }), await signToken({ sub: "bob" })];
      const read = async (app: RunningApp, token: string): Promise<string> => (await ask(app, { token })).text;
      for (const app of [one, other])
        for (let asked = 0; asked < 4; asked += 1) {
          await until(async () => (await read(app, alice)) === "alice 1");
          await until(async () => (await read(app, bob)) === "bob 1");
        }
      await one.gate.responses.purge("of alice");
      await until(async () => (await read(other, alice)) === "alice 2");
      for (const app of [one, other]) {
        expect(await read(app, alice)).to.equal("alice 2");
        expect(await read(app, bob)).to.equal("bob 1");
      }
    });

    // What Redis does is the same for all frameworks.
    if (adapter !== adapters[0]) return;

    it("are ended within their time where Redis refuses to send messages and to tell of changes", async () => {
      const operator = operate(server.url);
      const rules = ["on", ">deaf-password", "~*", "resetchannels", "+@all", "-client|tracking"];
      await operator.acl("SETUSER", "deaf", ...rules);
      const one = await serve(server.url, untold);
      const other = await serve(`redis://deaf:deaf-password@127.0.0.1:${server.port}`, 300);
      for (let round = 0; round < 2; round += 1) {
        await keepInProcess(one);
        await until(async () => String((await ask(other)).headers["cache-status"]).includes("hit"));
        await ask(other);
        version += 1;
        const purgedAt = performance.now();
        await one.gate.responses.purge("t");
        await until(() => shows(other, `version ${version}`));
        // Ten times its time.
        expect(performance.now() - purgedAt).to.be.below(3000);
        for (let asked = 0; asked < 5; asked += 1) expect((await ask(other)).text).to.equal(`version ${version}`);
      }
    });

    it("are not used for ever on a connection that is silent or cut, and are all ended when it returns", async () => {
      const one = await serve(server.url, untold);
      const [brief, long] = [await serve(proxy.url, 300), await serve(proxy.url, untold)] as const;
      await keepInProcess(one);
      for (const app of [brief, long])
        await until(async () => String((await ask(app)).headers["cache-status"]).includes("hit"));
      proxy.freeze();
      version += 1;
      await one.gate.responses.purge("t");
      // Redis does not answer this process any more, so its handler does.
      await until(() => shows(brief, `version ${version}`));
      proxy.thaw();
      proxy.reset();
      for (const app of [brief, long]) {
        await until(() => shows(app, `version ${version}`));
        for (let asked = 0; asked < 5; asked += 1) expect((await ask(app)).text).to.equal(`version ${version}`);
      }
    });

    it("are ended when Redis is restarted without its data, and are kept again afterwards", async () => {
      const own = await startRedis();
      cleanUp(() => own.stop());
      const app = await serve(own.url, untold);
      await until(async () => String((await ask(app)).headers["cache-status"]).includes("hit"));
      await ask(app);
      version += 1;
      await own.kill();
      await own.restart();
      await until(() => shows(app, `version ${version}`));
      await until(async () => {
        const { headers, text } = await ask(app);
        expect(text).to.equal(`version ${version}`);
        return String(headers["cache-status"]).includes("hit");
      });
    });

    it("are made anew within their time after FLUSHALL, and a purge after it is heard as well", async () => {
      const [one, other] = [await serve(server.url, 300), await serve(server.url, 300)] as const;
      await keepInProcess(one, other);
      version += 1;
      await operate(server.url).flushall();
      for (const app of [one, other]) await until(() => shows(app, `version ${version}`));
      await keepInProcess(one, other);
      version += 1;
      await operate(server.url).flushall();
      await one.gate.responses.purge("t");
      expect((await ask(one)).text).to.equal(`version ${version}`);
      await until(() => shows(other, `version ${version}`));
    });

    it("are not kept by a cache with local: false, nor by a gate without the tier", async () => {
      const ways = { cache: [{ local: false }, {}], gate: [{}, { responses: { local: false } }] } as const;
      for (const [way, [cacheOptions, gateOptions]] of Object.entries(ways)) {
        const app = await adapter.start({
          options: { redis: server.url, deadline: 1000, logger: silentLogger, ...gateOptions },
          routes: {},
          use: (gate) => [
            gate.cacheResponse({ ttl: "10m", ...cacheOptions }),
            origin(() => ({ body: `version ${version}` })),
          ],
        });
        cleanUp(() => app.close());
        for (let asked = 0; asked < 3; asked += 1)
          await until(async () => String((await ask(app)).headers["cache-status"]).includes("hit"));
        version += 1;
        await operate(server.url).flushall();
        expect((await ask(app)).text, way).to.equal(`version ${version}`);
      }
    });
  });
