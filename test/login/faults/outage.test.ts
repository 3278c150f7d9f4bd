import { startProxy, startRedis, testAuth, testIssuer } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import type { AnyOptions, RunningApp } from "../../support/app.js";
import { adapters } from "../../support/app.js";
import { silentLogger } from "../../support/logger.js";
import type { LoginApp } from "../../support/login.js";
import { startLogin, statuses } from "../../support/login.js";
import { operate } from "../../support/redis.js";
import { until } from "../../support/until.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { loginChargeScript, loginSettleScript } from "../../../packages/core/src/store/redis/scripts/logins.js";
import { rejectionOf } from "../../support/rejection.js";

type Tail<List extends unknown[]> = List extends [unknown, ...infer Rest] ? Rest : never;

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

// The budget of a process has no framework in it: each outage is met on one of them.
for (const [index, [what, begin]] of Object.entries(outages).entries()) {
  for (const adapter of adapters.slice(index, index + 1)) {
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

      it("is refused with 503 by the option before the password check, and logins.unblock() rejects", async () => {
        const app = await startLogin(start, { onStoreError: "deny" });
        expect((await app.attempt("alice", { password: "right" })).status).to.equal(200);
        end = await begin(redis);
        for (let index = 0; index < 8; index += 1) {
          const answer = await app.attempt("alice", { password: "right" });
          expect(answer.json).to.include({ status: 503, code: "store_unavailable" });
          expect(answer.headers["retry-after"]).to.equal("1");
        }
        expect(app.checks()).to.equal(1);
        const refused = await rejectionOf(app.gate.logins.unblock({ account: "alice" }));
        expect(refused).to.include({ status: 503 });
        await end();
      });
    });
  }
}

// What is charged and taken back has no framework in it; http/login-outcomes tries all of them.
for (const adapter of adapters.slice(0, 1)) {
  describe(`sign-ins on ${adapter.name} of which Redis heard and its answers were lost`, function () {
    this.timeout(60_000);
    const cleanUp: (() => unknown)[] = [];
    afterEach(async () => {
      for (const clean of cleanUp.splice(0).reverse()) await clean();
    });

    it("lock out no account whose password was right", async () => {
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
      for (let lost = 0; lost < 6; lost += 1) {
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

    interface Lossy {
      readonly app: LoginApp;
      readonly proxy: Proxy;
      /** What Redis has counted of a kind. */
      readonly read: (kind: "ip" | "pair" | "account" | "failed") => Promise<number>;
      /** Attempts until Redis has counted so many of them and the replies were lost. Resolves to the statuses. */
      readonly lose: (count: number, attempt: () => ReturnType<LoginApp["attempt"]>) => Promise<Set<number>>;
    }

    async function startLossy(...[throttle, rest]: Tail<Parameters<typeof startLogin>>): Promise<Lossy> {
      const redis = await startRedis();
      cleanUp.push(() => redis.stop());
      const proxy = await startProxy(redis);
      cleanUp.push(() => proxy.close());
      const app = await startLogin(
        (options, more) =>
          adapter.start({
            options: {
              ...{ redis: proxy.url, deadline: 100, logger: silentLogger, instances: 1 },
              // Said, so that failures are counted for other services from the first on.
              auth: { ...testAuth, sharedIssuer: testIssuer },
              ...options,
            },
            routes: {},
            ...more,
          }),
        // Longer than this test waits for anything.
        { pair: { limit: 5, window: "10m" }, ...throttle },
        rest,
      );
      cleanUp.push(() => app.close());
      const operator = operate(redis.url);
      // Of a script that Redis does not know yet, the lost reply is that, and nothing has run.
      await until(async () => {
        const known = await operator.script("EXISTS", loginChargeScript.sha1, loginSettleScript.sha1);
        return (known as number[]).every((one) => one === 1);
      });
      return {
        ...{ app, proxy },
        async read(kind) {
          const [key] = await operator.keys(kind === "failed" ? "auth:failed:*" : `*:login:*:${kind}:*`);
          if (key === undefined) return 0;
          return Number(kind === "pair" ? await operator.hget(key, "n") : await operator.get(key));
        },
        async lose(count, attempt) {
          const seen = new Set<number>();
          for (let lost = 0; lost < count; lost += 1) {
            const { cuts } = proxy;
            proxy.cutAfter(loginChargeScript.sha1);
            await until(async () => {
              seen.add((await attempt()).status);
              return proxy.cuts > cuts;
            });
          }
          return seen;
        },
      };
    }

    it("lock out no account whose password is right after answers of 503", async () => {
      const { app, lose, read } = await startLossy({ onStoreError: "deny" });
      const wrong = () => app.attempt("alice");
      await until(async () => (await wrong()).status === 401);
      await until(async () => (await read("ip")) === (await read("pair")));
      const [failures, checks] = [await read("pair"), app.checks()];
      expect(await lose(6, wrong)).to.not.include(401);
      expect(app.checks(), "no password was looked at").to.equal(checks);
      await until(async () => (await read("pair")) === failures);
      expect([await read("ip"), await read("account")], "what was guessed stays counted").to.deep.equal([
        failures,
        failures,
      ]);
      await until(async () => (await app.attempt("alice", { password: "right" })).status === 200);
      expect(await statuses(6, wrong)).to.deep.equal([401, 401, 401, 401, 401, 429]);
    });

    for (const fault of [new Error("no database"), new StoreFault("timeout")])
      it(`keep no charge of the account if the handler then fails by a fault (${fault.name})`, async () => {
        const answer = () => {
          throw fault;
        };
        const { lose, read, app } = await startLossy({ ip: { limit: 100_000, window: "15m" } }, { answer });
        await lose(3, () => app.attempt("alice"));
        await until(async () => (await read("account")) === 0 && (await read("pair")) === 0);
        expect(await read("ip"), "the address has counted them").to.be.at.least(3);
      });

    it("stay counted, here and for other services, if their password was wrong", async () => {
      const { app, lose, read } = await startLossy();
      const wrong = () => app.attempt("alice");
      for (let index = 0; index < 2; index += 1) {
        await until(() => app.gate.health().store.status === "up");
        expect(await lose(1, wrong)).to.deep.equal(new Set([401]));
      }
      await until(async () => (await read("failed")) === 2);
      expect([await read("pair"), await read("account")]).to.deep.equal([2, 2]);
      await until(async () => {
        await app.attempt("bob", { from: "192.0.2.9" });
        return app.gate.breakers.every(({ state }) => state === "closed");
      });
      expect(await statuses(4, wrong)).to.deep.equal([401, 401, 401, 429]);
    });
  });
}
