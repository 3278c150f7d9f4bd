import FakeTimers from "@sinonjs/fake-timers";
import type { FakeMethod } from "@sinonjs/fake-timers";
import { createTokenFactory } from "@portcullis/core/testing";
import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { adapters } from "../support/app.js";
import type { AnyOptions, RunningApp, TestApp } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { openGate } from "../support/fake-gate.js";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";

/** All that Jest fakes, but process.nextTick: in Jest a test has a process object of its own, and here Node would stop. */
const faked: FakeMethod[] = [
  ...(["setTimeout", "clearTimeout", "setInterval", "clearInterval", "setImmediate", "clearImmediate"] as const),
  ...(["Date", "hrtime", "performance", "queueMicrotask"] as const),
];

/** Fakes the time from now on, as Jest and Vitest do; Sinon begins at 0. */
function fakeTime(now: number = Date.now()): ReturnType<typeof FakeTimers.install> {
  const clock = FakeTimers.install({ now, toFake: faked });
  cleanUp(() => clock.uninstall());
  return clock;
}

const minute = 60_000;
const hour = 60 * minute;
const open: AnyOptions = { redis: "memory", auth: testAuth, logger: silentLogger };

for (const [index, adapter] of adapters.entries()) {
  describe(`fake timers before a gate in process on ${adapter.name}`, () => {
    const start = async (options: Partial<AnyOptions>, rest: Partial<TestApp> = {}): Promise<RunningApp> =>
      adapter.start({ options: { ...open, ...options }, routes: { "GET /": () => ({}) }, ...rest });

    it("move the windows of limits and the times of tokens, wherever they begin", async () => {
      for (const now of [undefined, 0]) {
        const limits = [
          { name: "ip", per: "ip", limit: 2, window: "1m" },
          { name: "slow", per: "user", limit: 2, window: "1m", algorithm: "sliding-window" },
        ] as const;
        const { url } = await start({ limits });
        const clock = fakeTime(now);
        const token = await signToken({ iat: undefined, exp: Math.floor(Date.now() / 1000) + 300 });
        const ask = async (): Promise<number> => (await send(url, { token })).status;
        expect([await ask(), await ask(), await ask()]).to.deep.equal([200, 200, 429]);
        clock.tick(2 * minute);
        expect(await ask()).to.equal(200);
        clock.tick(4 * minute);
        expect(await ask()).to.equal(401);
        clock.uninstall();
      }
    });

    it("do not stop a gate that was made while they were installed, then or after them", async () => {
      const clock = fakeTime();
      const { url, gate } = await start(
        { limits: [{ name: "slots", per: "ip", limit: 1, window: "1m", algorithm: "concurrency" }] },
        { use: (own) => [own.guard(), own.cacheResponse({ ttl: "1m" })] },
      );
      const token = await signToken();
      for (let round = 0; round < 3; round += 1) expect((await send(url, { token })).status).to.equal(200);
      clock.uninstall();
      for (let round = 0; round < 3; round += 1) expect((await send(url, { token })).status).to.equal(200);
      await gate.close();
    });

    it("move stored responses, and the answers of idempotent requests", async () => {
      let runs = 0;
      const { url } = await start(
        {},
        {
          use: (gate) => [gate.guard(), gate.idempotency(), gate.cacheResponse({ ttl: "1m", per: "user" })],
          routes: { "GET /": () => ({ runs: (runs += 1) }), "POST /": () => ({ runs: (runs += 1) }) },
        },
      );
      const clock = fakeTime();
      const ask = async (method: string): Promise<unknown> => {
        const headers = { "idempotency-key": "k" };
        return (await send(url, { method, headers, token: await signToken() })).json;
      };
      expect([await ask("GET"), await ask("GET")]).to.deep.equal([{ runs: 1 }, { runs: 1 }]);
      clock.tick(2 * minute);
      expect(await ask("GET")).to.deep.equal({ runs: 2 });
      expect([await ask("POST"), await ask("POST")]).to.deep.equal([{ runs: 3 }, { runs: 3 }]);
      clock.tick(25 * hour);
      expect(await ask("POST")).to.deep.equal({ runs: 4 });
    });

    it("do not stop a gate on Redis, whose own times they do not move, and seem no wrong clock to it", async () => {
      // One framework for each way: the gate was made before, or while, time was faked.
      const early = index === 0 ? fakeTime() : undefined;
      const redis = testRedisUrl();
      const { url, gate } = await start(
        { redis, prefix: freshPrefix(), deadline: 1000, limits: [{ name: "a", per: "ip", limit: 100, window: "1m" }] },
        { routes: { "GET /": async ({ cache }) => cache.getOrSet({ key: "k" }, () => ({ made: true })) } },
      );
      expect((await send(url, { token: await signToken() })).status).to.equal(200);
      const clock = early ?? fakeTime();
      clock.tick(hour);
      const old = await signToken({ iat: Math.floor(Date.now() / 1000) - 2, exp: Math.floor(Date.now() / 1000) + 9 });
      for (let round = 0; round < 3; round += 1) expect((await send(url, { token: old })).status).to.equal(200);
      clock.tick(10_000);
      expect((await send(url, { token: old })).status).to.equal(401);
      await (await gate.locks.acquire("a")).release();
      expect(gate.health().store.status).to.equal("up");
    });
  });
}

