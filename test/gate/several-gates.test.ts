import { accessTokenHash, createDpopClient, nowSeconds, signToken, testAuth, testIssuer } from "@portcullis/testkit";
import { expect } from "chai";
import { allAdapters, nodeAdapter } from "../support/app.js";
import type { AnyGate, AnyMiddleware, AnyOptions, RunningApp, TestApp } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { rejectionOf } from "../support/rejection.js";
import { openGate, partnerAuth, partnerIssuer, signPartnerToken } from "../support/several-gates.js";

for (const adapter of [...allAdapters, nodeAdapter]) {
  describe(`several gates before one handler on ${adapter.name}`, () => {
    const open = (options: Partial<AnyOptions>): AnyGate => openGate(adapter, options);

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
      const partners = open({ auth: partnerAuth, property: "partner" });
      const { url } = await start((gate) => [
        gate.guard(),
        partners.guard({ optional: true }),
        gate.requireScopes("admin"),
      ]);
      const [plain, admin] = [await signToken({ sub: "alice" }), await signToken({ sub: "alice", scope: "admin" })];
      const headers = { "x-partner": await signPartnerToken({ sub: "mallory", scope: "admin" }) };
      expect((await send(url, { token: plain, headers })).status).to.equal(403);
      expect((await send(url, { token: plain })).status).to.equal(403);
      expect((await send(url, { token: admin })).json).to.include({ user: "alice", partner: null });
      expect((await send(url, { token: admin, headers })).json).to.include({ user: "alice", partner: "mallory" });
      expect((await send(url, { headers })).status).to.equal(401);
    });

    it("decide by their own facts, also if a condition skipped one of them", async () => {
      const partners = open({ auth: partnerAuth, property: "partner" });
      const { url } = await start((gate) => [gate.guard(), partners.requireScopes("admin")]);
      expect((await send(url, { token: await signToken({ scope: "admin" }) })).status).to.equal(401);
    });

    it("accept one DPoP proof for a request, however their middleware is mixed, and not for the next", async () => {
      const publicUrl = "https://api.example.com";
      const common = {
        ...{ redis: testRedisUrl(), prefix: freshPrefix(), deadline: 1000, logger: silentLogger },
        ...{ publicUrl, property: "partner" },
      };
      const others = [{ ...testAuth, issuer: [testIssuer, partnerIssuer] }, testAuth];
      const [several, same] = others.map((auth) => open({ ...common, auth: { ...auth, dpop: true } })) as [
        AnyGate,
        AnyGate,
      ];
      const { url } = await start(
        (gate) => [gate.guard(), several.guard(), gate.authenticate(), same.guard(), several.authenticate()],
        undefined,
        { ...common, property: undefined, auth: { ...testAuth, dpop: true } },
      );
      const client = await createDpopClient();
      const token = await signToken({ sub: "alice", cnf: { jkt: client.thumbprint } });
      const dpop = await client.proof({ htm: "GET", htu: `${publicUrl}/`, ath: accessTokenHash(token) });
      const headers = { authorization: `DPoP ${token}`, dpop };
      expect((await send(url, { headers })).json).to.include({ user: "alice", partner: "alice" });
      expect((await send(url, { headers })).status).to.equal(401);
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
        auth: partnerAuth,
        property: "partner",
        limits: [{ name: "partner", per: "user", limit: 5, window: "1m" }],
      });
      const { url } = await start((gate) => [gate.guard(), partners.guard()], undefined, {
        limits: [{ name: "user", per: "user", limit: 5, window: "1m" }],
      });
      const headers = { "x-partner": await signPartnerToken({ sub: "shop" }) };
      const answer = await send(url, { token: await signToken({ sub: "alice" }), headers });
      expect(answer.json).to.deep.equal({ user: "alice", partner: "shop", limits: ["user", "partner"] });
      expect(answer.headers.ratelimit).to.match(/"user";r=4.*"partner";r=4/);
    });

    it("separate the cached values of users of one gate from those of other users of the same partner", async () => {
      const partners = open({ auth: partnerAuth, property: "partner" });
      const { url } = await start(
        (gate) => [gate.guard(), partners.guard()],
        async ({ auth, cache }) => cache.forUser().getOrSet({ key: "me" }, () => ({ of: auth?.subject })),
      );
      const headers = { "x-partner": await signPartnerToken({ sub: "shop" }) };
      for (const sub of ["alice", "bob", "alice"])
        expect((await send(url, { token: await signToken({ sub }), headers })).json).to.deep.equal({ of: sub });
    });

    it("cache for the user that the handler sees, in whichever order the gates identified the user", async () => {
      const others = open({ auth: partnerAuth, property: "partner" });
      const same = open({ auth: partnerAuth });
      const look: TestApp["routes"][string] = async ({ auth, cache }) =>
        cache.forUser().getOrSet({ key: "me" }, () => ({ of: auth?.subject }));
      const partnerFirst = await start((gate) => [others.guard(), gate.guard()], look);
      const partnerLast = await start((gate) => [gate.guard({ optional: true }), same.guard()], look);
      const shop = { "x-partner": await signPartnerToken({ sub: "shop" }) };
      const store = { "x-partner": await signPartnerToken({ sub: "store" }) };
      const [alice, bob] = [await signToken({ sub: "alice" }), await signToken({ sub: "bob" })];
      for (const [token, sub] of [
        [alice, "alice"],
        [bob, "bob"],
      ] as const)
        expect((await send(partnerFirst.url, { token, headers: shop })).json).to.deep.equal({ of: sub });
      for (const [headers, sub] of [
        [shop, "shop"],
        [store, "store"],
      ] as const) {
        expect((await send(partnerLast.url, { token: alice, headers })).json).to.deep.equal({ of: sub });
        expect((await send(partnerLast.url, { headers })).json).to.deep.equal({ of: sub });
      }
    });

    it("store no response to a user that another gate has identified", async () => {
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

    describe("that share a gate for their limits and caches, or a Redis", () => {
      /** Either gate finds out who is asking, as on routes of their own. */
      function either(users: AnyMiddleware, partners: AnyMiddleware): AnyMiddleware {
        return function choose(...args: unknown[]): unknown {
          const { headers } = args[0] as { headers: Record<string, unknown> };
          return Reflect.apply(headers["x-partner"] === undefined ? users : partners, undefined, args) as unknown;
        } as AnyMiddleware;
      }

      it("never let a user of one meet the user of that name of another", async () => {
        const [partners, doorman] = [open({ auth: partnerAuth }), open({ cache: { tenantClaim: "tenant" } })];
        for (const keeper of [doorman, partners]) {
          const { url } = await start(
            (gate) => [
              either(gate.authenticate(), partners.authenticate()),
              keeper.limit({ name: "user", per: "user", limit: 2, window: "1m" }),
              keeper.limit({ name: "tenant", per: { claim: "tenant" }, limit: 2, window: "1m" }),
              keeper.requestCache(),
            ],
            async ({ auth, cache }) => {
              const of = auth?.issuer;
              const user = await cache.forUser().getOrSet({ key: "k" }, () => of);
              const tenant = keeper === doorman ? await cache.forTenant().getOrSet({ key: "k" }, () => of) : of;
              return [user, tenant];
            },
          );
          const claims = { sub: "42", tenant: "acme", jti: "same" };
          const headers = { "x-partner": await signPartnerToken(claims) };
          for (const options of [{ token: await signToken(claims) }, { headers }]) {
            const issuer = "token" in options ? testAuth.issuer : partnerIssuer;
            for (const status of [200, 200, 429]) {
              const answer = await send(url, options);
              expect(answer.status).to.equal(status);
              if (status === 200) expect(answer.json).to.deep.equal([issuer, issuer]);
            }
          }
        }
      });

      it("name the users of another to operators by their partition alone", async () => {
        const doorman = open({});
        const { url } = await start((gate) => [
          gate.authenticate(),
          doorman.limit({ name: "user", per: "user", limit: 1, window: "1m" }),
          doorman.limit({ name: "tenant", per: { claim: "tenant" }, limit: 5, window: "1m" }),
        ]);
        const token = await signToken({ sub: "42", tenant: "acme" });
        expect((await send(url, { token })).status).to.equal(200);
        expect((await send(url, { token })).status).to.equal(429);
        for (const [policy, key] of [
          ["user", "42"],
          ["tenant", { issuer: testAuth.issuer, value: "acme" }],
        ] as const)
          expect(await rejectionOf(doorman.quotas.reset(policy, key))).to.be.instanceOf(TypeError);
        const [busiest] = await doorman.quotas.busiest({ policy: "user" });
        expect(busiest?.key).to.equal(undefined);
        await doorman.quotas.reset("user", { partition: busiest!.partition });
        expect((await send(url, { token })).status).to.equal(200);
      });

      it("end nothing of a user of one by the auth that another gate found out", async () => {
        const partners = open({ auth: partnerAuth });
        const refused: string[] = [];
        const { url, gate } = await start(
          (users) => [users.guard()],
          async ({ auth }) => {
            for (const call of [
              () => partners.revocations.revoke(auth),
              () => partners.revocations.revokeSubject(auth!),
              () => partners.sessions.revoke(auth),
              () => partners.sessions.revoke(auth!, "session"),
              () => partners.sessions.revokeAll(auth!),
              () => partners.sessions.list(auth!),
            ])
              refused.push(((await rejectionOf(call())) as Error).name);
          },
        );
        const token = await signToken({ sub: "42" });
        expect((await send(url, { token })).status).to.equal(204);
        expect(refused).to.deep.equal(Array<string>(6).fill("TypeError"));
        expect((await gate.verify(token)).allowed).to.equal(true);
      });

      it("keep a customer's orders from the partner of that name, who signs no customer out", async () => {
        const prefix = freshPrefix();
        const shared = { redis: testRedisUrl(), prefix, deadline: 1000 } as const;
        const partners = open({ ...shared, auth: { ...partnerAuth, sharedIssuer: false } });
        const { url } = await start(
          (gate) => [either(gate.guard(), partners.guard())],
          async ({ auth, cache }) =>
            cache.forUser().getOrSet({ key: "orders" }, () => [`orders of 42 of ${auth?.issuer}`]),
          { ...shared, auth: { ...testAuth, sharedIssuer: testAuth.issuer } },
        );
        const token = await signToken({ sub: "42", jti: "same" });
        const headers = { "x-partner": await signPartnerToken({ sub: "42", jti: "same" }) };
        expect((await send(url, { token })).json).to.deep.equal([`orders of 42 of ${testAuth.issuer}`]);
        expect((await send(url, { headers })).json).to.deep.equal([`orders of 42 of ${partnerIssuer}`]);
        await partners.revocations.revokeSubject("42");
        await partners.revocations.revoke({ jti: "same", expiresAt: nowSeconds() + 60 });
        expect((await send(url, { headers })).status).to.equal(401);
        expect((await send(url, { token })).status).to.equal(200);
      });
    });

    it("tell a port in an issuer from a colon in a claim", async () => {
      const issuer = ["https://id.example.com", "https://id.example.com:8443"];
      const { url } = await start((gate) => [gate.guard()], undefined, {
        auth: { ...testAuth, issuer },
        limits: [{ name: "tenant", per: { claim: "tenant" }, limit: 1, window: "1h" }],
      });
      const statuses = [];
      for (const [iss, tenant] of [
        [issuer[0], "8443:acme"],
        [issuer[1], "acme"],
        [issuer[0], "acme"],
        [issuer[1], "8443:acme"],
        [issuer[1], "acme"],
      ])
        statuses.push((await send(url, { token: await signToken({ iss, tenant }) })).status);
      expect(statuses).to.deep.equal([200, 200, 200, 200, 429]);
    });
  });
}
