import { once } from "node:events";
import { createServer, request } from "node:http";
import type { IncomingMessage, RequestListener, Server, ServerResponse } from "node:http";
import { connect, createServer as createHttp2Server } from "node:http2";
import { connect as dial } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomUUID } from "node:crypto";
import type { Finding } from "@portcullis/core";
import { portcullis as expressGate } from "@portcullis/express";
import type { ExpressGate, ExpressOptions } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import express from "express";
import type { Request, RequestHandler, Response } from "express";
import express4 from "express4";
import Koa from "koa";
import Koa2 from "koa2";
import { allAdapters } from "../support/app.js";
import type { AnyMiddleware } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { describeOnEveryGate } from "../support/every-gate.js";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { until } from "../support/until.js";

const twoPerAddress = { name: "ip", per: "ip", limit: 2, window: "1m" } as const;

function openExpress(options: ExpressOptions): ExpressGate {
  const gate = expressGate({ redis: "memory", logger: silentLogger, ...options });
  cleanUp(() => gate.close());
  return gate;
}

async function listen(server: Server, path?: string): Promise<string> {
  await new Promise<void>((resolve) =>
    path === undefined ? server.listen(0, "127.0.0.1", resolve) : server.listen(path, resolve),
  );
  cleanUp(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return path ?? `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A listener of node:http that passes requests through middleware for Express, as connect and engine.io do. */
function plain(middleware: RequestHandler, handle: (req: Request) => unknown): RequestListener {
  return function listener(req: IncomingMessage, res: ServerResponse) {
    middleware(req as Request, res as Response, (error?: unknown) => {
      res.statusCode = error === undefined ? 200 : 500;
      const body = error === undefined ? handle(req as Request) : { error: (error as Error).message };
      res.setHeader("Content-Type", "application/json");
      res.end(JSON.stringify(body));
    });
  };
}

async function sendFrom(url: string, localAddress: string, path = "/"): Promise<number> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${url}${path}`, { localAddress }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    outgoing.on("error", reject).end();
  });
}

