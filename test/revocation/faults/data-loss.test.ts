import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { events } from "@portcullis/core";
import { expect } from "chai";
import type { Redis } from "ioredis";
import { nowSeconds, signToken, startRedis, testAuth } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import { adapters } from "../../support/app.js";
import type { AnyOptions, RunningApp } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { operate } from "../../support/redis.js";
import { withoutGate } from "../../support/without-gate.js";

for (const [index, adapter] of adapters.entries()) {
  describe(`when Redis forgets, the gate on ${adapter.name}`, function () {
    this.timeout(30_000);
    let server: RedisServer;
    let operator: Redis;

    beforeEach(async () => {
      server = await startRedis();
      cleanUp(() => server.stop());
      operator = operate(server.url);
    });

    async function start(options: Partial<AnyOptions> = {}): Promise<RunningApp> {
      const app = await adapter.start({
        options: { redis: server.url, auth: testAuth, logger: silentLogger, deadline: 1000, ...options },
        routes: { "GET /me": () => ({}), "POST /logout": async ({ auth }, gate) => gate.revocations.revoke(auth) },
      });
      await until(() => app.gate.health().store.status === "up");
      await until(async () => (await operator.keys("portcullis:2:marker:*")).length === 1);
      return app;
    }

    async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
      const patience = Date.now() + 20_000;
      while (!(await condition())) {
        if (Date.now() > patience) throw new Error("it did not come to that");
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }

    function lossesOf({ gate }: RunningApp): number {
      const counter = gate.metrics().find(({ name }) => name === "portcullis_data_losses_total");
      return counter?.samples[0]?.value ?? Number.NaN;
    }

    // What a process notices has no framework in it: each loss that takes long to see is met on one of them.
    if (index === 0) {
      it("notices FLUSHALL, reports it once, and repeats its recent revocations", async () => {
        const app = await start();
        const [revoked, cut, good] = await Promise.all([
          signToken({ sub: "a" }),
          signToken({ sub: "mallory", iat: nowSeconds() - 10 }),
          signToken({ sub: "alice" }),
        ]);
        expect((await send(`${app.url}/logout`, { method: "POST", token: revoked })).status).to.equal(204);
        const cutoff = await app.gate.revocations.revokeSubject("mallory");
        const heard: unknown[] = [];
        const note = (message: unknown): void => void heard.push(message);
        subscribe(events.dataLost.name, note);
        cleanUp(() => unsubscribe(events.dataLost.name, note));
        await operator.flushall();
        await until(() => lossesOf(app) === 1);
        expect(heard.map(withoutGate)).to.deep.equal([{}]);
        await until(async () => (await send(`${app.url}/me`, { token: revoked })).status === 401);
        await until(async () => (await send(`${app.url}/me`, { token: cut })).status === 401);
        expect(Number(await operator.get("auth:cutoff:mallory"))).to.equal(cutoff);
        expect((await send(`${app.url}/me`, { token: good })).status).to.equal(200);
        await new Promise((resolve) => setTimeout(resolve, 1500));
        expect(lossesOf(app)).to.equal(1);
        for (const key of await operator.keys("*")) expect(await operator.pttl(key), key).to.be.greaterThan(0);
      });
    }

    it("notices a restart without persistence", async () => {
      const app = await start();
      const token = await signToken();
      await send(`${app.url}/logout`, { method: "POST", token });
      await server.restart();
      await until(() => lossesOf(app) === 1);
      await until(async () => (await send(`${app.url}/me`, { token })).status === 401);
    });

    if (index === 1) {
      it("takes no restart with persistence and no outage for a loss", async () => {
        const app = await start();
        const token = await signToken();
        await send(`${app.url}/logout`, { method: "POST", token });
        await operator.save();
        server.pause();
        await new Promise((resolve) => setTimeout(resolve, 300));
        server.resume();
        await server.restart();
        await until(async () => (await send(`${app.url}/me`, { token })).status === 401);
        await new Promise((resolve) => setTimeout(resolve, 1500));
        expect(lossesOf(app)).to.equal(0);
      });
    }

    it("with the option refuses with 503 until the data is back, and does not hide the loss from other processes", async () => {
      const app = await start({ revocation: { onDataLoss: "deny" } });
      const token = await signToken();
      expect((await send(`${app.url}/me`, { token })).status).to.equal(200);
      const [marker] = await operator.keys("portcullis:2:marker:*");
      const content = await operator.get(marker!);
      await operator.flushall();
      await until(async () => (await send(`${app.url}/me`, { token })).status === 503);
      expect(app.gate.health().store).to.deep.equal({ kind: "redis", status: "degraded", findings: ["data was lost"] });
      expect(await operator.exists(marker!)).to.equal(0);
      await operator.set(marker!, content!, "EX", 1000);
      await until(async () => (await send(`${app.url}/me`, { token })).status === 200);
    });
  });
}
