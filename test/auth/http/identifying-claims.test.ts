import type { Auth } from "@portcullis/core";
import { nowSeconds, signToken, testAudience, testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { describeOnEveryFramework } from "../../support/every-gate.js";
import type { AnyMiddleware, RunningApp, TestApp } from "../../support/app.js";
import { send } from "../../support/http.js";

const wrong: readonly unknown[] = [true, 0.5, 2 ** 53, ["acme"], { id: "acme" }];
const partner = "https://partners.test";

/** Handlers that keep something of a user, of a tenant, and end what is theirs. */
const routes: TestApp["routes"] = {
  "GET /me": ({ auth }) => ({ subject: auth?.subject, principal: auth?.principal }),
  "GET /orders": async ({ auth, cache }) => ({
    value: await cache.forUser().getOrSet({ key: "orders" }, () => `of ${JSON.stringify(auth?.claims.owner)}`),
  }),
  "GET /tenant": async ({ auth, cache }) => ({
    value: await cache.forTenant().getOrSet({ key: "plan" }, () => `of ${JSON.stringify(auth?.claims.tenant)}`),
  }),
  "POST /everywhere": async ({ auth }, gate) => gate.revocations.revokeSubject(auth as Auth),
};

async function status({ url }: RunningApp, token: string, path = "/me"): Promise<number> {
  return (await send(url + path, { token })).status;
}

async function read({ url }: RunningApp, token: string, path: string): Promise<unknown> {
  return ((await send(url + path, { token })).json as { value: unknown }).value;
}

describeOnEveryFramework("a claim that identifies", (start) => {
  const limits = [{ name: "tenant", per: { claim: "tenant" }, limit: 3, window: "1h" }] as const;

  it("is the same as a number and as its text, for limits, caches and organisations", async () => {
    const app = await start({ limits, cache: { tenantClaim: "tenant" } }, { routes });
    const token = (claims: object): Promise<string> => signToken({ iat: nowSeconds() - 10, ...claims });
    const [number, text] = [await token({ tenant: 42, org_id: 42 }), await token({ tenant: "42", org_id: "42" })];
    const other = await token({ tenant: 420, org_id: 420 });
    expect(await read(app, number, "/tenant")).to.equal("of 42");
    expect(await read(app, text, "/tenant")).to.equal("of 42");
    expect(await read(app, other, "/tenant")).to.equal("of 420");
    expect(await app.gate.cache.forTenant(42).get("plan")).to.equal("of 42");
    expect([await status(app, number), await status(app, text), await status(app, other)]).to.deep.equal([
      ...[200, 429, 200],
    ]);
    await app.gate.quotas.reset("tenant", { issuer: testIssuer, value: 42 });
    expect([await status(app, number), await status(app, text)]).to.deep.equal([200, 200]);
    await app.gate.sessions.revokeGroup("42");
    expect([await status(app, number), await status(app, text), await status(app, other)]).to.deep.equal([
      ...[401, 401, 200],
    ]);
  });

  it("that is neither text nor an integer is 401, and never 500, wherever it is looked at", async () => {
    const identify = (gate: RunningApp["gate"]): AnyMiddleware[] => [gate.authenticate()];
    const app = await start({ revocation: { orgClaim: "org" }, cache: { tenantClaim: "tenant" } }, { routes });
    const limiting = await start(
      {},
      { routes, use: (gate) => [...identify(gate), gate.limit({ ...limits[0], limit: 100 })] },
    );
    const restricted = await start({}, { routes, use: (gate) => [...identify(gate), gate.requireRole("admin", 7)] });
    for (const value of wrong) {
      const answers = await Promise.all([
        signToken({ org: value }).then((token) => send(`${app.url}/me`, { token })),
        signToken({ tenant: value }).then((token) => send(`${app.url}/tenant`, { token })),
        signToken({ tenant: value }).then((token) => send(`${limiting.url}/me`, { token })),
        signToken({ roles: ["admin", value] }).then((token) => send(`${restricted.url}/me`, { token })),
      ]);
      for (const answer of answers) {
        expect(answer.status, JSON.stringify(value)).to.equal(401);
        expect(answer.json).to.include({ code: "token_invalid" });
        expect(answer.headers["www-authenticate"]).to.include('error="invalid_token"');
      }
    }
    for (const roles of [7, "7", ["admin"], { admin: true }])
      expect(await status(restricted, await signToken({ roles }))).to.equal(200);
  });

  it("counts as missing if it is null or empty: the user is counted", async () => {
    const app = await start({ limits: [{ ...limits[0], limit: 1 }] }, { routes });
    const seen = [];
    for (const claims of [
      { tenant: null },
      { tenant: "" },
      { sub: "bob", tenant: null },
      { tenant: 0 },
      { tenant: -0 },
    ])
      seen.push(await status(app, await signToken(claims)));
    expect(seen).to.deep.equal([200, 429, 200, 200, 429]);
  });

  it("must be a subject for limits per user, also in limit() behind authenticate()", async () => {
    const limit = { name: "user", per: "user", limit: 5, window: "1h" } as const;
    for (const app of [
      await start({ limits: [limit] }, { routes }),
      await start({}, { routes, use: (gate) => [gate.authenticate(), gate.limit(limit)] }),
    ]) {
      for (const sub of [undefined, ""]) expect(await status(app, await signToken({ sub }))).to.equal(401);
      expect(await status(app, await signToken())).to.equal(200);
    }
  });
});

describeOnEveryFramework("a client that is named by a later claim", (start) => {
  const auth = { ...testAuth, subjectClaim: ["sub", "client_id"], numericSubject: true };
  const limits = [{ name: "user", per: "user", limit: 4, window: "1h" }] as const;

  it("never meets the user of that name: in caches, limits, stored responses and revocations", async () => {
    let made = 0;
    const app = await start(
      { auth, limits },
      {
        routes: { ...routes, "GET /stored": () => ({ value: `made ${(made += 1)}` }) },
        use: (gate) => [gate.guard(), gate.cacheResponse({ per: "user", ttl: "1h" })],
      },
    );
    const iat = nowSeconds() - 10;
    const user = await signToken({ sub: "42", owner: "user", iat });
    const numbered = await signToken({ sub: 42, owner: "user", iat });
    const client = await signToken({ sub: undefined, client_id: "42", owner: "client", iat });
    const subjects = await Promise.all(
      [user, client].map(async (token) => (await send(`${app.url}/me`, { token })).json),
    );
    expect(subjects.map((one) => (one as Auth).subject)).to.deep.equal(["42", "42"]);
    expect(new Set(subjects.map((one) => (one as Auth).principal)).size).to.equal(2);
    expect(await read(app, user, "/orders")).to.equal('of "user"');
    expect(await read(app, client, "/orders")).to.equal('of "client"');
    expect(await read(app, user, "/stored")).to.equal("made 1");
    expect(await read(app, client, "/stored")).to.equal("made 2");
    expect([
      await status(app, numbered, "/orders"),
      await status(app, numbered),
      await status(app, user),
    ]).to.deep.equal([...[200, 429, 429]]);
    expect((await send(`${app.url}/everywhere`, { method: "POST", token: client })).status).to.equal(200);
    expect(await status(app, client)).to.equal(401);
    await app.gate.quotas.reset("user", app.gate.principal({ subject: "42" }));
    expect([await status(app, user), await status(app, numbered)]).to.deep.equal([200, 200]);
    await app.gate.sessions.revokeAll(app.gate.principal({ subject: "42" }));
    expect([await status(app, user), await status(app, numbered)]).to.deep.equal([401, 401]);
  });

  it("never meets it for operators and jobs either, who name it by gate.principal()", async () => {
    const { gate } = await start({ auth, limits });
    const [user, client] = ["sub", "client_id"].map((claim) => gate.principal({ subject: "42", claim })) as [
      string,
      string,
    ];
    await gate.cache.forUser(user).set("k", "of the user");
    expect(await gate.cache.forUser(client).get("k")).to.equal(undefined);
    await gate.quotas.block("user", client, { for: "1h" });
    expect((await gate.quotas.peek("user", client)).blocked).to.equal(true);
    expect((await gate.quotas.peek("user", user)).blocked).to.equal(false);
  });
});

describeOnEveryFramework("gate.principal()", (start) => {
  it("names a user of another issuer than the main one, for calls about them", async () => {
    const issuers = [testIssuer, partner].map((issuer) => ({
      issuer,
      secret: testSecret,
      algorithms: ["HS256"] as const,
    }));
    const auth = { audience: testAudience, issuers, sharedIssuer: testIssuer };
    const app = await start({ auth, limits: [{ name: "user", per: "user", limit: 5, window: "1h" }] }, { routes });
    const iat = nowSeconds() - 10;
    const [ours, theirs] = [
      await signToken({ sub: "42", owner: "ours", iat }),
      await signToken({ sub: "42", owner: "theirs", iss: partner, iat }),
    ];
    const named = app.gate.principal({ issuer: partner, subject: "42" });
    expect((await send(`${app.url}/me`, { token: theirs })).json).to.deep.equal({ subject: "42", principal: named });
    expect(await read(app, ours, "/orders")).to.equal('of "ours"');
    expect(await read(app, theirs, "/orders")).to.equal('of "theirs"');
    expect(await app.gate.cache.forUser(named).get("orders")).to.equal('of "theirs"');
    expect((await app.gate.quotas.peek("user", named)).consumed).to.equal(2);
    await app.gate.sessions.revokeAll(named);
    expect([await status(app, ours), await status(app, theirs)]).to.deep.equal([200, 401]);
    expect(() => app.gate.principal({ issuer: "https://x.test", subject: "42" })).to.throw(TypeError, "accepts");
  });
});