for (const [store, redis] of [
  ["in process", () => "memory"],
  ["on Redis", testRedisUrl],
] as const) {
  describe(`middleware for Express on requests that Express has not seen, ${store}`, () => {
    const open = (options: ExpressOptions): ExpressGate =>
      openExpress({ redis: redis(), prefix: freshPrefix(), deadline: 1000, ...options });

    it("counts each client by the address of its socket", async () => {
      const gate = open({ limits: [twoPerAddress] });
      const url = await listen(createServer(plain(gate.guard(), ({ ip }) => ({ ip }))));
      const statuses = [];
      for (const from of ["127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.2"])
        statuses.push(await sendFrom(url, from));
      expect(statuses).to.deep.equal([200, 200, 429, 200, 200, 429]);
      const forged = await send(url, { from: "192.0.2.7" });
      expect(forged.status, "nobody trusts a proxy there").to.equal(429);
    });

    it("refuses and passes as in an application, with the facts on the request", async () => {
      const gate = open({ auth: testAuth });
      const url = await listen(createServer(plain(gate.guard(), ({ auth, ip }) => ({ subject: auth?.subject, ip }))));
      const refused = await send(url);
      expect([refused.status, refused.headers["www-authenticate"]]).to.deep.equal([401, "Bearer"]);
      expect((await send(url, { token: await signToken() })).json).to.deep.equal({
        subject: "alice",
        ip: "127.0.0.1",
      });
    });

    it("gives back slots and costs that end with the response", async () => {
      const gate = open({ limits: [{ name: "flight", per: "ip", algorithm: "concurrency", limit: 1 }] });
      const url = await listen(createServer(plain(gate.guard(), () => ({}))));
      for (let count = 0; count < 3; count += 1) {
        expect((await send(url)).status).to.equal(200);
        await until(async () => (await gate.quotas.peek("flight", "127.0.0.1")).consumed === 0);
      }
    });

    it("holds a slot for a WebSocket for as long as that is open, as the engine of Socket.IO asks", async () => {
      const settled: number[] = [];
      const settle = (_req: unknown, _facts: unknown, status: number): number => settled.push(status);
      const gate = open({
        limits: [
          { name: "flight", per: "ip", algorithm: "concurrency", limit: 1 },
          { name: "cost", per: "ip", limit: 50, window: "1h", settle },
        ],
      });
      const guard = gate.guard();
      const server = createServer().on("upgrade", (req: IncomingMessage, socket: Socket) => {
        socket
          .on("error", () => undefined)
          .on("end", () => socket.end())
          .resume();
        // What engine.io gives middleware for a handshake.
        const res = { req, socket, setHeader: () => undefined, end: () => void socket.destroy() };
        guard(req as Request, res as never, (error?: unknown) =>
          socket.write(error === undefined ? "HTTP/1.1 101 Switching Protocols\r\n\r\n" : "HTTP/1.1 500 Fault\r\n\r\n"),
        );
      });
      const { port } = new URL(await listen(server));
      const upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
      for (let count = 1; count <= 3; count += 1) {
        const socket = dial(Number(port), "127.0.0.1").on("error", () => undefined);
        socket.write(upgrade);
        expect(String(((await once(socket, "data")) as [Buffer])[0])).to.match(/^HTTP\/1\.1 101 /);
        const second = dial(Number(port), "127.0.0.1").on("error", () => undefined);
        second.resume().write(upgrade);
        await once(second, "close");
        expect((await gate.quotas.peek("flight", "127.0.0.1")).consumed).to.equal(1);
        socket.destroy();
        await until(async () => (await gate.quotas.peek("flight", "127.0.0.1")).consumed === 0);
        await until(() => settled.length === count);
      }
      expect(settled).to.deep.equal([0, 0, 0]);
    });

    it("goes by the whole URL where a router has cut it, as connect does", async () => {
      const gate = open({ auth: testAuth });
      const guard = gate.unless({ path: "/api/public" }, gate.guard());
      const listener = plain(guard, ({ originalUrl }) => ({ originalUrl }));
      const url = await listen(
        createServer((req, res) => {
          Object.assign(req, { originalUrl: req.url, url: req.url?.replace("/api", "") });
          listener(req, res);
        }),
      );
      expect((await send(`${url}/api/public`)).json).to.deep.equal({ originalUrl: "/api/public" });
      expect((await send(`${url}/api/private`)).status).to.equal(401);
    });
  });
}

for (const [name, create] of [
  ["Express 5", express],
  ["Express 4", express4],
] as const) {
  it(`middleware in front of ${name} leaves the address to the application, which may trust a proxy`, async () => {
    const gate = openExpress({ limits: [{ ...twoPerAddress, limit: 100 }] });
    const app = create();
    app.set("trust proxy", 1);
    const limit = gate.limit({ ...twoPerAddress, name: "behind" });
    app.get("/", limit as never, (req: Request, res: Response) => void res.json({ ip: req.ip }));
    const guard = gate.guard();
    const server = createServer((req, res) => guard(req as Request, res as Response, () => void app(req, res)));
    const url = await listen(server);
    for (const from of ["192.0.2.1", "192.0.2.2", "192.0.2.3"])
      expect((await send(url, { from })).json).to.deep.equal({ ip: from });
    const seen = [await send(url, { from: "192.0.2.1" }), await send(url, { from: "192.0.2.1" })];
    expect(seen.map(({ status }) => status)).to.deep.equal([200, 429]);
  });
}

