import { portcullis as expressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import { nowSeconds, signToken, testAudience, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { SignJWT } from "jose";
import { allAdapters } from "../support/app.js";
import type { AnyGate, AnyMiddleware, AnyOptions, RunningApp, TestApp } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";

const partnerSecret = "the secret of partners, 32 bytes or more";
const partnerIssuer = "https://partners.test";
const partner: AnyOptions["auth"] = {
  ...{ secret: partnerSecret, algorithms: ["HS256"], issuer: partnerIssuer, audience: testAudience },
  tokenFrom: ({ headers }) => String(headers["x-partner"] ?? ""),
};

async function ofPartner(claims: object): Promise<string> {
  const payload = { iss: partnerIssuer, aud: testAudience, jti: "partner", exp: nowSeconds() + 300, ...claims };
  return new SignJWT(payload).setProtectedHeader({ alg: "HS256" }).sign(Buffer.from(partnerSecret));
}

for (const adapter of allAdapters) {
  describe(`several gates before one handler on ${adapter.name}`, () => {
    function open(options: Partial<AnyOptions>): AnyGate {
      const create = adapter.name.startsWith("Koa") ? koaGate : expressGate;
      const gate = create({ redis: "memory", ...options } as never) as unknown as AnyGate;
      cleanUp(() => gate.close());
      return gate;
    }

    async function start(
      use: (gate: AnyGate) => AnyMiddleware[],
      handle: TestApp["routes"][string] = (request) => ({
        user: request.auth?.subject ?? null,
        partner: (request as { partner?: { subject: string } }).partner?.subject ?? null,
        limits: request.quotas.map(({ policy }) => policy),
      }),
      options: Partial<AnyOptions> = {},
    ): Promise<RunningApp> {
      const app = await adapter.start({
        options: { redis: "memory", auth: testAuth, ...options },
        use,
        routes: { "GET /": handle },
      });
      cleanUp(() => app.close());
      return app;
    }

    it("never give a user of one the rights of a user of another", async () => {
      const partners = open({ auth: partner, property: "partner" });
      const { url } = await start((gate) => [
        gate.guard(),
        partners.guard({ optional: true }),
        gate.requireScopes("admin"),
      ]);
      const [plain, admin] = [await signToken({ sub: "alice" }), await signToken({ sub: "alice", scope: "admin" })];
      const headers = { "x-partner": await ofPartner({ sub: "mallory", scope: "admin" }) };
      expect((await send(url, { token: plain, headers })).status).to.equal(403);
      expect((await send(url, { token: plain })).status).to.equal(403);
      expect((await send(url, { token: admin })).json).to.include({ user: "alice", partner: null });
      expect((await send(url, { token: admin, headers })).json).to.include({ user: "alice", partner: "mallory" });
      expect((await send(url, { headers })).status).to.equal(401);
    });

    it("decide by what they found out themselves, also where they were passed by", async () => {
      const partners = open({ auth: partner, property: "partner" });
      const { url } = await start((gate) => [gate.guard(), partners.requireScopes("admin")]);
      expect((await send(url, { token: await signToken({ scope: "admin" }) })).status).to.equal(401);
    });

    it("limit the users of the gate that knows them, wherever they stand", async () => {
      const doorman = open({});
      const { url } = await start((gate) => [
        doorman.limit({ name: "address", per: "ip", limit: 100, window: "1m" }),
        gate.guard(),
        doorman.limit({ name: "user", per: "user", limit: 2, window: "1m" }),
      ]);
      const [alice, bob] = [await signToken({ sub: "alice" }), await signToken({ sub: "bob" })];
      const statuses = [];
      for (const token of [alice, alice, alice, bob]) statuses.push((await send(url, { token })).status);
      expect(statuses).to.deep.equal([200, 200, 429, 200]);
    });

    it("tell of all limits together", async () => {
      const partners = open({
        auth: partner,
        property: "partner",
        limits: [{ name: "partner", per: "user", limit: 5, window: "1m" }],
      });
      const { url } = await start((gate) => [gate.guard(), partners.guard()], undefined, {
        limits: [{ name: "user", per: "user", limit: 5, window: "1m" }],
      });
      const headers = { "x-partner": await ofPartner({ sub: "shop" }) };
      const answer = await send(url, { token: await signToken({ sub: "alice" }), headers });
      expect(answer.json).to.deep.equal({ user: "alice", partner: "shop", limits: ["user", "partner"] });
      expect(answer.headers.ratelimit).to.match(/"user";r=4.*"partner";r=4/);
    });

    it("keep what is cached for users of one from others who come with the same partner", async () => {
      const partners = open({ auth: partner, property: "partner" });
      const { url } = await start(
        (gate) => [gate.guard(), partners.guard()],
        async ({ auth, cache }) => cache.forUser().getOrSet({ key: "me" }, () => ({ of: auth?.subject })),
      );
      const headers = { "x-partner": await ofPartner({ sub: "shop" }) };
      for (const sub of ["alice", "bob", "alice"])
        expect((await send(url, { token: await signToken({ sub }), headers })).json).to.deep.equal({ of: sub });
    });

    it("store no response to somebody whom another gate knows", async () => {
      const store = open({});
      const { url } = await start(
        (gate) => [gate.guard(), store.cacheResponse({ ttl: "1m" })],
        ({ auth }) => ({ of: auth?.subject }),
        { auth: { ...testAuth, tokenFrom: { cookie: "token" } } },
      );
      for (const sub of ["alice", "bob"]) {
        const headers = { cookie: `token=${await signToken({ sub })}` };
        expect((await send(url, { headers })).json).to.deep.equal({ of: sub });
      }
    });
  });
}
