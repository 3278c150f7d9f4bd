import { setTimeout as sleep } from "node:timers/promises";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { signToken, startProxy, startRedis, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import type { AnyOptions } from "../../support/app.js";
import { adapters } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";

/** The process is busy, as while it loads its modules: nothing else happens in it. */
function beBusy(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

describe("the first calls of a process", function () {
  this.timeout(20_000);
  let redis: RedisServer;
  let proxy: Proxy;

  before(async () => {
    redis = await startRedis();
    proxy = await startProxy(redis);
  });
  after(async () => {
    await proxy.close();
    await redis.stop();
  });
  afterEach(() => {
    proxy.delayMs = 0;
  });

  const tokens = { signingKey: "0123456789abcdef0123456789abcdef", issuer: "https://issuer.test", audience: "orders" };

  function open(options: Partial<AnyOptions> = {}) {
    const gate = adapters[0]!.createGate({ redis: proxy.url, prefix: freshPrefix(), logger: silentLogger, ...options });
    cleanUp(() => gate.close());
    return gate;
  }

  for (const busyMs of [100, 2500]) {
    it(`wait for the connection from their own beginning, after ${busyMs} ms in which the process was busy`, async () => {
      const gate = open({ tokens, deadline: 50, connectDeadline: 5000 });
      beBusy(busyMs);
      const issued = await gate.tokens.issue({ subject: "alice" });
      expect((await gate.verify(issued.accessToken)).allowed).to.equal(true);
    });
  }

  it("wait for the connection after a start that takes longer than connectDeadline", async () => {
    // What a gate does by itself begins no wait: whom the shared keys belong to, and overrides of limits.
    proxy.delayMs = 25;
    const limits = [{ name: "ip", per: "ip", limit: 9, window: "1m" }] as const;
    const gate = open({ tokens, limits, deadline: 50, connectDeadline: 1000 });
    beBusy(1200);
    // The first request comes in a later turn of the event loop.
    await sleep(1);
    const issued = await gate.tokens.issue({ subject: "alice" });
    expect(issued.accessToken).to.be.a("string");
  });

  it("wait longer for the connection than later ones do for an answer", async () => {
    // The connection takes several answers, and a call one.
    proxy.delayMs = 150;
    const app = await adapters[0]!.start({
      options: {
        ...{ redis: proxy.url, prefix: freshPrefix(), logger: silentLogger, auth: testAuth },
        ...{ deadline: 400, connectDeadline: 10_000, limits: [{ name: "ip", per: "ip", limit: 9, window: "1m" }] },
      },
      routes: { "GET /me": ({ auth }) => auth?.subject ?? null },
    });
    expect((await send(`${app.url}/me`, { token: await signToken() })).status).to.equal(200);
  });

  it("wait no longer than `deadline` once an attempt to connect has failed", async () => {
    const gone = await startRedis();
    await gone.stop();
    const gate = open({ redis: gone.url, tokens, deadline: 50, connectDeadline: 2000 });
    await rejectionOf(gate.tokens.issue({ subject: "alice" }));
    const start = performance.now();
    await rejectionOf(gate.tokens.issue({ subject: "alice" }));
    expect(performance.now() - start).to.be.below(1500);
  });
});