describe("middleware for Express on the compatible API of HTTP/2", () => {
  it("counts each client by the address of its socket", async () => {
    const gate = openExpress({ limits: [twoPerAddress] });
    const listener = plain(gate.guard(), ({ ip }) => ({ ip })) as unknown as Parameters<typeof createHttp2Server>[0];
    const server = createHttp2Server(listener as never);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    cleanUp(async () => {
      session.destroy();
      await new Promise((resolve) => server.close(resolve));
    });
    const statuses: unknown[] = [];
    for (let count = 0; count < 3; count += 1) {
      const stream = session.request({ ":path": "/" });
      stream.resume();
      statuses.push(
        await new Promise((resolve, reject) => {
          stream.on("response", (headers) => resolve(headers[":status"])).on("error", reject);
        }),
      );
    }
    expect(statuses).to.deep.equal([200, 200, 429]);
  });
});

describe("middleware that was called with the arguments of another framework", () => {
  /** What each of several calls says. */
  function calls(middleware: unknown, args: () => unknown[]): Promise<unknown[]> {
    const call = middleware as (...args: unknown[]) => unknown;
    const outcomes = [1, 2, 3].map(async () => {
      let handedOn: unknown;
      const given = args().map((arg) =>
        arg === "next" ? (error: unknown) => void (handedOn = error ?? "passed") : arg,
      );
      try {
        await call(...given);
      } catch (error) {
        return error;
      }
      return handedOn;
    });
    return Promise.all(outcomes);
  }

  const message = { method: "GET", url: "/", headers: {}, socket: { remoteAddress: "192.0.2.1" } };
  const response = { setHeader: () => undefined, end: () => undefined };

  it("names the missing part at each call, and lets no request pass (Express)", async () => {
    const guard = openExpress({ limits: [{ ...twoPerAddress, limit: 100 }] }).guard();
    const wrong: Record<string, [unknown[], RegExp]> = {
      "a context and next": [[{ ...message, app: {}, req: {}, res: {} }, () => undefined], /without next/],
      "no next": [[message, response], /without next/],
      "a request without headers": [[{ ...message, headers: undefined }, response, "next"], /not a request/],
      "a request without a URL": [[{ ...message, url: undefined }, response, "next"], /not a request/],
      "a web request": [[new Request("http://localhost"), response, "next"], /not a response|address/],
      "no response": [[message, undefined, "next"], /not a response/],
      "a web response": [[message, new Response(), "next"], /not a response/],
      "a request without an address": [[{ ...message, socket: undefined }, response, "next"], /no address/],
    };
    for (const [what, [args, problem]] of Object.entries(wrong)) {
      for (const outcome of await calls(guard, () => args.map((arg) => (arg === message ? { ...message } : arg))))
        expect(outcome, what).to.be.instanceOf(TypeError).with.property("message").that.matches(problem);
    }
    expect(await calls(guard, () => [{ ...message }, response, "next"])).to.deep.equal(["passed", "passed", "passed"]);
    const mock = { ...message, socket: undefined, ip: "192.0.2.1" };
    expect(await calls(guard, () => [{ ...mock }, response, "next"])).to.deep.equal(["passed", "passed", "passed"]);
  });

  it("names the missing part at each call, and lets no request pass (Koa)", async () => {
    const gate = koaGate({ redis: "memory", logger: silentLogger, limits: [twoPerAddress] });
    cleanUp(() => gate.close());
    for (const args of [
      [message, response, "next"],
      [message, "next"],
      [{ ...message, req: message, originalUrl: "/" }, "next"],
      [message, response],
      [{ request: {}, originalUrl: "/" }],
    ]) {
      for (const outcome of await calls(gate.guard(), () => args))
        expect(outcome)
          .to.be.instanceOf(TypeError)
          .with.property("message")
          .that.matches(/context of Koa/);
    }
  });

  for (const adapter of allAdapters) {
    it(`answers 500 at each request in ${adapter.name}`, async () => {
      const koa = koaGate({ redis: "memory", logger: silentLogger });
      cleanUp(() => koa.close());
      const foreign = adapter.name.startsWith("Koa") ? openExpress({}).guard() : koa.guard();
      const { url } = await adapter.start({
        options: { redis: "memory", logger: silentLogger },
        use: () => [foreign as unknown as AnyMiddleware],
        routes: { "GET /": () => ({ passed: true }) },
      });
      for (let count = 0; count < 2; count += 1) expect((await send(url)).status).to.equal(500);
    });
  }
});

