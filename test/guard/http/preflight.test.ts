import { once } from "node:events";
import { connect, createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { portcullis } from "@portcullis/koa";
import { signToken, testAuth, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import Koa from "koa";
import { adapters, allAdapters } from "../../support/app.js";
import type { AnyGate, AnyMiddleware, AnyOptions, RunningApp, TestAdapter } from "../../support/app.js";
import { cleanUpInTest } from "../../support/clean-up.js";
import { send } from "../../support/http.js";
import type { SendOptions, TestAnswer } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";

const preflight = { origin: "https://evil.example", "access-control-request-method": "GET" };
const limits = [{ name: "ip", per: "ip", limit: 3, window: "1m" }] as const;

function ask({ url }: RunningApp, options: SendOptions = {}): Promise<TestAnswer> {
  return send(`${url}/me`, { method: "OPTIONS", headers: preflight, ...options });
}

/** A handler that does not look at the method, as most Koa handlers do not. */
function start(
  adapter: TestAdapter,
  use: (gate: AnyGate) => AnyMiddleware[],
  options: AnyOptions = {},
): Promise<RunningApp> {
  const handle = (): unknown => ({ secret: 42 });
  return adapter.start({
    options: { redis: "memory", auth: testAuth, logger: silentLogger, ...options },
    use,
    routes: { "GET /me": handle, "OPTIONS /me": handle },
  });
}

for (const adapter of allAdapters) {
  describe(`a CORS preflight at the gate on ${adapter.name}`, () => {
    for (const redis of ["memory", "Redis"]) {
      it(`is answered without a body, and gets to no handler, and counts against the address, with ${redis}`, async () => {
        const store = redis === "memory" ? {} : { redis: testRedisUrl(), prefix: freshPrefix() };
        const app = await start(adapter, (gate) => [gate.guard()], { limits, ...store });
        const first = await ask(app);
        expect(first.status).to.equal(204);
        expect(first.text).to.equal("");
        expect(first.headers["cache-control"]).to.equal("no-store");
        expect(first.headers.ratelimit).to.match(/^"ip";r=2;/);
        expect(first.headers["ratelimit-policy"]).to.equal('"ip";q=3;w=60');
        const names = Object.keys(first.headers);
        expect(names.filter((name) => /^access-control-|^content-|^www-|^vary/.test(name))).to.deep.equal([]);
        for (let round = 0; round < 2; round += 1) expect((await ask(app)).status).to.equal(204);
        const refused = await ask(app);
        expect(refused.status).to.equal(429);
        expect(refused.headers["retry-after"]).to.match(/^\d+$/);
      });
    }

    it("is one only with Origin and Access-Control-Request-Method, and only as OPTIONS", async () => {
      const app = await start(adapter, (gate) => [gate.guard()]);
      const { origin, ...asks } = preflight;
      expect((await ask(app, { headers: { origin } })).status).to.equal(401);
      expect((await ask(app, { headers: asks })).status).to.equal(401);
      expect((await ask(app, { headers: {} })).status).to.equal(401);
      expect((await ask(app, { method: "GET" })).status).to.equal(401);
      expect((await ask(app, { method: "GET", token: await signToken() })).status).to.equal(200);
    });

    it("passes as anonymous if it is told to", async () => {
      const app = await start(adapter, (gate) => [gate.guard({ preflight: "pass" })], { limits });
      expect((await ask(app)).status).to.equal(200);
      const route = await start(adapter, (gate) => [gate.authenticate({ preflight: "pass" }), gate.requireScopes("a")]);
      expect((await ask(route)).status).to.equal(401);
    });

    it("is answered, and not thrown as a refusal is", async () => {
      const app = await start(adapter, (gate) => [gate.guard({ onDeny: "throw" })]);
      expect((await ask(app)).status).to.equal(204);
    });
  });
}

for (const adapter of adapters) {
  describe(`a CORS preflight, whichever way the gate was put together, on ${adapter.name}`, () => {
    const answering: Readonly<Record<string, (gate: AnyGate) => AnyMiddleware[]>> = {
      "authenticate()": (gate) => [gate.authenticate()],
      "guard({ optional })": (gate) => [gate.guard({ optional: true })],
      "optional(guard())": (gate) => [gate.optional(gate.guard())],
      "guard({ checks })": (gate) => [
        gate.guard({ checks: [gate.limit({ name: "l", per: "ip", limit: 9, window: "1m" }), gate.authenticate()] }),
      ],
      "requireScopes() in checks": (gate) => [gate.guard({ checks: [gate.authenticate(), gate.requireScopes("a")] })],
      "requireScopes() behind it": (gate) => [gate.guard(), gate.requireScopes("a")],
      "unless() for other paths": (gate) => [gate.unless({ path: "/other" }, gate.guard())],
      "when() for its path": (gate) => [gate.when({ path: "/me" }, gate.guard())],
      "some() with a refusal first": (gate) => [gate.some(gate.requireScopes("a"), gate.authenticate())],
      "some() that throws": (gate) => [gate.some(gate.guard({ onDeny: "throw" }), gate.requireRole("a"))],
      "limit() before it": (gate) => [gate.limit({ name: "l", per: "ip", limit: 9, window: "1m" }), gate.guard()],
    };
    for (const [name, use] of Object.entries(answering)) {
      it(`is answered by ${name}`, async () => {
        const answer = await ask(await start(adapter, use));
        expect(answer.status).to.equal(204);
        if (name.includes("checks })") || name.startsWith("limit()"))
          expect(answer.headers.ratelimit).to.match(/^"l";r=8;/);
      });
    }

    const passing: Readonly<Record<string, (gate: AnyGate) => AnyMiddleware[]>> = {
      "limit() and requestCache() alone": (gate) => [
        gate.limit({ name: "l", per: "ip", limit: 9, window: "1m" }),
        gate.requestCache(),
      ],
      "unless() for its path": (gate) => [gate.unless({ path: "/me" }, gate.guard())],
      "when() for other paths": (gate) => [gate.when({ path: "/other" }, gate.guard())],
    };
    for (const [name, use] of Object.entries(passing)) {
      it(`passes ${name}, which ask nobody who they are`, async () => {
        expect((await ask(await start(adapter, use))).status).to.equal(200);
      });
    }

    it("passes the guard of a gate that authenticates nobody", async () => {
      const app = await start(adapter, (gate) => [gate.guard()], { auth: undefined, limits });
      const answer = await ask(app);
      expect(answer.status).to.equal(200);
      expect(answer.headers.ratelimit).to.match(/^"ip";r=2;/);
    });

    it("warns once, at the first preflight that is answered, by any middleware", async () => {
      const warnings: string[] = [];
      const logger = { debug: () => undefined, warn: (_fields: object, text: string) => void warnings.push(text) };
      const app = await start(adapter, (gate) => [gate.when({ path: "/other" }, gate.guard()), gate.guard()], {
        logger,
      });
      expect(warnings).to.deep.equal([]);
      for (let round = 0; round < 3; round += 1) await ask(app);
      await send(`${app.url}/other`, { method: "OPTIONS", headers: preflight });
      expect(warnings).to.have.length(1);
      expect(warnings[0]).to.match(/^portcullis: a CORS preflight was answered .* CORS middleware before the gate/);
    });

    it("is neither counted as passed nor as refused", async () => {
      const app = await start(adapter, (gate) => [gate.guard()]);
      await ask(app);
      const counted = app.gate.metrics().filter(({ name }) => /^portcullis_(?:allowed|denied)_total$/.test(name));
      expect(counted).to.have.length(2);
      expect(counted.flatMap(({ samples }) => samples).filter(({ value }) => value > 0)).to.deep.equal([]);
      await ask(app, { method: "GET" });
      expect(app.gate.metrics().find(({ name }) => name === "portcullis_denied_total")?.samples[0]?.value).to.equal(1);
    });
  });
}

describe("the option preflight", () => {
  it("is one of two words, and an option of middleware that authenticates", () => {
    const gate = portcullis({ redis: "memory", auth: testAuth, logger: silentLogger });
    cleanUpInTest(() => gate.close());
    for (const preflight of ["", "deny", true, null, 5] as never[]) {
      expect(() => gate.guard({ preflight })).to.throw(TypeError, 'preflight must be one of "answer", "pass"');
      expect(() => gate.authenticate({ preflight })).to.throw(TypeError, "preflight");
    }
    expect(() => gate.guard({ preflight: undefined })).not.to.throw();
    expect(() => gate.guard({ checks: [], preflight: "pass" })).to.throw(TypeError, "guard().preflight");
  });
});

describe("the quick start of Koa in the README", () => {
  const options = {
    redis: "memory",
    auth: { secret: testSecret, algorithms: ["HS256"], issuer: "https://id.example.com", audience: "orders-api" },
    limits: [{ name: "ip", per: "ip", limit: 300, window: "1m" }],
    logger: silentLogger,
  } as const;

  it("shows nothing to a preflight over HTTP/2 either", async () => {
    const app = new Koa();
    const gate = portcullis(options);
    cleanUpInTest(() => gate.close());
    app.use(gate.guard());
    app.use((ctx) => (ctx.body = { subject: ctx.auth?.subject, quotas: ctx.quotas }));
    const handle = app.callback();
    const server = createServer((req, res) => void handle(req as never, res as never)).listen(0, "127.0.0.1");
    cleanUpInTest(() => void server.close());
    await once(server, "listening");
    const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    cleanUpInTest(() => session.destroy());
    const stream = session.request({ ":method": "OPTIONS", ":path": "/", ...preflight });
    let body = "";
    stream.on("data", (chunk: Buffer) => (body += chunk.toString()));
    stream.end();
    const [[headers]] = (await Promise.all([once(stream, "response"), once(stream, "end")])) as unknown as [
      [Record<string, unknown>],
      unknown,
    ];
    expect(headers[":status"]).to.equal(204);
    expect(headers["cache-control"]).to.equal("no-store");
    expect(headers.ratelimit).to.match(/^"ip";r=299;/);
    expect(body).to.equal("");
  });
});
