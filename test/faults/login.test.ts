import { startProxy, startRedis } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import type { AnyOptions, RunningApp } from "../support/app.js";
import { adapters, allAdapters } from "../support/app.js";
import { silentLogger } from "../support/logger.js";
import { startLogin, statuses } from "../support/login.js";
import { until } from "../support/until.js";
import { loginChargeScript } from "../../packages/core/src/store/redis/scripts/login-charge.js";

/** What can be wrong with a Redis, and how it comes back. */
const outages: Readonly<Record<string, (redis: RedisServer) => Promise<() => Promise<void>>>> = {
  "is gone": async (redis) => {
    await redis.kill();
    return () => redis.restart();
  },
  "does not answer": (redis) => {
    redis.pause();
    return Promise.resolve(() => Promise.resolve(redis.resume()));
  },
};

for (const adapter of adapters) {
  for (const [what, begin] of Object.entries(outages)) {
    describe(`a login on ${adapter.name} while Redis ${what}`, function () {
      this.timeout(20_000);
      const cleanUp: (() => unknown)[] = [];
      let redis: RedisServer;
      let end: () => Promise<void>;

      beforeEach(async () => {
        redis = await startRedis();
        cleanUp.push(() => redis.stop());
      });
      afterEach(async () => {
        for (const clean of cleanUp.splice(0).reverse()) await clean();
      });

      async function start(options?: Partial<AnyOptions>, rest?: object): Promise<RunningApp> {
        const app = await adapter.start({
          options: { redis: redis.url, deadline: 100, logger: silentLogger, instances: 1, ...options },
          routes: {},
          ...rest,
        });
        cleanUp.push(() => app.close());
        return app;
      }

      it("gets a stricter budget of this process, and the whole one again afterwards", async () => {
        const app = await startLogin(start);
        expect((await app.attempt("alice", { password: "right" })).status).to.equal(200);
        end = await begin(redis);
        expect(await statuses(6, () => app.attempt("alice"))).to.deep.equal([401, 401, 429, 429, 429, 429]);
        const answers = await Promise.all(Array.from({ length: 50 }, () => app.attempt("bob")));
        expect(answers.filter(({ status }) => status === 401)).to.have.length(2);
        expect((await app.attempt("alice", { password: "right", from: "192.0.2.2" })).status).to.equal(200);
        expect(app.checks()).to.equal(6);
        await end();
        let tries = 0;
        await until(async () => {
          await app.attempt("carol", { from: `203.0.113.${(tries += 1) % 250}` });
          return app.gate.breakers.every(({ state }) => state === "closed");
        });
        const seen = await statuses(6, () => app.attempt("dave"));
        expect(seen).to.deep.equal([401, 401, 401, 401, 401, 429]);
      });

      it("is refused with 503 if told so, before a password is looked at, and nothing is unblocked in vain", async () => {
        const app = await startLogin(start, { onStoreError: "deny" });
        expect((await app.attempt("alice", { password: "right" })).status).to.equal(200);
        end = await begin(redis);
        for (let index = 0; index < 8; index += 1) {
          const answer = await app.attempt("alice", { password: "right" });
          expect(answer.json).to.include({ status: 503, code: "store_unavailable" });
          expect(answer.headers["retry-after"]).to.equal("1");
        }
        expect(app.checks()).to.equal(1);
        const refused = await app.gate.logins.unblock({ account: "alice" }).catch((error: unknown) => error);
        expect(refused).to.include({ status: 503 });
        await end();
      });
    });
  }
}

for (const adapter of allAdapters) {
  describe(`sign-ins on ${adapter.name} of which Redis heard and its answers were lost`, function () {
    this.timeout(60_000);
    const cleanUp: (() => unknown)[] = [];
    afterEach(async () => {
      for (const clean of cleanUp.splice(0).reverse()) await clean();
    });

    it("lock nobody out whose password was right", async () => {
      const redis = await startRedis();
      cleanUp.push(() => redis.stop());
      const proxy = await startProxy(redis);
      cleanUp.push(() => proxy.close());
      const app = await startLogin((options, rest) =>
        adapter.start({
          options: { redis: proxy.url, deadline: 100, logger: silentLogger, instances: 1, ...options },
          routes: {},
          ...rest,
        }),
      );
      cleanUp.push(() => app.close());
      const signIn = () => app.attempt("alice", { password: "right" });
      expect((await signIn()).status).to.equal(200);
      // Five attempts are what a pair has.
      for (let lost = 0; lost < 7; lost += 1) {
        const { cuts } = proxy;
        proxy.cutAfter(loginChargeScript.sha1);
        await until(async () => {
          expect((await signIn()).status).to.equal(200);
          return proxy.cuts > cuts;
        });
      }
      await until(async () => {
        expect((await signIn()).status).to.equal(200);
        return app.gate.breakers.every(({ state }) => state === "closed");
      });
      expect(await statuses(3, signIn)).to.deep.equal([200, 200, 200]);
    });
  });
}
