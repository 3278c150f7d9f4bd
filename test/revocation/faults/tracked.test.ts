import { expect } from "chai";
import { Redis } from "ioredis";
import { findFreePort, nowSeconds, signToken, startRedis, testAuth, startProxy } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { adapters } from "../../support/app.js";
import type { AnyOptions, RunningApp } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { operate } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";

/** The default bound of 2 s, and as much again for a slow machine. */
const boundMs = 2000;

for (const [index, adapter] of adapters.entries()) {
  describe(`revocation with check: "tracked" on ${adapter.name}`, function () {
    this.timeout(30_000);
    let server: RedisServer;
    let proxy: Proxy;
    let operator: Redis;

    before(async () => {
      server = await startRedis();
    });
    beforeEach(async () => {
      proxy = await startProxy(server);
      cleanUp(() => proxy.close());
      operator = operate(server.url);
    });
    after(() => server.stop());

    async function start(options: Partial<AnyOptions> = {}): Promise<RunningApp> {
      return adapter.start({
        options: {
          redis: proxy.url,
          auth: testAuth,
          logger: silentLogger,
          deadline: 500,
          revocation: { check: "tracked" },
          ...options,
        },
        routes: { "GET /me": ({ quotas }) => ({ quotas }) },
      });
    }

    async function scriptCalls(): Promise<number> {
      const stats = await operator.info("commandstats");
      return ["eval", "evalsha"].reduce((sum, command) => {
        const calls = new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1];
        return sum + Number(calls ?? 0);
      }, 0);
    }

    async function untilLocal({ url }: RunningApp, token: string): Promise<void> {
      const patience = Date.now() + 15_000;
      for (;;) {
        const before = await scriptCalls();
        for (let round = 0; round < 10; round += 1) await send(`${url}/me`, { token });
        if ((await scriptCalls()) - before <= 4) return;
        if (Date.now() > patience) throw new Error("answers are not kept");
      }
    }

    async function msUntilRefused({ url }: RunningApp, token: string): Promise<number> {
      const start = performance.now();
      while ((await send(`${url}/me`, { token })).status === 200) {
        if (performance.now() - start > 10 * boundMs) throw new Error("a revoked token is accepted for ever");
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      return performance.now() - start;
    }

    it("does not ask Redis again about a known token, and receives revocations by any process", async () => {
      const app = await start();
      const token = await signToken({ jti: "tracked-1" });
      await untilLocal(app, token);
      await operator.set("auth:revoked:tracked-1", "revoked", "EX", 100);
      expect(await msUntilRefused(app, token)).to.be.lessThan(2 * boundMs);
      const byUser = await signToken({ sub: "tracked-user" });
      await untilLocal(app, byUser);
      await operator.set("auth:cutoff:tracked-user", nowSeconds() + 1, "EX", 100);
      expect(await msUntilRefused(app, byUser)).to.be.lessThan(2 * boundMs);
    });

    it("goes on counting", async () => {
      const app = await start({ limits: [{ name: "user", per: "user", limit: 5, window: "1m" }] });
      const token = await signToken({ sub: "counted" });
      const statuses: number[] = [];
      for (let round = 0; round < 7; round += 1) statuses.push((await send(`${app.url}/me`, { token })).status);
      expect(statuses).to.deep.equal([200, 200, 200, 200, 200, 429, 429]);
    });

    // What a process has heard has no framework in it.
    if (index === 0) {
      it("keeps its bound while connections are frozen, cut, or kept from coming back", async () => {
        for (const fault of ["freeze", "reset"] as const) {
          const app = await start();
          const jti = `tracked-${fault}`;
          const token = await signToken({ jti });
          await untilLocal(app, token);
          proxy[fault]();
          await operator.set(`auth:revoked:${jti}`, "revoked", "EX", 100);
          // 503 where Redis cannot be asked, 401 where it can: no longer 200.
          expect(await msUntilRefused(app, token), fault).to.be.lessThan(2 * boundMs);
          proxy.thaw();
        }
      });
    }

    if (index === 1) {
      it("never accepts a token that was revoked before the answer about it was kept", async () => {
        const app = await start();
        const tokens = await Promise.all(
          Array.from({ length: 100 }, async (_, index) => ({
            jti: `race-${index}`,
            token: await signToken({ jti: `race-${index}` }),
          })),
        );
        await Promise.all(
          tokens.map(async ({ jti, token }) => {
            const early = Promise.all(Array.from({ length: 3 }, () => send(`${app.url}/me`, { token })));
            await operator.set(`auth:revoked:${jti}`, "revoked", "EX", 100);
            await early;
          }),
        );
        await new Promise((resolve) => setTimeout(resolve, 100));
        const late = await Promise.all(tokens.map(({ token }) => send(`${app.url}/me`, { token })));
        expect(late.filter(({ status }) => status === 200)).to.have.length(0);
      });
    }

    it("asks as ever where Redis does not let it listen", async () => {
      await operator.acl("SETUSER", "deaf", "on", ">deaf-password", "~*", "&*", "+@all", "-client|tracking");
      const app = await start({ redis: `redis://deaf:deaf-password@127.0.0.1:${server.port}` });
      const token = await signToken({ jti: "deaf" });
      expect((await send(`${app.url}/me`, { token })).status).to.equal(200);
      await operator.set("auth:revoked:deaf", "revoked", "EX", 100);
      expect((await send(`${app.url}/me`, { token })).status).to.equal(401);
    });

    it("works on a client of the user's own", async () => {
      const client = new Redis(server.url);
      cleanUp(() => client.disconnect());
      const app = await start({ redis: client });
      const token = await signToken({ jti: "own-client" });
      await untilLocal(app, token);
      await operator.set("auth:revoked:own-client", "revoked", "EX", 100);
      expect(await msUntilRefused(app, token)).to.be.lessThan(2 * boundMs);
    });
  });
}

