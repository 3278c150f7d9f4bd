import { expect } from "chai";
import { signToken, testAuth } from "@portcullis/testkit";
import { describeOnEveryGate, withNodeAdapter } from "../../support/every-gate.js";
import { send } from "../../support/http.js";

withNodeAdapter(describeOnEveryGate)("authentication", (start) => {
  it("requires credentials without an error code if a request has none", async () => {
    const { url } = await start();
    for (const headers of [{}, { authorization: "" }, { authorization: "Basic dTpw" }]) {
      const answer = await send(`${url}/me`, { headers });
      expect(answer.status).to.equal(401);
      expect(answer.headers["www-authenticate"]).to.equal("Bearer");
      expect(answer.json).to.include({ code: "credentials_required", status: 401 });
    }
  });

  it("refuses every bad token with the same answer", async () => {
    const { url } = await start({ auth: { ...testAuth, realm: "orders" } });
    const good = await signToken();
    const bad = [
      "nonsense",
      `${good}x`,
      good.slice(0, -3),
      `${good} ${good}`,
      `${good}, Bearer ${good}`,
      await signToken({ exp: 1 }),
      await signToken({ exp: undefined }),
      await signToken({ aud: "another" }),
      await signToken({ iss: "another" }),
      await signToken({ jti: 7 as unknown as string }),
    ];
    const answers = await Promise.all(bad.map((token) => send(`${url}/me`, { token })));
    expect(new Set(answers.map(({ status }) => status))).to.deep.equal(new Set([401]));
    expect(new Set(answers.map(({ text }) => text)).size).to.equal(1);
    const challenges = new Set(answers.map(({ headers }) => headers["www-authenticate"]));
    expect([...challenges]).to.have.length(1);
    expect([...challenges][0]).to.match(/^Bearer realm="orders", error="invalid_token", error_description="[^"\\]+"$/);
  });

  it("lets a good token pass and shows who it is", async () => {
    const { url } = await start();
    const token = await signToken({ sub: "alice", scope: "a b" });
    for (const authorization of [`Bearer ${token}`, `bearer ${token}`, `BEARER   ${token}`, `  Bearer ${token}  `]) {
      const answer = await send(`${url}/me`, { headers: { authorization } });
      expect(answer.status).to.equal(200);
      expect(answer.json).to.deep.include({ subject: "alice", scopes: ["a", "b"] });
    }
  });

  it("passes anonymous requests if it is optional, but never an invalid token", async () => {
    const { url } = await start({ auth: { ...testAuth, optional: true } });
    expect((await send(`${url}/me`)).json).to.deep.include({ subject: null });
    expect((await send(`${url}/me`, { token: await signToken() })).json).to.deep.include({ subject: "alice" });
    expect((await send(`${url}/me`, { token: await signToken({ exp: 1 }) })).status).to.equal(401);
  });

  it("takes the token from a cookie, and refuses that on an unsafe method from elsewhere", async () => {
    const origins = ["https://app.example.com"];
    const { url } = await start({ auth: { ...testAuth, tokenFrom: ["header", { cookie: "session", origins }] } });
    const cookie = `other=1; session=${await signToken()}`;
    const post = (headers: Record<string, string>) =>
      send(`${url}/logout`, { method: "POST", headers: { cookie, ...headers } });
    expect((await send(`${url}/me`, { headers: { cookie } })).status).to.equal(200);
    expect((await post({})).status).to.equal(403);
    expect((await post({ origin: "https://evil.example" })).status).to.equal(403);
    expect((await post({ "sec-fetch-site": "cross-site" })).status).to.equal(403);
    expect((await post({ origin: "https://app.example.com" })).status).to.equal(204);
  });

  it("refuses a request with tokens in two places", async () => {
    const { url } = await start({ auth: { ...testAuth, tokenFrom: ["header", { cookie: "session" }] } });
    const token = await signToken();
    const answer = await send(`${url}/me`, { token, headers: { cookie: `session=${token}` } });
    expect(answer.status).to.equal(400);
    expect(answer.headers["www-authenticate"]).to.equal('Bearer error="invalid_request"');
  });

  it("refuses a token without a required scope with 403 and names the scopes", async () => {
    const { url } = await start(
      {},
      { use: (gate) => [gate.guard(), gate.requireScopes("orders:read", "orders:write")] },
    );
    const answer = await send(`${url}/me`, { token: await signToken({ scope: "orders:read" }) });
    expect(answer.status).to.equal(403);
    expect(answer.headers["www-authenticate"]).to.equal(
      'Bearer error="insufficient_scope", scope="orders:read orders:write"',
    );
    const token = await signToken({ scope: ["orders:write", "orders:read"] });
    expect((await send(`${url}/me`, { token })).status).to.equal(200);
  });

  it("stays away from public paths, however they are disguised", async () => {
    const { url } = await start({}, { use: (gate) => [gate.unless({ path: ["/me", "/public/*"] }, gate.guard())] });
    expect((await send(`${url}/me?x=1`)).status).to.equal(200);
    for (const path of [
      "/logout",
      "//me",
      "/public/../logout",
      "/public/%2e%2e/logout",
      "/public/..%2flogout",
      "/ME",
    ]) {
      expect((await send(`${url}${path}`, { method: "POST" })).status, path).to.equal(401);
    }
  });
});
