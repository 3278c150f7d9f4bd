import { expect } from "chai";
import { findFreePort, nowSeconds, signToken, startRedis, testAuth } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import { adapters } from "../../support/app.js";
import type { AnyOptions, RunningApp } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { openLatch } from "../../support/latch.js";
import { startLoopClock } from "../../support/loop-clock.js";
import { operate } from "../../support/redis.js";
import { until } from "../../support/until.js";

/** Five times the promised two deadlines of 50 ms, in which this process had nothing to do: a hanging request is far slower. */
const muchTooLongMs = 500;
/** Milliseconds that no healthy Redis takes on a busy machine, for tests in which each answer matters. */
const patient = 500;
/** What users get who say nothing, for tests of how long an outage may hold up a request. */
const byDefault = undefined;

for (const adapter of adapters) {
  describe(`when Redis has a bad day, the gate on ${adapter.name}`, function () {
    this.timeout(30_000);
    let server: RedisServer;

    beforeEach(async () => {
      server = await startRedis();
      cleanUp(() => server.stop());
    });

    async function start(options: Partial<AnyOptions> = {}): Promise<RunningApp> {
      return adapter.start({
        options: { redis: server.url, auth: testAuth, logger: silentLogger, deadline: patient, ...options },
        use: (gate) => [gate.unless({ path: "/public" }, gate.guard())],
        routes: {
          "GET /public": () => ({ public: true }),
          "GET /me": ({ auth, quotas }) => ({ subject: auth?.subject ?? null, quotas }),
          "POST /logout": async ({ auth }, gate) => gate.revocations.revoke(auth),
          "GET /cached": async ({ cache }) => cache.getOrSet({ key: "k" }, () => ({ made: true })),
          "DELETE /cached": async ({ cache }) => cache.delete("k"),
        },
      });
    }

    async function recovered({ url }: RunningApp, token: string): Promise<void> {
      const patience = Date.now() + 15_000;
      while ((await send(`${url}/me`, { token })).status !== 200) {
        if (Date.now() > patience) throw new Error("the gate did not recover");
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }

    /** Requests for a while, each answered in time. */
    async function traffic(url: string, token: string, count: number): Promise<number[]> {
      const clock = startLoopClock();
      const statuses: number[] = [];
      for (let i = 0; i < count; i += 1) {
        const since = clock();
        const batch = await Promise.all([1, 2, 3, 4].map(() => send(`${url}/me`, { token })));
        expect(clock() - since).to.be.below(muchTooLongMs);
        statuses.push(...batch.map(({ status }) => status));
      }
      return statuses;
    }

    it("starts without Redis, answers 503 where it must decide, and recovers by itself", async () => {
      const port = await findFreePort();
      const app = await start({ redis: `redis://127.0.0.1:${port}`, deadline: byDefault });
      const token = await signToken();
      expect((await send(`${app.url}/public`)).status).to.equal(200);
      const answer = await send(`${app.url}/me`, { token });
      expect(answer.status).to.equal(503);
      expect(answer.headers["retry-after"]).to.equal("1");
      expect(answer.json).to.include({ code: "store_unavailable" });
      expect((await send(`${app.url}/me`)).status).to.equal(401);
      expect(app.gate.health().status).to.equal("down");
      const late = await startRedis({ port });
      cleanUp(() => late.stop());
      await recovered(app, token);
      await until(async () => {
        await send(`${app.url}/me`, { token });
        return app.gate.health().status === "up";
      });
    });

    for (const [how, fail, repair] of [
      ["stopped", (redis: RedisServer) => redis.pause(), (redis: RedisServer) => redis.resume()],
      ["killed", (redis: RedisServer) => redis.kill(), (redis: RedisServer) => redis.restart()],
    ] as const) {
      it(`answers 503 at once while Redis is ${how}, lets no revoked token pass, and recovers`, async () => {
        const app = await start({ deadline: byDefault });
        const [token, revoked] = [await signToken(), await signToken({ jti: "revoked" })];
        await recovered(app, token);
        await operate(server.url).set("auth:revoked:revoked", "revoked", "EX", 300);
        await fail(server);
        expect(new Set(await traffic(app.url, token, 20))).to.deep.equal(new Set([503]));
        expect((await traffic(app.url, revoked, 5)).filter((status) => status === 200)).to.be.empty;
        expect((await send(`${app.url}/logout`, { method: "POST", token })).status).to.equal(503);
        expect((await send(`${app.url}/public`)).status).to.equal(200);
        await repair(server);
        await recovered(app, token);
        if (how === "stopped")
          await until(async () => (await send(`${app.url}/me`, { token: revoked })).status === 401);
      });
    }

    it("goes on without its cache, but never loses a deletion silently", async () => {
      const app = await start({ revocation: false });
      const token = await signToken();
      await recovered(app, token);
      expect((await send(`${app.url}/cached`, { token })).json).to.deep.equal({ made: true });
      await server.kill();
      expect((await send(`${app.url}/cached`, { token })).json).to.deep.equal({ made: true });
      expect((await send(`${app.url}/cached`, { method: "DELETE", token })).status).to.equal(503);
    });

    it("does not bring back a value whose deletion it could not make, while writes fail", async () => {
      const app = await start({ revocation: false });
      const token = await signToken();
      await recovered(app, token);
      await send(`${app.url}/cached`, { token });
      const admin = operate(server.url);
      const poisoned = (await admin.keys("*:cache:*"))[0] ?? "";
      await admin.set(poisoned, 'p1:{"made":"stale"}', "KEEPTTL");
      await admin.config("SET", "min-replicas-to-write", "1");
      expect((await send(`${app.url}/cached`, { method: "DELETE", token })).status).to.equal(503);
      expect((await send(`${app.url}/cached`, { token })).json).to.deep.equal({ made: true });
      await admin.config("SET", "min-replicas-to-write", "0");
      expect((await send(`${app.url}/cached`, { token })).json).to.deep.equal({ made: true });
    });

    it("is kept from Redis by hand, and let back", async () => {
      const app = await start();
      const token = await signToken();
      await recovered(app, token);
      expect(app.gate.breakers.map(({ name, state }) => [name, state])).to.deep.include(["redis.security", "closed"]);
      const statistics = async () => operate(server.url).info("commandstats");
      // The examination of the server, which sends this command alone, asks about a token too.
      await until(async () => (await statistics()).includes("cmdstat_zmscore:"));
      for (const breaker of app.gate.breakers) breaker.open();
      // What the script asks about a token; the marker of lost data goes on being looked at.
      const asked = async () => /cmdstat_exists:calls=\d+/.exec(await statistics())?.[0];
      const before = await asked();
      expect(before).to.be.a("string");
      for (let round = 0; round < 5; round += 1) expect((await send(`${app.url}/me`, { token })).status).to.equal(503);
      expect(await asked()).to.equal(before);
      expect(app.gate.health().store.findings).to.include("calls fail");
      for (const breaker of app.gate.breakers) breaker.close();
      expect((await send(`${app.url}/me`, { token })).status).to.equal(200);
    });

    it("limits in this process alone, or not at all, or answers 503, as each policy says", async () => {
      const limits = (["local", "allow", "deny"] as const).map((onStoreError) => ({
        name: onStoreError,
        per: (raw: { headers: Record<string, unknown> }) => String(raw.headers["x-key"]),
        skip: (raw: { headers: Record<string, unknown> }) => raw.headers["x-policy"] !== onStoreError,
        limit: 4,
        window: "1m" as const,
        onStoreError,
      }));
      const app = await start({ auth: undefined, limits, instances: 2, deadline: byDefault });
      await server.kill();
      const ask = (policy: string) => send(`${app.url}/me`, { headers: { "x-policy": policy, "x-key": "k" } });
      const statuses = async (policy: string) => {
        const all: number[] = [];
        for (let i = 0; i < 5; i += 1) all.push((await ask(policy)).status);
        return all;
      };
      expect(await statuses("local")).to.deep.equal([200, 200, 429, 429, 429]);
      expect(await statuses("allow")).to.deep.equal([200, 200, 200, 200, 200]);
      expect(await statuses("deny")).to.deep.equal([503, 503, 503, 503, 503]);
      const passed = await ask("allow");
      expect(passed.headers).to.not.have.any.keys("ratelimit", "ratelimit-policy");
      expect(Number((await ask("local")).headers["retry-after"])).to.be.within(1, 60);
    });

    it("with an allowance for revocation, still refuses tokens that this process knows to be revoked", async () => {
      const app = await start({ revocation: { onStoreError: "allow" } });
      const [token, revoked] = [await signToken(), await signToken()];
      await recovered(app, token);
      expect((await send(`${app.url}/logout`, { method: "POST", token: revoked })).status).to.equal(204);
      await server.kill();
      expect((await send(`${app.url}/me`, { token })).status).to.equal(200);
      expect((await send(`${app.url}/me`, { token: revoked })).status).to.equal(401);
    });

    it("with a grace period, lets tokens pass that long after the last answer and no longer", async () => {
      const app = await start({ revocation: { onStoreError: { graceMs: 1500 } } });
      const token = await signToken();
      await recovered(app, token);
      await server.kill();
      expect((await send(`${app.url}/me`, { token })).status).to.equal(200);
      await new Promise((resolve) => setTimeout(resolve, 1600));
      expect((await send(`${app.url}/me`, { token })).status).to.equal(503);
    });

    it("short of memory, goes on asking about revocation and counts by itself", async () => {
      const app = await start({ limits: [{ name: "ip", per: "ip", limit: 9, window: "1m" }] });
      const [token, revoked] = [await signToken(), await signToken({ jti: "revoked" })];
      await app.gate.revocations.revoke({ jti: "revoked", expiresAt: nowSeconds() + 300 });
      await operate(server.url).config("SET", "maxmemory", "1");
      const statuses: number[] = [];
      for (let i = 0; i < 7; i += 1) statuses.push((await send(`${app.url}/me`, { token })).status);
      expect(new Set(statuses)).to.deep.equal(new Set([200]));
      expect((await send(`${app.url}/me`, { token: revoked })).status).to.equal(401);
      expect((await send(`${app.url}/logout`, { method: "POST", token })).status).to.equal(503);
      expect((await send(`${app.url}/me`, { token })).status).to.equal(429);
      expect(app.gate.health().status).to.equal("degraded");
    });

    it("on a replica, looks for the master but goes on asking about revocation", async () => {
      // More than can be asked while it is waited for.
      const app = await start({ limits: [{ name: "ip", per: "ip", limit: 1_000_000, window: "1m" }] });
      const [token, revoked] = [await signToken(), await signToken({ jti: "revoked" })];
      await app.gate.revocations.revoke({ jti: "revoked", expiresAt: nowSeconds() + 300 });
      await operate(server.url).replicaof("127.0.0.1", 1);
      expect((await traffic(app.url, token, 20)).filter((status) => status !== 200 && status !== 503)).to.be.empty;
      await until(async () => {
        const statuses = await traffic(app.url, token, 5);
        expect(statuses.filter((status) => status !== 200 && status !== 503)).to.be.empty;
        return statuses.every((status) => status === 200);
      });
      expect((await send(`${app.url}/me`, { token: revoked })).status).to.equal(401);
      expect((await send(`${app.url}/logout`, { method: "POST", token })).status).to.equal(503);
    });

    it("harms one policy alone by a key of a wrong type, and invents no numbers", async () => {
      const app = await start({
        limits: [
          { name: "poisoned", per: () => "k", limit: 5, window: "1m", onStoreError: "allow" },
          { name: "sound", per: () => "k", limit: 5, window: "1m" },
        ],
      });
      const token = await signToken();
      await recovered(app, token);
      const admin = operate(server.url);
      const key = (await admin.keys("*:poisoned:*"))[0] ?? "";
      for (const poison of [() => admin.rpush(key, "x"), () => admin.set(key, "abc"), () => admin.set(key, "NaN")]) {
        await admin.del(key);
        await poison();
        const answer = await send(`${app.url}/me`, { token });
        expect(answer.status).to.equal(200);
        expect(answer.headers.ratelimit).to.match(/^"sound";r=\d;t=\d+$/);
      }
    });

    it("holds a slot for a request that one alternative passes after another refused it in doubt of its revocation", async () => {
      const latch = openLatch();
      const { url } = await adapter.start({
        options: {
          redis: server.url,
          auth: testAuth,
          logger: silentLogger,
          deadline: patient,
          limits: [{ name: "slots", per: "user", algorithm: "concurrency", limit: 1, window: "5m" }],
        },
        use: (gate) => [gate.some(gate.guard(), gate.guard({ onStoreError: "allow" }))],
        routes: { "GET /held": latch.wait },
      });
      await operate(server.url).set("auth:cutoff:alice", "nan");
      const token = await signToken();
      const held = send(`${url}/held`, { token });
      await latch.waiting(1);
      const second = send(`${url}/held`, { token });
      await Promise.race([second, latch.waiting(2)]);
      latch.open();
      // Of the refusals of all alternatives, the outage is the answer.
      expect((await second).status).to.equal(503);
      expect((await held).status).to.equal(200);
    });

    it("heals a counter that has lost its end", async () => {
      const app = await start({ limits: [{ name: "p", per: () => "k", limit: 5, window: "1m" }] });
      const token = await signToken();
      await recovered(app, token);
      const admin = operate(server.url);
      const key = (await admin.keys("*:p:*"))[0] ?? "";
      for (const value of ["1", "99"]) {
        await admin.set(key, value);
        await send(`${app.url}/me`, { token });
        expect(await admin.pttl(key)).to.be.within(1, 60_000);
      }
    });

    it("does not notice that Redis has forgotten its scripts", async () => {
      const app = await start({ limits: [{ name: "ip", per: "ip", limit: 100, window: "1m" }] });
      const token = await signToken();
      await recovered(app, token);
      const admin = operate(server.url);
      await admin.script("FLUSH");
      expect(new Set(await traffic(app.url, token, 5))).to.deep.equal(new Set([200]));
    });

    for (const [what, credentials, mended] of [
      ["a wrong password (WRONGPASS)", ":the-wrong-password@", "the-wrong-password"],
      ["no password (NOAUTH)", "", ""],
    ] as const) {
      it(`with ${what}, answers 503 without details, and works as soon as it is corrected`, async () => {
        const said: string[] = [];
        const note = (fields: object, message: string) => said.push(message, JSON.stringify(fields));
        const admin = operate(server.url);
        await admin.config("SET", "requirepass", "the-right-password");
        const app = await start({
          redis: server.url.replace("redis://", `redis://${credentials}`),
          logger: { debug: note, warn: note },
        });
        const token = await signToken();
        const answer = await send(`${app.url}/me`, { token });
        expect(answer.status).to.equal(503);
        await until(() => said.join("\n").includes("connection to Redis failed"));
        await admin.config("SET", "requirepass", mended);
        await recovered(app, token);
        expect(said.join("\n") + answer.text).to.not.match(/the-(wrong|right)-password/);
      });
    }
  });
}
