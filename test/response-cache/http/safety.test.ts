import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { describeOnEveryFramework } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { origin } from "../../support/origin.js";
import { serveCached } from "../../support/response-cache.js";

const fresh = { "cache-control": "max-age=60" };

describeOnEveryFramework("the response cache between users", (start) => {
  it("shares a response to a signed-in user only if the response allows sharing", async () => {
    const app = await serveCached(start, ({ url, auth }) => ({
      headers: { "cache-control": decodeURIComponent(url.slice(1)) },
      body: auth?.subject ?? "nobody",
    }));
    const [alice, bob] = [await signToken({ sub: "alice" }), await signToken({ sub: "bob" })];
    for (const own of [
      "max-age=60",
      "max-age=60, private",
      "private, public",
      "no-store, public",
      "no-cache, s-maxage=60",
    ]) {
      const url = `${app.url}/${encodeURIComponent(own)}`;
      for (const [token, text] of [
        [alice, "alice"],
        [bob, "bob"],
        [undefined, "nobody"],
        [alice, "alice"],
      ] as const)
        expect((await send(url, token === undefined ? {} : { token })).text, own).to.equal(text);
    }
    for (const shared of ["public, max-age=60", "s-maxage=60", "max-age=60, must-revalidate"]) {
      const url = `${app.url}/${encodeURIComponent(shared)}`;
      for (const token of [alice, bob]) expect((await send(url, { token })).text, shared).to.equal("alice");
      expect((await send(url)).text).to.equal("alice");
    }
  });

  it("takes a token in a cookie, and an unknown scheme, for a user too", async () => {
    const app = await serveCached(
      start,
      ({ auth, headers }) => ({ headers: fresh, body: auth?.subject ?? String(headers.authorization) }),
      {},
      {
        auth: { ...testAuth, tokenFrom: { cookie: "session", origins: ["https://app.example.com"] } },
      },
    );
    for (const sub of ["alice", "bob"])
      expect(
        (await send(`${app.url}/a`, { headers: { cookie: `session=${await signToken({ sub })}` } })).text,
      ).to.equal(sub);
    for (const authorization of ["Basic YTpi", "Basic Yjpj"])
      expect((await send(`${app.url}/a`, { headers: { authorization } })).text).to.equal(authorization);
  });

  it("stores no response to an unknown session cookie by the ttl alone", async () => {
    const app = await serveCached(
      start,
      ({ url, headers }) => ({
        headers: { "cache-control": url === "/explicit" ? "max-age=60" : "" },
        body: headers.cookie ?? "none",
      }),
      { ttl: "1m" },
    );
    for (const cookie of ["sid=1", "sid=2"])
      expect((await send(`${app.url}/a`, { headers: { cookie } })).text).to.equal(cookie);
    for (const text of ["none", "none"]) expect((await send(`${app.url}/a`)).text).to.equal(text);
    expect((await send(`${app.url}/a`, { headers: { cookie: "sid=1" } })).text).to.equal("sid=1");
    for (const cookie of ["sid=1", "sid=2"])
      expect((await send(`${app.url}/explicit`, { headers: { cookie } })).text).to.equal("sid=1");
  });

  it("keeps one response per user, and one per set of claims of a user", async () => {
    const app = await serveCached(
      start,
      ({ auth }) => ({
        headers: { "cache-control": "private, max-age=60" },
        body: `${String(auth?.subject)} ${String(auth?.scopes.join("+"))} ${app.calls()}`,
      }),
      { per: "user" },
    );
    const texts = async (claims: Record<string, unknown>) =>
      (await send(`${app.url}/a`, { token: await signToken(claims) })).text;
    expect(await texts({ sub: "alice", scope: "read" })).to.equal("alice read 1");
    expect(await texts({ sub: "alice", scope: "read" })).to.equal("alice read 1");
    expect(await texts({ sub: "alice", scope: "read write" })).to.equal("alice read+write 2");
    expect(await texts({ sub: "bob", scope: "read" })).to.equal("bob read 3");
    expect(await texts({ sub: "alice", scope: "read", org: "x" })).to.equal("alice read 4");
    const anonymous = await send(`${app.url}/a`);
    expect(anonymous.headers["cache-status"]).to.equal("portcullis; fwd=bypass");
  });

  it("answers no request that the guard refuses", async () => {
    const app = await start(
      {},
      {
        routes: {},
        use: (gate) => [
          gate.guard(),
          gate.cacheResponse(),
          origin(() => ({ headers: { "cache-control": "public, max-age=60" }, body: "x" })),
        ],
      },
    );
    expect((await send(`${app.url}/a`, { token: await signToken() })).status).to.equal(200);
    expect((await send(`${app.url}/a`)).status).to.equal(401);
    expect((await send(`${app.url}/a`, { token: "bad" })).status).to.equal(401);
  });

  it("is not poisoned by host fields of a request", async () => {
    const app = await serveCached(start, ({ headers }) => ({
      headers: fresh,
      body: `https://${String(headers["x-forwarded-host"] ?? headers.host)}/`,
    }));
    const { host } = new URL(app.url);
    const hostile: Record<string, string>[] = [
      { host: "evil.example" },
      { "x-forwarded-host": "evil.example" },
      { "x-forwarded-proto": "nothttps" },
      { "x-forwarded-port": "1" },
      { forwarded: "host=evil.example" },
      { "x-original-url": "/admin" },
      { "x-http-method-override": "POST" },
    ];
    for (const headers of hostile) await send(`${app.url}/a`, { headers });
    const answer = await send(`${app.url}/a`);
    expect([answer.text, answer.headers["cache-status"]]).to.deep.equal([
      `https://${host}/`,
      "portcullis; fwd=uri-miss; stored",
    ]);
    expect(app.calls()).to.equal(hostile.length + 1);
  });

  it("fails if a partition is not text, and forwards without one, so that no two tenants share a response", async () => {
    const tenants: Record<string, unknown> = { map: new Map([["a", 1]]), nan: NaN, number: 1, list: ["a"], none: null };
    const app = await serveCached(start, ({ url }) => ({ headers: fresh, body: url }), {
      partition: ((raw: { path: string }) => tenants[raw.path.slice(1)]) as never,
    });
    for (const kind of Object.keys(tenants))
      for (let time = 0; time < 2; time += 1)
        expect((await send(`${app.url}/${kind}`)).status, kind).to.equal(kind === "none" ? 200 : 500);
    expect(app.calls()).to.equal(2);
  });

  it("separates responses by Vary and by the application's own partition, and stores no response with Vary: *", async () => {
    const app = await serveCached(start, ({ url, headers }) => ({
      headers: { ...fresh, vary: url === "/star" ? "Accept, *" : "Accept-Language, X-Other" },
      body: String(headers["accept-language"]),
    }));
    const ask = async (language: string, more: Record<string, string> = {}, path = "/a") =>
      (await send(app.url + path, { headers: { "accept-language": language, ...more } })).text;
    for (const language of ["de", "en", "de", "en"]) expect(await ask(language)).to.equal(language);
    expect(app.calls()).to.equal(2);
    expect(await ask("de", { "x-other": "" })).to.equal("de");
    expect(app.calls()).to.equal(3);
    expect(await ask("de,  en;q=0.5")).to.equal("de,  en;q=0.5");
    expect(await ask("de, en;q=0.5")).to.equal("de,  en;q=0.5");
    for (const calls of [5, 6]) {
      await ask("de", {}, "/star");
      expect(app.calls()).to.equal(calls);
    }
    const tenants = await serveCached(start, ({ headers }) => ({ headers: fresh, body: String(headers["x-tenant"]) }), {
      partition: ((raw: { headers: Record<string, string> }) => raw.headers["x-tenant"]) as never,
    });
    for (const tenant of ["a", "b", "a", "b", "a\\nb"])
      expect((await send(`${tenants.url}/a`, { headers: { "x-tenant": tenant } })).text).to.equal(tenant);
    expect(tenants.calls()).to.equal(3);
    expect((await send(`${tenants.url}/a`)).headers["cache-status"]).to.equal("portcullis; fwd=bypass");
  });

  it("neither stores nor repeats fields of one exchange, and keeps fields that were set before", async () => {
    const once = {
      "set-cookie": ["a=1", "b=2"],
      date: new Date(Date.now() - 5000).toUTCString(),
      "retry-after": "5",
      "www-authenticate": "Basic",
      "dpop-nonce": "n",
      ratelimit: '"x";r=1;t=1',
      "x-ratelimit-limit": "5",
      "access-control-allow-origin": "https://one.example",
      connection: "keep-alive, x-hop",
      "x-hop": "1",
      "clear-site-data": '"cookies"',
      "x-request-id": "7",
    };
    const limits = [{ name: "ip", per: "ip", limit: 9, window: "1m" }] as const;
    const app = await serveCached(
      start,
      () => ({ headers: { "cache-control": "public, max-age=60", link: "</x>", "x-kept": "1", ...once }, body: "x" }),
      {},
      { limits },
    );
    await send(`${app.url}/a`);
    const { headers } = await send(`${app.url}/a`);
    expect(app.calls()).to.equal(1);
    expect(headers).to.include({ link: "</x>", "x-kept": "1", ratelimit: '"ip";r=7;t=60' });
    for (const name of Object.keys(once))
      if (!["date", "ratelimit", "connection"].includes(name)) expect(headers, name).not.to.have.property(name);
    expect(headers.date).not.to.equal(once.date);
    expect(headers.connection).not.to.include("x-hop");
  });

  it("does not share a response to a request with a cookie, unless it is for all users", async () => {
    const app = await serveCached(start, ({ url }) => ({
      headers: { "cache-control": url === "/public" ? "public, max-age=60" : "max-age=60", "set-cookie": "sid=1" },
      body: "x",
    }));
    for (const path of ["/a", "/a", "/public", "/public"]) await send(app.url + path);
    expect(app.calls()).to.equal(3);
  });
});
