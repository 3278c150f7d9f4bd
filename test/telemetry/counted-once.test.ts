import { createServer, connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";
import { DenialError } from "@portcullis/core";
import { signToken, testAuth } from "@portcullis/testkit";
import { portcullis } from "@portcullis/koa";
import { expect } from "chai";
import Koa from "koa";
import Koa2 from "koa2";
import { allAdapters, nodeAdapter } from "../support/app.js";
import type { AnyGate, AnyMiddleware, RunningApp, TestAdapter } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";
import { openLatch } from "../support/latch.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix } from "../support/redis.js";
import { countedRequests } from "../support/request-counts.js";
import { openGate } from "../support/several-gates.js";

const everyAdapter = [...allAdapters, nodeAdapter];

/** What a check of these tests does: it passes, it refuses, or a function of the application throws, at once or late. */
type Deed = "passes" | "refuses" | "throws" | "refuses late" | "throws late";
const deeds: readonly Deed[] = ["passes", "refuses", "throws", "refuses late", "throws late"];

/** A limit that does what a header says, and throws its refusals. */
function limitBy(gate: AnyGate, header: string): AnyMiddleware {
  function limit({ headers }: { headers: Record<string, unknown> }): number {
    if (headers[header] === "throws") throw new Error("a bug");
    return headers[header] === "refuses" ? 0 : 100;
  }

  return gate.limit({ name: header, per: "ip", limit, window: "1m" }, { onDeny: "throw" });
}

/** A check that does what a header says, at once or late. */
function checkBy(gate: AnyGate, header: string): AnyMiddleware[] {
  // Several checks are decided asynchronously.
  return [
    limitBy(gate, header),
    gate.guard({ checks: [limitBy(gate, `${header}-late`), gate.requestCache()], onDeny: "throw" }),
  ];
}

/** The middleware, whose error somebody swallows, so that the request goes on. */
function swallowing(adapter: TestAdapter, middleware: AnyMiddleware): AnyMiddleware[] {
  type Next = (error?: unknown) => void;
  if (adapter.name.startsWith("Koa")) {
    const koa = middleware as unknown as (ctx: object, next: () => Promise<void>) => Promise<void>;
    const swallow = async (ctx: object, next: () => Promise<void>): Promise<void> => {
      await koa(ctx, () => Promise.resolve()).catch(() => undefined);
      await next();
    };
    return [swallow as unknown as AnyMiddleware];
  }
  if (adapter.name.startsWith("Express")) {
    const handler = (_error: unknown, _req: unknown, _res: unknown, next: Next): void => next();
    return [middleware, handler as unknown as AnyMiddleware];
  }
  const plain = middleware as unknown as (req: object, res: object, next: Next) => void;
  const swallow = (req: object, res: object, next: Next): void => plain(req, res, () => next());
  return [swallow as unknown as AnyMiddleware];
}

function start(adapter: TestAdapter, use: (gate: AnyGate) => AnyMiddleware[], redis = "memory"): Promise<RunningApp> {
  return adapter.start({
    options: { redis, prefix: freshPrefix(), auth: testAuth, logger: silentLogger, deadline: 1000 },
    use,
    routes: { "GET /me": () => ({}) },
  });
}

/** The counts of a gate without those by code. */
function outcomes(gate: AnyGate): Record<string, number> {
  const counted = Object.entries(countedRequests(gate)).filter(([name]) => name.startsWith("requests "));
  return Object.fromEntries(counted.map(([name, value]) => [name.slice("requests ".length), value]));
}

function headerOf(name: string, deed: Deed): Record<string, string> {
  if (deed === "passes") return {};
  const [what = "", late] = deed.split(" ");
  return { [late === undefined ? name : `${name}-late`]: what };
}

for (const adapter of everyAdapter)
  describe(`a request that goes on after an error on ${adapter.name}`, () => {
    it("is counted once, by its answer, whatever two checks did and whether the errors were swallowed", async () => {
      const both = await start(adapter, (gate) =>
        [...checkBy(gate, "one"), ...checkBy(gate, "two")].flatMap((check) => swallowing(adapter, check)),
      );
      const first = await start(adapter, (gate) => [
        ...checkBy(gate, "one").flatMap((check) => swallowing(adapter, check)),
        ...checkBy(gate, "two"),
      ]);
      const expected = { allowed: 0, denied: 0, failed: 0 };
      let all = 0;
      for (const one of deeds)
        for (const two of deeds) {
          const headers = { ...headerOf("one", one), ...headerOf("two", two) };
          expect((await send(`${both.url}/me`, { headers })).status).to.equal(200);
          const { status } = await send(`${first.url}/me`, { headers });
          expect(status, `${one}, ${two}`).to.equal(two === "passes" ? 200 : two.startsWith("refuses") ? 429 : 500);
          expected[status === 200 ? "allowed" : status === 429 ? "denied" : "failed"] += 1;
          all += 1;
        }
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(outcomes(first.gate)).to.deep.equal(expected);
      // The last check is the last to know: errors that nobody answers with stay what they are.
      const counted = outcomes(both.gate);
      expect(Object.values(counted).reduce((sum, value) => sum + value, 0)).to.equal(all);
      expect(counted["allowed"]).to.be.greaterThan(0);
    });

    it("is counted by the code of its last refusal", async () => {
      const { url, gate } = await start(adapter, (own) => [
        ...swallowing(adapter, own.guard({ onDeny: "throw" })),
        ...checkBy(own, "one"),
        own.requireScopes("read"),
      ]);
      expect((await send(`${url}/me`, { headers: { one: "refuses" } })).status).to.equal(429);
      expect(countedRequests(gate)).to.deep.equal({ "requests denied": 1, "denied quota_exceeded": 1 });
      expect((await send(`${url}/me`, { token: "bad", headers: { "one-late": "refuses" } })).status).to.equal(429);
      expect(countedRequests(gate)).to.deep.equal({ "requests denied": 2, "denied quota_exceeded": 2 });
      expect((await send(`${url}/me`, { token: await signToken() })).status).to.equal(403);
      expect(countedRequests(gate)).to.include({ "requests denied": 3, "denied scope_insufficient": 1 });
    });

    it("is counted by the error if the handler of the error uses a check and then answers", async () => {
      const { url, gate } = await start(adapter, (own) => [
        ...swallowing(adapter, own.guard({ onDeny: "throw" })),
        ...checkBy(own, "one"),
        unauthorized(adapter),
      ]);
      expect((await send(`${url}/me`)).status).to.equal(401);
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(countedRequests(gate)).to.deep.equal({ "requests denied": 1, "denied credentials_required": 1 });
    });

    it("is counted once at each of two gates", async () => {
      const other = openGate(adapter, { auth: testAuth, property: "partner" });
      const { url, gate } = await start(adapter, (own) => [
        ...swallowing(adapter, limitBy(own, "one")),
        ...swallowing(adapter, limitBy(other, "two")),
        ...checkBy(own, "three"),
        ...checkBy(other, "four"),
        other.guard(),
      ]);
      const token = await signToken();
      const headers = { one: "throws", two: "throws", "three-late": "refuses" };
      expect((await send(`${url}/me`, { headers, token })).status).to.equal(429);
      expect([outcomes(gate), outcomes(other)]).to.deep.equal([{ denied: 1 }, { failed: 1 }]);
      expect((await send(`${url}/me`, { headers: { two: "refuses" } })).status).to.equal(401);
      expect(outcomes(gate)).to.deep.equal({ denied: 1, allowed: 1 });
      expect(countedRequests(other)).to.deep.equal({
        ...{ "requests failed": 1, "requests denied": 1, "denied credentials_required": 1 },
      });
    });

    it("is counted once where no route is found, and where the client leaves while a check waits", async () => {
      const latch = openLatch();
      const held = async (): Promise<void> => {
        await latch.wait();
      };
      const wait = adapter.name.startsWith("Koa")
        ? async (_ctx: object, next: () => Promise<void>) => held().then(next)
        : (_req: object, _res: object, next: () => void) => void held().then(next);
      const { url, gate } = await start(adapter, (own) => [
        own.guard(),
        ...swallowing(adapter, limitBy(own, "one")),
        wait as unknown as AnyMiddleware,
        own.requireScopes("read"),
      ]);
      const token = await signToken({ scope: "read" });
      const socket = connect(Number(new URL(url).port), "127.0.0.1");
      const lines = ["GET /me HTTP/1.1", "Host: a", `Authorization: Bearer ${await signToken()}`, "one: throws"];
      socket.write(`${lines.join("\r\n")}\r\n\r\n`);
      await latch.waiting(1);
      socket.destroy();
      await new Promise((resolve) => setTimeout(resolve, 20));
      latch.open();
      expect((await send(`${url}/nowhere`, { token })).status).to.equal(404);
      expect((await send(`${url}/nowhere`, { token, headers: { one: "throws" } })).status).to.equal(404);
      // Whoever reads the counters in between sees the error, and a counter must not fall.
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(outcomes(gate)).to.deep.equal({ allowed: 2, denied: 1 });
    });

    it("is counted once where the store is unavailable and another check then refuses", async () => {
      const { url, gate } = await start(
        adapter,
        (own) => [
          ...swallowing(adapter, own.guard({ onDeny: "throw" })),
          ...swallowing(adapter, own.guard({ onDeny: "throw" })),
          own.requireScopes("read"),
        ],
        "redis://127.0.0.1:1",
      );
      expect((await send(`${url}/me`, { token: await signToken() })).status).to.equal(401);
      expect(countedRequests(gate)).to.deep.equal({ "requests denied": 1, "denied credentials_required": 1 });
    });
  });

/** Runs middleware at the same time and then lets the request go on. Errors are dropped, as are answers of `next`. */
function together(adapter: TestAdapter, parts: readonly AnyMiddleware[]): AnyMiddleware {
  type Next = (error?: unknown) => void;
  type Plain = (req: object, res: object, next: Next) => void;
  const koa = async (ctx: object, next: () => Promise<void>): Promise<void> => {
    const runs = parts as unknown as ((ctx: object, next: () => Promise<void>) => Promise<void>)[];
    await Promise.allSettled(runs.map((run) => run(ctx, () => Promise.resolve())));
    await next();
  };
  const plain: Plain = (req, res, next) => {
    const runs = parts as unknown as Plain[];
    void Promise.all(runs.map((run) => new Promise((resolve) => run(req, res, resolve)))).then(() => next());
  };
  return (adapter.name.startsWith("Koa") ? koa : plain) as unknown as AnyMiddleware;
}

for (const adapter of everyAdapter)
  describe(`checks of one request that run at the same time on ${adapter.name}`, () => {
    it("count it once, whatever they did and whatever was refused before", async () => {
      const { url, gate } = await start(adapter, (own) => [
        ...swallowing(adapter, limitBy(own, "before")),
        together(adapter, [...checkBy(own, "one"), ...checkBy(own, "two")]),
        own.requireScopes("read"),
      ]);
      let all = 0;
      for (const before of ["passes", "refuses"] as const)
        for (const one of deeds)
          for (const two of deeds) {
            const headers = { ...headerOf("before", before), ...headerOf("one", one), ...headerOf("two", two) };
            expect((await send(`${url}/me`, { headers })).status).to.equal(401);
            all += 1;
            expect(countedRequests(gate), `${before}, ${one}, ${two}`).to.deep.equal({
              "requests denied": all,
              "denied credentials_required": all,
            });
          }
    });
  });

for (const adapter of allAdapters)
  describe(`a DenialError that the application has made itself on ${adapter.name}`, () => {
    it("is answered with its status and counted as the others, or as failed if its code is unknown", async () => {
      const { url, gate } = await start(adapter, (own) => [
        own.limit({
          ...{ name: "own", per: "ip", window: "1m" },
          limit({ headers }: { headers: Record<string, unknown> }): number {
            const problem = { type: "about:blank", title: "No", status: 403, code: headers["code"] };
            throw new DenialError({
              ...{ allowed: false, status: 403, headers: [], body: "", cause: "no" },
              problem,
            } as never);
          },
        }),
      ]);
      for (const code of ["scope_insufficient", "own_reason", "toString"])
        expect((await send(`${url}/me`, { headers: { code } })).status, code).to.equal(403);
      expect(countedRequests(gate)).to.deep.equal({
        ...{ "requests denied": 1, "denied scope_insufficient": 1, "requests failed": 2 },
      });
    });
  });

/** Answers 401 by itself, as an error handler does. */
function unauthorized({ name }: TestAdapter): AnyMiddleware {
  interface Answer {
    statusCode: number;
    end: () => void;
  }
  const koa = (ctx: { status: number; body: unknown }): void => {
    ctx.status = 401;
    ctx.body = "no";
  };
  const plain = (_req: object, res: Answer): void => {
    res.statusCode = 401;
    res.end();
  };
  return (name.startsWith("Koa") ? koa : plain) as unknown as AnyMiddleware;
}

for (const [name, Framework] of [["Koa", Koa] as const, ["Koa 2", Koa2] as const])
  describe(`a request over HTTP/2 on ${name}`, () => {
    it("is counted once after an error that was swallowed", async () => {
      const gate = portcullis({ redis: "memory", auth: testAuth, logger: silentLogger }) as unknown as AnyGate;
      cleanUp(() => gate.close());
      const app = new Framework();
      app.silent = true;
      const [koa] = allAdapters.filter((adapter) => adapter.name === "Koa");
      for (const check of checkBy(gate, "one").flatMap((one) => swallowing(koa as TestAdapter, one)))
        app.use(check as never);
      app.use(gate.requireScopes("read") as never);
      const handle = app.callback();
      const server = createServer((req, res) => void handle(req, res));
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
      cleanUp(async () => {
        session.destroy();
        await new Promise((resolve) => server.close(resolve));
      });
      for (const deed of deeds) {
        const stream = session.request({ ":path": "/me", ...headerOf("one", deed) });
        const status = await new Promise((resolve) => stream.once("response", (fields) => resolve(fields[":status"])));
        stream.resume().end();
        expect(status).to.equal(401);
      }
      expect(countedRequests(gate)).to.deep.equal({ "requests denied": 5, "denied credentials_required": 5 });
    });
  });
