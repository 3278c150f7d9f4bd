import { expect } from "chai";
import { signToken, testAuth } from "@portcullis/testkit";
import { adapters } from "../support/app.js";
import type { AnyGate, AnyMiddleware, RunningApp } from "../support/app.js";
import { fakeExchange, openGate } from "../support/fake-gate.js";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { countedRequests as counts } from "../support/request-counts.js";

for (const adapter of adapters)
  describe(`a request on ${adapter.name} is counted once`, () => {
    const limit = { name: "own", per: "ip", limit: 3, window: "1m" } as const;

    async function start(use: (gate: AnyGate) => AnyMiddleware[]): Promise<RunningApp> {
      return adapter.start({
        options: { redis: "memory", auth: testAuth, logger: silentLogger },
        use,
        routes: { "GET /me": () => ({}) },
      });
    }

    it("however many middleware it passes, and as refused if one of them refuses", async () => {
      const { url, gate } = await start((gate) => [
        gate.routes.health(),
        gate.routes.metrics(),
        gate.requestCache(),
        gate.guard(),
        gate.limit(limit),
        gate.requireScopes("read"),
        gate.cacheResponse({ ttl: "1m" }),
      ]);
      const token = await signToken({ scope: "read" });
      expect((await send(`${url}/me`, { token })).status).to.equal(200);
      // From the cache.
      expect((await send(`${url}/me`, { token })).status).to.equal(200);
      expect((await send(`${url}/me`, { token: await signToken() })).status).to.equal(403);
      expect((await send(`${url}/me`, { token })).status).to.equal(429);
      expect((await send(`${url}/me`)).status).to.equal(401);
      expect((await send(`${url}/healthz`)).status).to.equal(200);
      expect(counts(gate)).to.deep.equal({
        ...{ "requests allowed": 2, allowed: 2, "requests denied": 3, "requests answered": 1 },
        ...{ "denied scope_insufficient": 1, "denied quota_exceeded": 1, "denied credentials_required": 1 },
      });
    });

    it("as answered where the gate answers a preflight, and as failed where a function of the application throws", async () => {
      const { url, gate } = await start((gate) => [
        gate.guard(),
        gate.limit({
          ...limit,
          limit: () => {
            throw new Error("a bug");
          },
        }),
      ]);
      const preflight = { origin: "https://app.test", "access-control-request-method": "GET" };
      expect((await send(`${url}/me`, { method: "OPTIONS", headers: preflight })).status).to.equal(204);
      expect((await send(`${url}/me`, { token: await signToken() })).status).to.equal(500);
      expect(counts(gate)).to.deep.equal({ "requests answered": 1, "requests failed": 1 });
    });
  });

describe("the counters of requests", () => {
  it("are those of each gate where a request passes two", async () => {
    const [first, second] = [openGate({ auth: testAuth }), openGate({ auth: { ...testAuth, audience: "other" } })];
    const exchange = fakeExchange({ headers: { authorization: `Bearer ${await signToken()}` } });
    // Middleware that does not identify uses the exchange of the first gate, and counts at its own.
    for (const middleware of [first.guard(), second.requestCache(), second.requestCache(), second.guard()])
      await middleware.check(exchange);
    expect(counts(first)).to.deep.equal({ "requests allowed": 1, allowed: 1 });
    expect(counts(second)).to.deep.equal({ "requests denied": 1, "denied token_invalid": 1 });
  });

  it("never fall, also if they are read between the middleware that passes a request and the one that refuses it", async () => {
    const gate = openGate({ auth: testAuth });
    const headers = { authorization: `Bearer ${await signToken()}` };
    const [guard, scopes] = [gate.guard(), gate.requireScopes("read")];
    const exchange = fakeExchange({ headers });
    await guard.check(exchange);
    expect(counts(gate)["allowed"]).to.equal(1);
    await scopes.check(exchange);
    expect(counts(gate)["allowed"]).to.equal(1);
    await guard.check(fakeExchange({ headers }));
    expect(counts(gate)).to.include({ allowed: 1, "requests allowed": 1, "denied scope_insufficient": 1 });
    await guard.check(fakeExchange({ headers }));
    expect(counts(gate)).to.include({ allowed: 2 });
  });
});
