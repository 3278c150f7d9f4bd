import { startRedis } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { adapters } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";

describe("idempotency in a gate that does not use it, or has no requests with a key", () => {
  it("opens no connection and no subscription, and writes no key", async () => {
    const server = await startRedis();
    cleanUp(() => server.stop());
    const redis = new Redis(server.url);
    cleanUp(() => redis.disconnect());
    const app = await adapters[0]?.start({
      options: { redis: server.url, service: "shop", deadline: 1000, logger: silentLogger, cache: false },
      use: (gate) => [gate.idempotency({ caller: () => "alice", onConflict: "wait" })],
      routes: { "POST /orders": () => ({}), "GET /orders": () => ({}) },
    });
    const url = `${app?.url ?? ""}/orders`;
    const connections = async (): Promise<number> => ((await redis.client("LIST")) as string).trim().split("\n").length;
    const before = await connections();
    for (const method of ["GET", "POST"]) {
      await send(url, { method });
      expect(await connections()).to.equal(before);
    }
    expect(await redis.keys("*idempotency*")).to.deep.equal([]);
    expect(await redis.pubsub("CHANNELS", "*idempotency*")).to.deep.equal([]);
    // The first request that does not wait needs none of it either.
    await send(url, { method: "POST", headers: { "idempotency-key": "k" } });
    expect([await connections(), (await redis.keys("*idempotency*")).length]).to.deep.equal([before, 1]);
    expect(await redis.pubsub("CHANNELS", "*idempotency*")).to.deep.equal([]);
  });
});