describe("requests without a client address", () => {
  const applications: Record<string, (limits: ExpressOptions["limits"], logger: typeof silentLogger) => Started> = {
    Express: (limits, logger) => inExpress(express, limits, logger),
    "Express 4": (limits, logger) => inExpress(express4, limits, logger),
    Koa: (limits, logger) => inKoa(Koa, limits, logger),
    "Koa 2": (limits, logger) => inKoa(Koa2, limits, logger),
  };

  for (const [name, start] of Object.entries(applications)) {
    it(`count as one client, which is said once and found by examine(), in ${name}`, async () => {
      const warnings: string[] = [];
      const logger = { debug: () => undefined, warn: (_fields: object, text: string) => void warnings.push(text) };
      const started = start([twoPerAddress], logger);
      const socketPath = await listen(started.server, join(tmpdir(), `portcullis-${randomUUID()}.sock`));
      const statuses = [];
      for (let count = 0; count < 3; count += 1) statuses.push(await sendTo(socketPath));
      expect(statuses).to.deep.equal([200, 200, 429]);
      expect(warnings.filter((text) => text.includes("no client address that can be read"))).to.have.length(1);
      expect((await started.examine()).map(({ code }) => code)).to.include("address_missing");
    });
  }
});

describeOnEveryGate("requests whose address cannot be read", (start) => {
  it("count as one client, which is said once and found by examine()", async () => {
    const warnings: string[] = [];
    const logger = { debug: () => undefined, warn: (_fields: object, text: string) => void warnings.push(text) };
    const options = { auth: undefined, limits: [twoPerAddress], logger };
    const { url, gate } = await start(options, { behindProxy: true });
    const statuses = [];
    for (const from of ["unknown", "_hidden", "not an ip"]) statuses.push((await send(`${url}/me`, { from })).status);
    expect(statuses).to.deep.equal([200, 200, 429]);
    expect(warnings.filter((text) => text.includes("no client address that can be read"))).to.have.length(1);
    expect((await gate.examine()).map(({ code }) => code)).to.include("address_missing");
  });

  it("are said in front of a login too", async () => {
    const warnings: string[] = [];
    const logger = { debug: () => undefined, warn: (_fields: object, text: string) => void warnings.push(text) };
    const { url } = await start(
      { auth: undefined, logger },
      { behindProxy: true, use: (gate) => [gate.throttleLogin({ account: () => "alice" })] },
    );
    for (const from of ["unknown", "192.0.2.1", "_hidden"]) await send(`${url}/me`, { from });
    expect(warnings.filter((text) => text.includes("no client address that can be read"))).to.have.length(1);
  });
});

interface Started {
  readonly server: Server;
  examine(): Promise<readonly Finding[]>;
}

function inExpress(framework: typeof express, limits: ExpressOptions["limits"], logger: typeof silentLogger): Started {
  const gate = openExpress({ limits, logger });
  const app = framework().use(gate.guard(), (_req: Request, res: Response) => void res.end());
  return { server: createServer(app), examine: () => gate.examine() };
}

function inKoa(Framework: typeof Koa, limits: ExpressOptions["limits"], logger: typeof silentLogger): Started {
  const gate = koaGate({ redis: "memory", limits: limits as never, logger });
  cleanUp(() => gate.close());
  const app = new Framework();
  app.use(gate.guard()).use((ctx) => void (ctx.body = ""));
  const handle = app.callback();
  return { server: createServer((req, res) => void handle(req, res)), examine: () => gate.examine() };
}

async function sendTo(socketPath: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, path: "/" }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    outgoing.on("error", reject).end();
  });
}