describe("fake timers", () => {
  it("move cached values, and neither the factory that runs nor its lease", async () => {
    const { cache } = openGate({});
    const clock = fakeTime();
    let runs = 0;
    const read = async (): Promise<number> => cache.getOrSet({ key: "k", ttl: "1m" }, () => (runs += 1));
    expect([await read(), await read()]).to.deep.equal([1, 1]);
    clock.tick(minute + 1);
    expect(await read()).to.equal(2);
    await cache.set("s", "x", { ttl: "1m" });
    clock.tick(minute + 1);
    expect(await cache.get("s")).to.equal(undefined);

    const slow = cache.getOrSet({ key: "slow", ttl: "1h" }, async () => {
      await new Promise((resolve) => setTimeout(resolve, 20_000));
      return (runs += 1);
    });
    await new Promise((resolve) => process.nextTick(resolve));
    await clock.tickAsync(20_000);
    expect(await slow).to.equal(3);
    expect(await cache.getOrSet({ key: "slow" }, () => 0)).to.equal(3);
  });

  it("move one-time values, sessions and blocks", async () => {
    const tokens = createTokenFactory();
    const { issuer, audience, secret } = tokens.auth;
    const gate = openGate({
      tokens: { signingKey: secret, issuer, audience, idleLifetime: "1h" },
      limits: [{ name: "a", per: "ip", limit: 5, window: "1m" }],
    });
    const clock = fakeTime();
    const { token } = await gate.oneTime.issue("reset", { a: 1 }, { ttl: "10m" });
    const session = await gate.tokens.issue({ subject: "alice" });
    await gate.quotas.block("a", "192.0.2.1", { for: "10m" });
    clock.tick(9 * minute);
    expect((await gate.oneTime.peek("reset", token))?.data).to.deep.equal({ a: 1 });
    expect((await gate.quotas.peek("a", "192.0.2.1")).blocked).to.equal(true);
    const next = await gate.tokens.refresh(session.refreshToken);
    clock.tick(2 * minute);
    expect(await gate.oneTime.peek("reset", token)).to.equal(undefined);
    expect((await gate.quotas.peek("a", "192.0.2.1")).blocked).to.equal(false);
    expect((await gate.verify(next.accessToken)).allowed).to.equal(true);
    clock.tick(15 * minute);
    expect((await gate.verify(next.accessToken)).allowed).to.equal(false);
    clock.tick(hour);
    expect(await gate.sessions.list("alice")).to.have.length(0);
  });

  it("leave a lock to its holder, which extends it", async () => {
    const { locks } = openGate({});
    const clock = fakeTime();
    const lock = await locks.acquire("a", { lease: "5s" });
    clock.tick(hour);
    expect(lock.isHeld).to.equal(true);
    await lock.release();
  });
});
