import { startRedis } from "@portcullis/testkit";
import { expect } from "chai";
import { adapters } from "../../support/app.js";
import type { RunningApp } from "../../support/app.js";
import { commonRoutes, describeOnEveryGate, withNodeAdapter } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";

const from = "203.0.113.7";

withNodeAdapter(describeOnEveryGate)("quotas at run time", (start) => {
  const perAddress = { name: "ip", per: "ip", limit: 3, window: "1m" } as const;

  it("block, unblock, override and reset the limits that requests meet", async () => {
    const { url, gate } = await start({ auth: undefined, limits: [perAddress] }, { behindProxy: true });
    const visit = () => send(`${url}/me`, { from });
    expect((await visit()).headers.ratelimit).to.match(/^"ip";r=2;t=\d+$/);
    expect(await gate.quotas.peek("ip", from)).to.include({ consumed: 1, remaining: 2 });

    await gate.quotas.block("ip", from, { for: "10m" });
    const blocked = await visit();
    expect(blocked.status).to.equal(429);
    expect(blocked.json).to.deep.include({ code: "abuse_detected", "violated-policies": ["ip"] });
    expect(Number(blocked.headers["retry-after"])).to.be.within(590, 600);
    expect((await send(`${url}/me`, { from: "203.0.113.8" })).status).to.equal(200);
    await gate.quotas.unblock("ip", from);

    await gate.quotas.setOverride("ip", from, { limit: 10 });
    const raised = await visit();
    expect(raised.headers["ratelimit-policy"]).to.equal('"ip";q=10;w=60');
    expect(raised.headers.ratelimit).to.match(/^"ip";r=8;t=\d+$/);
    await gate.quotas.clearOverride("ip", from);
    await visit();
    expect((await visit()).status).to.equal(429);

    await gate.quotas.reset("ip", from);
    expect((await visit()).headers.ratelimit).to.match(/^"ip";r=2;t=\d+$/);
    const [first] = await gate.quotas.busiest({ policy: "ip" });
    expect(first).to.include({ key: from, points: 6 });
  });
});

describe("quotas at run time while Redis is away", function () {
  this.timeout(30_000);
  const cleanUp: (() => unknown)[] = [];
  afterEach(async () => {
    for (const clean of cleanUp.splice(0).reverse()) await clean();
  });

  for (const adapter of adapters) {
    it(`reject with 503, while blocks and overrides hold as last known (${adapter.name})`, async () => {
      const server = await startRedis();
      cleanUp.push(() => server.stop());
      const app: RunningApp = await adapter.start({
        options: {
          redis: server.url,
          prefix: freshPrefix(),
          logger: silentLogger,
          limits: [{ name: "ip", per: "ip", limit: 100, window: "1m" }],
        },
        routes: {
          ...commonRoutes,
          "POST /block": async (_request, gate) => gate.quotas.block("ip", "203.0.113.9", { for: "1h" }),
        },
        behindProxy: true,
      });
      cleanUp.push(() => app.close());
      const visit = async (address: string): Promise<number> => (await send(`${app.url}/me`, { from: address })).status;
      await until(async () => (await visit("203.0.113.1")) === 200);
      await app.gate.quotas.block("ip", from, { for: "1h" });
      await app.gate.quotas.setOverride("ip", "203.0.113.8", { limit: 2 });
      expect(await visit(from)).to.equal(429);

      await server.stop();
      const calls = [
        () => app.gate.quotas.peek("ip", from),
        () => app.gate.quotas.busiest({ policy: "ip" }),
        () => app.gate.quotas.reset("ip", from),
        () => app.gate.quotas.unblock("ip", from),
        () => app.gate.quotas.setOverride("ip", { limit: 1 }),
        () => app.gate.quotas.clearOverride("ip"),
      ];
      for (const call of calls) {
        const failure: unknown = await rejectionOf(call());
        expect(failure).to.include({ name: "StoreFault", status: 503 });
      }
      expect((await send(`${app.url}/block`, { method: "POST", from: "203.0.113.1" })).status).to.equal(503);
      expect(await visit(from)).to.equal(429);
      const limited = [];
      for (let index = 0; index < 3; index += 1) limited.push(await visit("203.0.113.8"));
      expect(limited).to.deep.equal([200, 200, 429]);
    });
  }
});