describe("revoke({ replicas })", function () {
  this.timeout(30_000);

  it("resolves when the replicas have the record, and rejects when they do not", async () => {
    const master = await startRedis();
    cleanUp(() => master.stop());
    const replica = await startRedis({ port: await findFreePort(), config: { replicaof: `127.0.0.1 ${master.port}` } });
    cleanUp(() => replica.stop());
    const operator = operate(replica.url);
    const [adapter] = adapters;
    const app = await adapter!.start({
      options: { redis: master.url, auth: testAuth, logger: silentLogger, deadline: 1000 },
      routes: {},
    });
    const { revocations } = app.gate;
    const token = (jti: string) => ({ jti, expiresAt: nowSeconds() + 100 });
    const patience = Date.now() + 15_000;
    while (!(await operator.info("replication")).includes("master_link_status:up")) {
      if (Date.now() > patience) throw new Error("no replica");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await revocations.revoke(token("replicated"), { replicas: 1 });
    expect(await operator.get("auth:revoked:replicated")).to.equal("revoked");
    await Promise.all([
      revocations.revoke(token("r1"), { replicas: 1 }),
      revocations.revoke(token("r2"), { replicas: 1 }),
    ]);
    const lonely = await rejectionOf(revocations.revoke(token("lonely"), { replicas: 2 }));
    expect(lonely).to.include({ name: "StoreFault", kind: "refused", reply: "NOREPLICAS", status: 503 });
    expect(await revocations.isRevoked({ jti: "lonely" })).to.equal(true);
    operator.disconnect();
    await replica.stop();
    const gone = await rejectionOf(revocations.revoke(token("gone"), { replicas: 1 }));
    expect(gone).to.include({ name: "StoreFault" });
    for (const wrong of [-1, 1.5, "1", Number.NaN])
      expect(String(await rejectionOf(revocations.revoke(token("x"), { replicas: wrong as number })))).to.include(
        "revoke().replicas",
      );
  });
});
