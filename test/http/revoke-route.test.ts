import { nowSeconds, signToken, testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import express from "express";
import type { RequestHandler } from "express";
import { adapters } from "../support/app.js";
import type { AnyMiddleware, AnyOptions, TestApp } from "../support/app.js";
import { commonRoutes, describeOnEveryGate } from "../support/every-gate.js";
import { form, send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";

type RouteOptions = Parameters<Parameters<NonNullable<TestApp["use"]>>[0]["routes"]["revoke"]>[0];

const behind = (options?: RouteOptions): Partial<TestApp> => ({
  use: (gate) => [gate.routes.revoke(options), gate.guard()],
});
const tokens = { signingKey: testSecret, issuer: testIssuer, audience: "shop" };
const ofAnother = { client_id: "web", azp: "app" };

describeOnEveryGate("the revocation endpoint", (start) => {
  it("revokes an access token, as clients ask for it (RFC 7009)", async () => {
    const { url } = await start({}, behind());
    const [token, other] = [await signToken(), await signToken()];
    expect((await send(`${url}/me`, { token })).status).to.equal(200);
    const answer = await form(`${url}/revoke`, { token, token_type_hint: "access_token" });
    expect([answer.status, answer.text]).to.deep.equal([200, ""]);
    expect(answer.headers["cache-control"]).to.equal("no-store");
    expect((await send(`${url}/me`, { token })).status).to.equal(401);
    expect((await send(`${url}/me`, { token: other })).status).to.equal(200);
    expect((await form(`${url}/revoke`, { token })).status, "again").to.equal(200);
  });

  it("answers 200 for what is no good token, and revokes nothing by it", async () => {
    const { url } = await start({}, behind());
    const token = await signToken({ jti: "victim" });
    const forged = `${(await signToken({ jti: "victim", scope: "x" })).split(".").slice(0, 2).join(".")}.${token.split(".")[2]}`;
    const expired = await signToken({ jti: "victim", exp: nowSeconds() - 10 });
    for (const useless of [forged, expired, "unknown", "a.b.c", token.repeat(20), "\u0000", "{}"])
      expect((await form(`${url}/revoke`, { token: useless })).status, useless).to.equal(200);
    expect((await send(`${url}/me`, { token })).status).to.equal(200);
  });

  it("revokes what is no good token yet, or not at the moment: it may be one tomorrow", async () => {
    let validates = false;
    const auth = { ...testAuth, maxLifetime: "1h", validate: () => validates } as const;
    const { url, gate } = await start({ auth }, behind());
    const [soon, issuedSoon] = [nowSeconds() + 60, nowSeconds() + 60];
    const tokens = {
      early: await signToken({ jti: "early", nbf: soon }),
      ahead: await signToken({ jti: "ahead", iat: issuedSoon, exp: issuedSoon + 300 }),
      long: await signToken({ jti: "long", iat: undefined, exp: nowSeconds() + 7200 }),
      unwelcome: await signToken({ jti: "unwelcome" }),
    };
    for (const [jti, token] of Object.entries(tokens)) {
      expect((await send(`${url}/me`, { token })).status, jti).to.equal(401);
      expect((await form(`${url}/revoke`, { token })).status, jti).to.equal(200);
      expect(await gate.revocations.isRevoked({ jti }), jti).to.be.true;
    }
    validates = true;
    expect((await send(`${url}/me`, { token: tokens.unwelcome })).status).to.equal(401);
    expect((await send(`${url}/me`, { token: await signToken() })).status).to.equal(200);
  });

  it("ends the session of a refresh token, whatever the hint says", async () => {
    const { url, gate } = await start({ auth: undefined, tokens }, behind());
    for (const hint of ["refresh_token", "access_token", "nonsense"]) {
      const { accessToken, refreshToken } = await gate.tokens.issue({ subject: "alice" });
      expect((await send(`${url}/me`, { token: accessToken })).status).to.equal(200);
      expect((await form(`${url}/revoke`, { token: refreshToken, token_type_hint: hint })).status).to.equal(200);
      expect((await send(`${url}/me`, { token: accessToken })).status).to.equal(401);
      const refused = await gate.tokens.refresh(refreshToken).catch((error: unknown) => error);
      expect(refused).to.include({ code: "invalid_grant" });
      expect((await form(`${url}/revoke`, { token: refreshToken })).status, "again").to.equal(200);
    }
  });

  it("does not say that it has revoked a refresh token that it knows nothing of", async () => {
    const { url } = await start({}, behind());
    const answer = await form(`${url}/revoke`, { token: "opaque", token_type_hint: "refresh_token" });
    expect([answer.status, answer.json]).to.deep.equal([
      400,
      { error: "unsupported_token_type", error_description: "Refresh tokens are not revoked here" },
    ]);
    const token = await signToken();
    expect((await form(`${url}/revoke`, { token, token_type_hint: "refresh_token" })).status).to.equal(200);
    expect((await send(`${url}/me`, { token })).status).to.equal(401);
  });

  it("refuses requests that are none, in the words of OAuth, and leaves others alone", async () => {
    const { url } = await start({}, behind());
    const token = await signToken();
    const type = { "content-type": "application/x-www-form-urlencoded" };
    const post = (body: string, headers: Record<string, string> = type) =>
      send(`${url}/revoke`, { method: "POST", body, headers });
    for (const body of ["", "token=", "token_type_hint=access_token", `token=${token}&token=${token}`]) {
      const answer = await post(body);
      expect([answer.status, (answer.json as { error: string }).error], body).to.deep.equal([400, "invalid_request"]);
      expect(answer.headers["cache-control"]).to.equal("no-store");
    }
    expect((await post(JSON.stringify({ token }), { "content-type": "application/json" })).status).to.equal(400);
    expect((await post(`token=${token}`, {})).status).to.equal(400);
    expect((await post(`token=${token}`, { ...type, "content-encoding": "gzip" })).status).to.equal(400);
    expect((await post(`token=${"a".repeat(40_000)}`)).status).to.equal(413);
    expect(
      (await post(`token=${token}`, { "content-type": `${type["content-type"]}; charset=UTF-8` })).status,
    ).to.equal(200);
    expect((await send(`${url}/revoke?token=${token}`)).status, "GET is no request of it").to.equal(401);
  });

  it("asks the application about the client, and whose the token is", async () => {
    const secrets: Record<string, string> = { web: "s3cret", "a:b": "p%+ \u00e9" };
    const { url } = await start(
      {},
      behind({ authenticateClient: (client) => secrets[client?.id ?? ""] === client?.secret && client !== undefined }),
    );
    const ask = async (fields: Record<string, string>, authorization?: string) => {
      const token = await signToken({ client_id: "web" });
      const answer = await form(
        `${url}/revoke`,
        { token, ...fields },
        authorization === undefined ? {} : { authorization },
      );
      const revoked = (await send(`${url}/me`, { token })).status === 401;
      return [answer.status, (answer.json as { error?: string } | undefined)?.error, revoked];
    };
    const basic = (id: string, secret: string) =>
      `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString("base64")}`;
    expect(await ask({}, basic("web", "s3cret"))).to.deep.equal([200, undefined, true]);
    expect(await ask({ client_id: "web", client_secret: "s3cret" })).to.deep.equal([200, undefined, true]);
    expect(await ask({ client_id: "web" }, basic("web", "s3cret"))).to.deep.equal([200, undefined, true]);
    for (const [fields, header] of [
      [{}, undefined],
      [{}, basic("web", "wrong")],
      [{ client_id: "web" }, undefined],
      [{ client_id: "web", client_secret: "wrong" }, undefined],
      [{ client_id: "__proto__" }, undefined],
    ] as const)
      expect(await ask(fields, header)).to.deep.equal([401, "invalid_client", false]);
    for (const [fields, header] of [
      [{ client_id: "web", client_secret: "s3cret" }, basic("web", "s3cret")],
      [{ client_id: "app" }, basic("web", "s3cret")],
      [{}, "Basic !"],
      [{ client_secret: "s3cret" }, undefined],
    ] as const)
      expect(await ask(fields, header)).to.deep.equal([400, "invalid_request", false]);
    expect(await ask({}, basic("a:b", secrets["a:b"] ?? ""))).to.deep.equal([400, "unauthorized_client", false]);
    const challenge = await form(`${url}/revoke`, { token: "t" });
    expect(challenge.headers["www-authenticate"]).to.equal("Basic");
  });
});

for (const adapter of adapters) {
  describe(`the revocation endpoint on ${adapter.name}`, () => {
    const cleanUp: (() => unknown)[] = [];
    afterEach(async () => {
      for (const clean of cleanUp.splice(0)) await clean();
    });
    const start = async (options: Partial<AnyOptions>, rest: Partial<TestApp>) => {
      const given = { redis: "memory", auth: testAuth, logger: silentLogger, ...options } as const;
      const app = await adapter.start({ options: given, routes: commonRoutes, ...rest });
      cleanUp.push(() => app.close());
      return app;
    };

    it("answers 503 when the store has not recorded it", async () => {
      // Nobody listens there.
      const { url } = await start({ redis: "redis://127.0.0.1:1" }, behind());
      const answer = await form(`${url}/revoke`, { token: await signToken() });
      expect([answer.status, (answer.json as { error: string }).error]).to.deep.equal([503, "temporarily_unavailable"]);
      expect(answer.headers["retry-after"]).to.equal("1");
    });

    it("takes what a body parser has read before", async () => {
      const parsers: AnyMiddleware[] =
        adapter.name === "Express"
          ? [express.json() as RequestHandler as AnyMiddleware, express.urlencoded() as RequestHandler as AnyMiddleware]
          : [parseInKoa as unknown as AnyMiddleware];
      const { url } = await start({}, { use: (gate) => [...parsers, gate.routes.revoke(), gate.guard()] });
      const token = await signToken(ofAnother);
      expect((await form(`${url}/revoke`, { token })).status).to.equal(200);
      expect((await send(`${url}/me`, { token })).status).to.equal(401);
      const again = await send(`${url}/revoke`, {
        method: "POST",
        body: `token=${token}&token=${token}`,
        headers: { "content-type": "application/x-www-form-urlencoded" },
      });
      expect(again.status).to.equal(400);
    });

    it("says at the start what is missing", async () => {
      const refused = async (options: Partial<AnyOptions>, route: unknown) =>
        start(options, behind(route as RouteOptions)).catch((error: unknown) => error);
      expect(await refused({ revocation: false }, {})).to.match(/revocation is off/);
      expect(await refused({}, { path: "revoke" })).to.match(/revoke\(\).path must be a path/);
      expect(await refused({}, { authenticateClient: "web" })).to.match(/authenticateClient must be a function/);
      expect(await refused({}, { paths: "/r" })).to.match(/did you mean path/);
    });
  });
}

/** What Koa's body parsers do. */
async function parseInKoa(ctx: { req: AsyncIterable<Buffer>; request: { body?: unknown } }, next: () => Promise<void>) {
  const chunks: Buffer[] = [];
  for await (const chunk of ctx.req) chunks.push(chunk);
  const fields = new URLSearchParams(Buffer.concat(chunks).toString());
  ctx.request.body = Object.fromEntries([...fields.keys()].map((name) => [name, fields.getAll(name)]));
  await next();
}
