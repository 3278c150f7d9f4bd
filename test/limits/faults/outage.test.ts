import { expect } from "chai";
import { startRedis } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import { adapters } from "../../support/app.js";
import type { AnyOptions, RunningApp } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { commonRoutes } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { openLatch } from "../../support/latch.js";
import { silentLogger } from "../../support/logger.js";
import { operate } from "../../support/redis.js";
import { until } from "../../support/until.js";

const terms = {
  "fixed-window": { limit: 8, window: "1h" },
  "sliding-window": { limit: 8, window: "1h" },
  "token-bucket": { limit: 2, burst: 8, window: "24d" },
  concurrency: { limit: 8, window: "5m" },
} as const;
const algorithms = Object.keys(terms) as (keyof typeof terms)[];

describe("limits while Redis has a bad day", function () {
  this.timeout(60_000);
  let server: RedisServer;

  beforeEach(async () => {
    server = await startRedis();
    cleanUp(() => server.stop());
  });

  async function start(options: Partial<AnyOptions>, wait = openLatch().wait): Promise<RunningApp> {
    const app = await adapters[1]!.start({
      options: { redis: server.url, logger: silentLogger, deadline: 500, ...options },
      routes: { ...commonRoutes, "GET /held": wait },
    });
    cleanUp(() => app.close());
    return app;
  }

  for (const algorithm of algorithms) {
    const policy = { name: "p", per: { header: "x-client" }, algorithm, ...terms[algorithm] } as const;
    const isHeld = algorithm === "concurrency";
    const path = isHeld ? "/held" : "/me";

    it(`are this process' part of them while it is down, and whole again after it (${algorithm})`, async () => {
      let latch = openLatch();
      const { url, gate } = await start({ limits: [policy], instances: 4 }, async () => latch.wait());

      /** Asks at once, holding what is to be held; how many were admitted. */
      async function admitted(): Promise<number> {
        latch = openLatch();
        let done = 0;
        const visits = Array.from({ length: 12 }, async () => {
          const { status } = await send(`${url}${path}`, { headers: { "x-client": "a" } });
          done += 1;
          return status;
        });
        await until(() => latch.held() + done === 12);
        latch.open();
        return (await Promise.all(visits)).filter((status) => status === 200).length;
      }

      async function becomes(status: "down" | "up"): Promise<void> {
        await until(async () => {
          await send(`${url}/me`, { headers: { "x-client": "prober" } });
          return gate.health().status === status;
        });
      }

      expect(await admitted()).to.equal(8);
      await server.kill();
      await becomes("down");
      expect(await admitted()).to.equal(2);
      await server.restart();
      const since = performance.now();
      await becomes("up");
      // Ten times what it may take.
      expect(performance.now() - since).to.be.below(20_000);
      // What was counted here meanwhile is not counted there as well.
      expect(await admitted()).to.equal(8);
      const operator = operate(server.url);
      for (const key of await operator.keys("*")) expect(await operator.pttl(key), key).to.not.equal(-1);
    });

    it(`harm only their own part where a value is poisoned (${algorithm})`, async () => {
      const healthy = { name: "healthy", per: { header: "x-client" }, limit: 99, window: "1h" } as const;
      const { url, gate } = await start({
        limits: [{ ...policy, onStoreError: "allow", block: { after: 5, for: "1m" } }, healthy],
      });
      const visit = async (): Promise<[number, string]> => {
        const { status, headers } = await send(`${url}/me`, { headers: { "x-client": "a" } });
        return [status, String(headers.ratelimit)];
      };
      const operator = operate(server.url);
      await visit();
      const healthyKey = (await operator.keys("*:healthy:*"))[0] ?? "";
      const place = /:(\{\d+\}):healthy:(.*)/.exec(healthyKey);
      const family = {
        "fixed-window": "quota",
        "sliding-window": "quota-sliding-window-3600",
        "token-bucket": "quota-token-bucket-2073600",
        concurrency: "quota-concurrency-300",
      }[algorithm];
      const keyOf = (what: string): string => `portcullis:2:${what}:${place?.[1]}:p:${place?.[2]}`;
      for (const poisoned of [keyOf(family), keyOf("quota-block")]) {
        for (const poison of [
          () => operator.rpush(poisoned, "x"),
          () => operator.set(poisoned, "NaN"),
          () => operator.set(poisoned, "-1:-1:x"),
        ]) {
          await operator.del(keyOf(family), keyOf("quota-block"));
          expect(await visit()).to.satisfy(
            ([status, text]: [number, string]) => status === 200 && text.includes('"p";r='),
          );
          await operator.del(poisoned);
          await poison();
          const [status, text] = await visit();
          // Its own part has no fields: nothing is known of it. The other is counted as ever.
          expect([status, text.replace(/\d+/g, "n")], poisoned).to.deep.equal([200, '"healthy";r=n;t=n']);
        }
      }
      expect(gate.breakers.map(({ state }) => state)).to.deep.equal(gate.breakers.map(() => "closed"));
    });
  }

  it("charge no other limit for a request that one refuses since its value is poisoned", async () => {
    const per = { header: "x-client" } as const;
    const { url } = await start({
      limits: [
        { name: "others", per, limit: 9, window: "1h" },
        { name: "slots", per, algorithm: "concurrency", limit: 2, window: "1h" },
        { name: "strict", per, limit: 9, window: "1h", onStoreError: "deny" },
        { name: "address", per: "ip", limit: 99, window: "1h" },
      ],
    });
    const visit = async (): Promise<number> => (await send(`${url}/me`, { headers: { "x-client": "a" } })).status;
    const operator = operate(server.url);
    const keyOf = async (name: string): Promise<string> => (await operator.keys(`*:${name}:*`))[0] ?? "none";
    await until(async () => (await visit()) === 200 && (await keyOf("others")) !== "none");
    await until(async () => (await keyOf("slots")) === "none");
    const [others, address, strict] = [await keyOf("others"), await keyOf("address"), await keyOf("strict")];
    const before = await operator.mget(others, address);
    await operator.set(strict, "x", "KEEPTTL");
    expect([await visit(), await visit(), await visit()]).to.deep.equal([503, 503, 503]);
    expect(await operator.mget(others, address)).to.deep.equal(before);
    expect(await keyOf("slots")).to.equal("none");
    await operator.del(strict);
    expect(await visit()).to.equal(200);
    expect(await operator.mget(others, address)).to.deep.equal(before.map((count) => `${Number(count) + 1}`));
  });

  it("give a slot back as soon as the response has ended", async () => {
    const latch = openLatch();
    const limits = [{ name: "p", per: "ip", algorithm: "concurrency", limit: 1, window: "5m" }] as const;
    const { url, gate } = await start({ limits }, latch.wait);
    const held = send(`${url}/held`);
    await latch.waiting(1);
    const operator = operate(server.url);
    expect(await operator.keys("*concurrency*")).to.have.length(1);
    latch.open();
    expect((await held).status).to.equal(200);
    await until(async () => (await operator.keys("*concurrency*")).length === 0);
    expect(gate.health().status).to.equal("up");
  });
});
