import { nowSeconds, signToken, testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import express from "express";
import type { RequestHandler } from "express";
import { adapters } from "../support/app.js";
import type { AnyMiddleware, AnyOptions, TestApp } from "../support/app.js";
import { commonRoutes, describeOnEveryFramework } from "../support/every-gate.js";
import { form, send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { rejectionOf } from "../support/rejection.js";

type RouteOptions = Parameters<Parameters<NonNullable<TestApp["use"]>>[0]["routes"]["revoke"]>[0];

const behind = (options?: RouteOptions): Partial<TestApp> => ({
  use: (gate) => [gate.routes.revoke(options), gate.guard()],
});
const tokens = { signingKey: testSecret, issuer: testIssuer, audience: "shop" };
const ofAnother = { client_id: "web", azp: "app" };

describeOnEveryFramework("the revocation endpoint", (start) => {
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

  it("answers 200 for an invalid token, and revokes nothing", async () => {
    const { url } = await start({}, behind());
    const token = await signToken({ jti: "victim" });
    const forged = `${(await signToken({ jti: "victim", scope: "x" })).split(".").slice(0, 2).join(".")}.${token.split(".")[2]}`;
    const expired = await signToken({ jti: "victim", exp: nowSeconds() - 10 });
    for (const useless of [forged, expired, "unknown", "a.b.c", token.repeat(20), "\u0000", "{}"])
      expect((await form(`${url}/revoke`, { token: useless })).status, useless).to.equal(200);
    expect((await send(`${url}/me`, { token })).status).to.equal(200);
  });

  it("revokes a token that is not valid yet, or is refused now but may be valid later", async () => {
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
      const refused = await rejectionOf(gate.tokens.refresh(refreshToken));
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

  it("identifies its clients by a secret, in either way, or by their id alone (RFC 6749 2.3)", async () => {
    const clients = {
      web: { secret: "s3cret" },
      "a:b": { secret: "p%+ \u00e9" },
      rotating: { secret: ["new secret", "old secret"] },
      app: { public: true },
    } as const;
    const { url } = await start({}, behind({ clients }));
    const ask = async (fields: Record<string, string>, authorization?: string) => {
      const token = await signToken();
      const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
      const { status } = await form(`${url}/revoke`, { token, ...fields }, headers);
      const revoked = (await send(`${url}/me`, { token })).status === 401;
      expect(revoked).to.equal(status === 200);
      return status;
    };
    for (const [id, secret] of [
      ["web", "s3cret"],
      ["a:b", "p%+ \u00e9"],
      ["rotating", "new secret"],
      ["rotating", "old secret"],
    ] as const) {
      expect(await ask({}, basic(id, secret)), id).to.equal(200);
      expect(await ask({ client_id: id, client_secret: secret }), id).to.equal(200);
      for (const wrong of ["", secret.slice(1), `${secret}x`, secret.toUpperCase(), "undefined", "p%25+ \u00e9"]) {
        expect(await ask({}, basic(id, wrong)), `${id} ${wrong}`).to.equal(401);
        expect(await ask({ client_id: id, client_secret: wrong }), `${id} ${wrong}`).to.equal(401);
      }
      expect(await ask({ client_id: id }), id).to.equal(401);
    }
    expect(await ask({ client_id: "app" })).to.equal(200);
    expect(await ask({}, basic("app", ""))).to.equal(200);
    expect(await ask({ client_id: "app", client_secret: "x" })).to.equal(401);
    for (const id of ["unknown", "__proto__", "constructor", "Web", "web "]) {
      expect(await ask({ client_id: id }), id).to.equal(401);
      expect(await ask({ client_id: id, client_secret: "s3cret" }), id).to.equal(401);
    }
    expect(await ask({})).to.equal(401);
    // Both parts are form-encoded before they are joined (RFC 6749 2.3.1).
    const encoded = Buffer.from("a%3Ab:p%25%2B+%C3%A9").toString("base64");
    expect(await ask({}, `basic ${encoded}`)).to.equal(200);
  });

  it("lets no client revoke the token of another", async () => {
    const { url } = await start({}, behind({ clients: { web: { secret: "s3cret" }, app: { public: true } } }));
    const token = await signToken({ client_id: "web" });
    const refused = await form(`${url}/revoke`, { token, client_id: "app" });
    expect([refused.status, refused.json]).to.deep.equal([
      400,
      { error: "unauthorized_client", error_description: "The token was issued to another client" },
    ]);
    expect((await send(`${url}/me`, { token })).status).to.equal(200);
    expect((await form(`${url}/revoke`, { token }, { authorization: basic("web", "s3cret") })).status).to.equal(200);
    expect((await send(`${url}/me`, { token })).status).to.equal(401);
  });
});

function basic(id: string, secret: string): string {
  return `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString("base64")}`;
}

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

    it("uses a body that a body parser has read before", async () => {
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

    it("names the missing option at the start", async () => {
      const refused = async (options: Partial<AnyOptions>, route: unknown) =>
        rejectionOf(start(options, behind(route as RouteOptions)));
      expect(await refused({ revocation: false }, {})).to.match(/revocation must not be false/);
      expect(await refused({}, { path: "revoke" })).to.match(/revoke\(\).path must be a path/);
      expect(await refused({}, { authenticateClient: "web" })).to.match(/authenticateClient must be a function/);
      expect(await refused({}, { paths: "/r" })).to.match(/did you mean path/);
      const both = { clients: { web: { secret: "s3cret" } }, authenticateClient: () => true };
      expect(await refused({}, both)).to.match(/either clients or authenticateClient/);
    });

    it("refuses a client without a secret at the start: its id alone would let anybody in", async () => {
      const wrong: [unknown, RegExp][] = [
        [{ web: { secret: process.env.NO_SUCH_VARIABLE } }, /clients\.web\.secret is missing/],
        [{ web: {} }, /clients\.web\.secret is missing.*\{ public: true \}/],
        [{ web: { secret: "" } }, /clients\.web\.secret must be a non-empty string/],
        [{ web: { secret: "  " } }, /must not consist of blanks/],
        [{ web: { secret: null } }, /clients\.web\.secret must be a non-empty string/],
        [{ web: { secret: [] } }, /must not be an empty list/],
        [{ web: { secret: ["s3cret", undefined] } }, /clients\.web\.secret must be a non-empty string/],
        [{ web: { secret: "s3cret", public: true } }, /either \{ secret \} or \{ public: true \}/],
        [{ web: { public: false } }, /clients\.web\.public must be true/],
        [{ web: "s3cret" }, /clients\.web must be an object/],
        [{ "": { secret: "s3cret" } }, /empty id/],
        [{}, /at least one client/],
        [[], /must be an object/],
        [null, /must be an object/],
      ];
      for (const [clients, problem] of wrong) {
        const error: unknown = await rejectionOf(start({}, behind({ clients } as RouteOptions)));
        expect(error, JSON.stringify(clients))
          .to.be.instanceOf(TypeError)
          .with.property("message")
          .that.matches(problem);
        expect(String(error)).not.to.include("s3cret");
      }
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
