import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { expect } from "chai";
import { signToken, testAuth } from "@portcullis/testkit";
import { adapters } from "../../support/app.js";
import type { AnyGate } from "../../support/app.js";
import { commonRoutes, describeOnEveryGate, withNodeAdapter } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";

withNodeAdapter(describeOnEveryGate)("the gate", (start) => {
  it("throws refusals on request, for the application's own error handler", async () => {
    const { url } = await start({}, { use: (gate) => [gate.guard({ onDeny: "throw" })] });
    const answer = await send(`${url}/me`);
    expect(answer.status).to.equal(401);
    expect(answer.headers["www-authenticate"]).to.equal("Bearer");
    expect(answer.headers["content-type"]).to.not.equal("application/problem+json");
  });

  it("keeps throwing them from inside other middleware", async () => {
    for (const wrap of [
      (gate: AnyGate) => gate.unless({ path: "/public" }, gate.guard({ onDeny: "throw" })),
      (gate: AnyGate) => gate.guard({ checks: [gate.authenticate({ onDeny: "throw" })] }),
    ]) {
      const { url } = await start({}, { use: (gate) => [wrap(gate)] });
      const answer = await send(`${url}/me`);
      expect(answer.status).to.equal(401);
      expect(answer.headers["content-type"]).to.not.equal("application/problem+json");
    }
  });

  it("says why to those who listen, and to nobody else", async () => {
    const heard: unknown[] = [];
    const listen = (message: unknown) => heard.push(message);
    const { url } = await start(
      {},
      { use: (gate) => [gate.unless({ path: "/throws" }, gate.guard()), gate.guard({ onDeny: "throw" })] },
    );
    subscribe("portcullis:denied", listen);
    try {
      const token = await signToken({ exp: 1 });
      await send(`${url}/me`, { token });
      await send(`${url}/throws`, { token });
    } finally {
      unsubscribe("portcullis:denied", listen);
    }
    const denial = { code: "token_invalid", status: 401, cause: "ERR_JWT_EXPIRED" };
    expect(heard).to.have.length(2);
    for (const message of heard) expect(message).to.include(denial);
  });

  it("keeps apart users and tokens of several issuers that have the same names", async () => {
    const issuers = ["https://a.test", "https://b.test"];
    const { url } = await start(
      { auth: { ...testAuth, issuer: issuers }, limits: [{ name: "user", per: "user", limit: 2, window: "1m" }] },
      {
        routes: {
          ...commonRoutes,
          "GET /mine": async ({ auth, cache }) => cache.forUser().getOrSet({ key: "k" }, () => ({ of: auth?.issuer })),
        },
      },
    );
    const [a, b] = await Promise.all(issuers.map((iss) => signToken({ iss, sub: "same", jti: "same" })));
    for (const [index, token] of [a, b].entries()) {
      expect((await send(`${url}/mine`, { token: token! })).json).to.deep.equal({ of: issuers[index] });
    }
    expect((await send(`${url}/logout`, { method: "POST", token: a! })).status).to.equal(204);
    expect((await send(`${url}/me`, { token: a! })).status).to.equal(401);
    expect((await send(`${url}/me`, { token: b! })).status).to.equal(200);
  });

  it("composes by hand", async () => {
    const { url } = await start(
      {},
      {
        use: (gate) => [
          gate.guard({
            checks: [
              gate.limit({ name: "early", per: "ip", limit: 2, window: "1m" }),
              gate.authenticate(),
              gate.requestCache(),
              gate.requireScopes("a"),
            ],
          }),
        ],
      },
    );
    expect((await send(`${url}/me`)).status).to.equal(401);
    expect((await send(`${url}/me`, { token: await signToken({ scope: "a" }) })).status).to.equal(200);
    expect((await send(`${url}/me`)).status).to.equal(429);
  });

  it("keeps a user signed in after one of several alternatives has refused", async () => {
    const { url } = await start(
      {},
      {
        use: (gate) => [
          gate.authenticate(),
          gate.some(
            gate.limit({ name: "burst", per: "user", limit: 2, window: "1m" }),
            gate.requireScopes("paid"),
            gate.limit({ name: "sustained", per: "user", limit: 3, window: "1h" }),
          ),
        ],
      },
    );
    const token = await signToken({ sub: "alice" });
    const answers = [];
    for (let round = 0; round < 8; round += 1) answers.push(await send(`${url}/me`, { token }));
    expect(answers.map(({ status }) => status)).to.deep.equal([200, 200, 200, 200, 200, 429, 429, 429]);
    for (const answer of answers.slice(0, 5)) expect(answer.json).to.include({ subject: "alice" });
    const paying = await signToken({ sub: "alice", scope: "paid" });
    expect((await send(`${url}/me`, { token: paying })).status).to.equal(200);
  });

  it("refuses at every alternative a request over a limit that they share, as one refusal of that limit", async () => {
    const block = { after: 2, for: "1h" } as const;
    const { url } = await start(
      {},
      {
        use(gate) {
          const shared = gate.limit({ name: "shared", per: "ip", limit: 2, window: "1m", block });
          const asAdmin = gate.guard({ checks: [gate.authenticate(), shared, gate.requireRole("admin")] });
          return [gate.some(asAdmin, gate.guard({ checks: [shared, gate.authenticate()] }))];
        },
      },
    );
    const token = await signToken();
    const answers = [];
    for (let visit = 0; visit < 5; visit += 1) answers.push(await send(`${url}/me`, { token }));
    expect(answers.map(({ status }) => status)).to.deep.equal([200, 200, 429, 429, 429]);
    const codes = answers.slice(2).map(({ json }) => (json as { code: string }).code);
    expect(codes).to.deep.equal(["quota_exceeded", "abuse_detected", "abuse_detected"]);
  });

  it("refuses a request over a limit, also if the limit is asked again for the same request", async () => {
    const limits = [
      { name: "ip", per: "ip", limit: 2, window: "1m" },
      { name: "user", per: "user", limit: 1, window: "1m" },
    ] as const;
    const { url } = await start(
      { limits },
      { use: (gate) => [gate.some(gate.guard(), gate.guard({ optional: true })), gate.guard()] },
    );
    const token = await signToken();
    const statuses = [];
    for (let round = 0; round < 3; round += 1) statuses.push((await send(`${url}/me`, { token })).status);
    expect(statuses).to.deep.equal([200, 429, 429]);
    expect((await send(`${url}/me`, { token: await signToken({ sub: "bob" }) })).status).to.equal(200);
    expect((await send(`${url}/me`, { token: await signToken({ sub: "carol" }) })).status).to.equal(429);
  });

  it("counts a request once towards a block, however often the limit refuses it", async () => {
    const block = { after: 4, for: "1m", upTo: "1h" } as const;
    const { url } = await start(
      { limits: [{ name: "ip", per: "ip", limit: 1, window: "1m", block }] },
      { use: (gate) => [gate.some(gate.guard({ optional: true }), gate.guard({ optional: true }))] },
    );
    const codes = [];
    for (let round = 0; round < 6; round += 1) codes.push((await send(`${url}/me`)).json);
    expect(codes.map((json) => (json as { code?: string }).code ?? "allowed")).to.deep.equal([
      ...["allowed", "quota_exceeded", "quota_exceeded", "quota_exceeded", "abuse_detected", "abuse_detected"],
    ]);
  });

  it("answers HEAD like GET, without a body", async () => {
    const { url } = await start();
    const answer = await send(`${url}/me`, { method: "HEAD" });
    expect(answer.status).to.equal(401);
    expect(answer.text).to.equal("");
  });
});

describe("the gate while its store is away", () => {
  it("refuses a request that it cannot count, also if the limit is asked again for the same request", async () => {
    const { url, gate } = await adapters[0]!.start({
      options: {
        redis: testRedisUrl(),
        prefix: freshPrefix(),
        auth: testAuth,
        logger: silentLogger,
        limits: [{ name: "ip", per: "ip", limit: 2, window: "1m", onStoreError: "deny" }],
      },
      use: (made) => [made.some(made.guard(), made.guard({ optional: true }))],
      routes: commonRoutes,
    });
    expect((await send(`${url}/me`)).status).to.equal(200);
    for (const breaker of gate.breakers) breaker.open();
    expect((await send(`${url}/me`)).status).to.equal(503);
  });
});
