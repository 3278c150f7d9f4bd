import { createServer, request } from "node:http";
import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { connect } from "node:net";
import { portcullis as expressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import { expect } from "chai";
import express from "express";
import express4 from "express4";
import Koa from "koa";
import Koa2 from "koa2";
import { signToken, testAuth } from "@portcullis/testkit";
import { allAdapters } from "../../support/app.js";
import type { AnyMiddleware, AnyOptions, RunningApp, TestApp } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { send } from "../../support/http.js";
import { startServer } from "../../support/local-server.js";

/** Middleware of either framework that takes away a setter, or makes the response refuse the fields of a limit. */
function breakTarget(target: Breakable, second: unknown, third: (() => unknown) | undefined): unknown {
  const next = third ?? (second as () => unknown);
  const res = (third === undefined ? target.res : second) as ServerResponse;
  const broken = (target.req ?? target).headers?.["x-broken"];
  if (broken === "auth") Object.defineProperty(target, "auth", { get: () => undefined });
  if (broken === "setHeader") {
    const setHeader = res.setHeader.bind(res);
    res.setHeader = (name, value) => {
      if (name === "RateLimit") throw new Error("no such field");
      return setHeader(name, value);
    };
  }
  return next();
}

interface Breakable {
  readonly headers?: IncomingHttpHeaders;
  readonly req?: Breakable;
  readonly res?: unknown;
}

for (const adapter of allAdapters) {
  describe(`at the edges, the gate on ${adapter.name}`, () => {
    const running: RunningApp[] = [];
    afterEach(async () => {
      for (const app of running.splice(0)) await app.close();
    });

    async function start(options: Partial<AnyOptions> = {}, rest: Partial<TestApp> = {}): Promise<RunningApp> {
      const app = await adapter.start({
        options: { redis: "memory", auth: testAuth, ...options },
        routes: { "GET /me": ({ auth, quotas }) => ({ subject: auth?.subject ?? null, quotas }) },
        ...rest,
      });
      running.push(app);
      return app;
    }

    it("refuses a large token unparsed, and Node an even larger header", async () => {
      const { url } = await start();
      const answer = await send(`${url}/me`, { token: `${"a".repeat(4000)}.${"b".repeat(4200)}.c` });
      expect(answer.status).to.equal(401);
      expect(answer.json).to.include({ code: "token_too_large" });
      expect((await send(`${url}/me`, { token: "a".repeat(17_000) })).status).to.equal(431);
    });

    it("takes no token from the query", async () => {
      const { url } = await start();
      const token = await signToken();
      expect((await send(`${url}/me?access_token=${token}&token=${token}`)).status).to.equal(401);
    });

    it("counts by the address of the socket; with a trusted proxy, by the address that the proxy reports", async () => {
      const limits = [{ name: "ip", per: "ip", limit: 2, window: "1m" }] as const;
      const direct = await start({ auth: undefined, limits, logger: silentLogger });
      const statuses: number[] = [];
      for (const from of ["203.0.113.1", "203.0.113.2", "203.0.113.3"]) {
        statuses.push((await send(`${direct.url}/me`, { from })).status);
      }
      expect(statuses).to.deep.equal([200, 200, 429]);
      const proxied = await start({ auth: undefined, limits }, { behindProxy: true });
      statuses.length = 0;
      for (const forged of ["1.1.1.1", "2.2.2.2", "3.3.3.3"]) {
        statuses.push((await send(`${proxied.url}/me`, { from: `${forged}, 203.0.113.9` })).status);
      }
      expect(statuses).to.deep.equal([200, 200, 429]);
    });

    it("gives addresses that are none one bucket, not one each", async () => {
      const limits = [{ name: "ip", per: "ip", limit: 3, window: "1m" }] as const;
      const { url } = await start({ auth: undefined, limits, logger: silentLogger }, { behindProxy: true });
      const junk = [
        "not-an-ip",
        "1.2.3",
        "1.2.3.4.5",
        "999.1.1.1",
        "::g",
        "fe80::1::2",
        "unknown",
        "_hidden",
        "1.2.3.4/8",
        "x".repeat(200),
      ];
      const statuses: number[] = [];
      for (const from of junk) statuses.push((await send(`${url}/me`, { from })).status);
      expect(statuses.filter((status) => status === 200)).to.have.length(3);
    });

    it("keeps its denials out of caches, and repeats nothing from the request in them", async () => {
      const { url } = await start({ limits: [{ name: "ip", per: "ip", limit: 1, window: "1m" }] });
      const headers = { authorization: "Bearer <script>alert(1)</script>", "x-evil": "\u00e9" };
      for (const answer of [await send(`${url}/me`, { headers }), await send(`${url}/me?<script>`, { headers })]) {
        expect(answer.headers["cache-control"]).to.equal("no-store");
        expect(answer.text + JSON.stringify(answer.headers)).to.not.include("<script");
      }
    });

    it("hands a failing function of the application to its error handler, once", async () => {
      let calls = 0;
      const fail = () => {
        calls += 1;
        throw new Error("a bug of the application");
      };
      for (const policy of [
        { per: fail, limit: 1 },
        { per: "ip", limit: fail },
        { per: "ip", limit: 1, cost: fail },
        { per: "ip", limit: 1, skip: fail },
        { per: () => Promise.reject(new Error("later")), limit: 1 },
        { per: () => undefined as unknown as string, limit: 1 },
        { per: () => ({}) as unknown as string, limit: 1 },
      ] as const) {
        const { url } = await start({ limits: [{ name: "p", window: "1m", ...policy }] });
        expect((await send(`${url}/me`, { token: await signToken() })).status).to.equal(500);
      }
      expect(calls).to.equal(4);
      const { url } = await start({ auth: { ...testAuth, tokenFrom: fail } });
      expect((await send(`${url}/me`)).status).to.equal(500);
    });

    it("passes on the error if showing facts or setting fields fails, also after it has waited", async () => {
      const limits = [{ name: "own", per: () => Promise.resolve("everybody"), limit: 9, window: "1m" }] as const;
      const { url } = await start(
        { logger: silentLogger, limits },
        { use: (gate) => [breakTarget as unknown as AnyMiddleware, gate.guard()] },
      );
      const token = await signToken();
      for (const broken of ["auth", "setHeader"])
        expect((await send(`${url}/me`, { token, headers: { "x-broken": broken } })).status).to.equal(500);
      expect((await send(`${url}/me`, { token })).status).to.equal(200);
    });

    it("is not disturbed by a client that goes away", async () => {
      const app = await start({
        limits: [
          { name: "slow", per: () => new Promise((resolve) => setTimeout(resolve, 50, "k")), limit: 9, window: "1m" },
        ],
      });
      const token = await signToken();
      const gone = request(`${app.url}/me`, { headers: { authorization: `Bearer ${token}` } });
      gone.on("error", () => undefined);
      gone.end();
      await new Promise((resolve) => setTimeout(resolve, 20));
      gone.destroy();
      await new Promise((resolve) => setTimeout(resolve, 60));
      const answer = await send(`${app.url}/me`, { token });
      expect(answer.status).to.equal(200);
      expect(answer.headers.ratelimit).to.match(/r=[78]/);
    });

    it("answers requests that were pipelined on one connection, each its own", async () => {
      const { url } = await start();
      const { port } = new URL(url);
      const token = await signToken();
      const head = (authorization: string) => `GET /me HTTP/1.1\r\nHost: a\r\n${authorization}\r\n`;
      const socket = connect(Number(port), "127.0.0.1");
      socket.write(
        head(`Authorization: Bearer ${token}\r\n`) +
          head("") +
          head(`Authorization: Bearer ${token}\r\nConnection: close\r\n`),
      );
      let text = "";
      for await (const chunk of socket) text += String(chunk);
      expect(text.match(/HTTP\/1\.1 (\d+)/g)).to.deep.equal(["HTTP/1.1 200", "HTTP/1.1 401", "HTTP/1.1 200"]);
    });

    it("gives the same facts under another name where auth is taken", async () => {
      const { url } = await start(
        { property: "gate" },
        {
          routes: {
            "GET /me": (request) => [
              (request as { gate?: { subject: string } }).gate?.subject,
              request.auth === undefined,
            ],
          },
        },
      );
      expect((await send(`${url}/me`, { token: await signToken() })).json).to.deep.equal(["alice", true]);
    });
  });
}

for (const [version, framework] of [
  ["5", express],
  ["4", express4],
] as const) {
  it(`a trust function of Express ${version} that fails is heard once, also if a function of a limit fails with it`, async () => {
    const gate = expressGate({
      redis: "memory",
      auth: testAuth,
      logger: silentLogger,
      limits: [
        { name: "own", per: (req) => req.ip ?? "none", limit: 9, window: "1m" },
        { name: "user", per: "user", limit: 9, window: "1m" },
      ],
    });
    const app = framework();
    app.set("env", "test");
    app.set("trust proxy", (ip: string) => {
      if (ip === "garbage") throw new Error("no address");
      return true;
    });
    app.use(gate.guard());
    const server = await startServer(app);
    cleanUp(() => gate.close());
    const answer = await send(`${server.url}/me`, { token: await signToken(), from: "192.0.2.1, garbage, 192.0.2.2" });
    expect(answer.status).to.equal(500);
  });
}

describe("a response that has begun before the gate refuses", () => {
  const begin = (res: { write(text: string): unknown }) => res.write("begun ");

  for (const [name, framework] of [
    ["Express 5", express],
    ["Express 4", express4],
  ] as const) {
    it(`is cut off, never continued, on ${name}`, async () => {
      const gate = expressGate({ redis: "memory", auth: testAuth });
      const app = framework();
      app.set("env", "test");
      app.use((_req, res, next) => {
        begin(res);
        next();
      });
      app.use(gate.guard());
      app.use((_req, res) => void res.end("secret"));
      expect(await exchange(createServer(app))).to.not.include("secret");
      await gate.close();
    });
  }

  for (const [name, Framework] of [
    ["Koa 3", Koa],
    ["Koa 2", Koa2],
  ] as const) {
    it(`is cut off, never continued, on ${name}`, async () => {
      const gate = koaGate({ redis: "memory", auth: testAuth });
      const app = new Framework();
      app.silent = true;
      app.use(async (ctx, next) => {
        begin(ctx.res);
        try {
          await next();
        } finally {
          ctx.res.end();
        }
      });
      app.use(gate.guard());
      app.use((ctx) => void ctx.res.end("secret"));
      const handle = app.callback();
      expect(await exchange(createServer((req, res) => void handle(req, res)))).to.not.include("secret");
      await gate.close();
    });
  }

  async function exchange(server: Server): Promise<string> {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    try {
      const incoming = await new Promise<IncomingMessage>((resolve, reject) => {
        request({ port, host: "127.0.0.1" }, resolve).on("error", reject).end();
      });
      let text = "";
      incoming.on("error", () => undefined);
      for await (const chunk of incoming) text += String(chunk);
      return text;
    } catch (error) {
      return String(error);
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }
});

describe("a framework that trusts every proxy", () => {
  for (const adapter of allAdapters) {
    it(`is warned about once, on ${adapter.name}`, async () => {
      const said: string[] = [];
      const app = await adapter.start({
        options: {
          redis: "memory",
          limits: [{ name: "ip", per: "ip", limit: 9, window: "1m" }],
          logger: { debug: () => undefined, warn: (_fields, message) => void said.push(message) },
        },
        routes: { "GET /me": () => "ok" },
        behindProxy: "every",
      });
      await send(`${app.url}/me`);
      await send(`${app.url}/me`);
      await app.close();
      expect(said).to.have.length(1);
      expect(said[0]).to.include("every proxy is trusted");
    });
  }
});
