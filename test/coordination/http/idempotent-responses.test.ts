import { Readable } from "node:stream";
import compression from "compression";
import { expect } from "chai";
import type { RequestHandler } from "express";
import type { Middleware } from "koa";
import compress from "koa-compress";
import { openLatch } from "../../support/latch.js";
import { until } from "../../support/until.js";
import type { Answer, Post } from "../support/origin.js";
import { expressOrigins, koaOrigins } from "../support/origin.js";

/** What a client compares of an answer and its replay. */
function shown({ status, headers, text }: Answer): unknown {
  const own = ["date", "connection", "keep-alive", "idempotency-replayed"];
  return { status, text, fields: Object.fromEntries(Object.entries(headers).filter(([name]) => !own.includes(name))) };
}

async function expectReplay(post: Post, key: string, calls: () => number): Promise<Answer> {
  const before = calls();
  const first = await post({ key });
  const second = await post({ key });
  expect(second.replayed, key).to.equal(true);
  expect(shown(second), key).to.deep.equal(shown(first));
  expect(calls() - before, key).to.equal(1);
  return second;
}

/** Handlers of Express, each with the end of its response. */
const expressHandlers: Readonly<Record<string, RequestHandler>> = {
  json: (_req, res) => void res.status(201).location("/orders/1").json({ made: true }),
  nothing: (_req, res) => void res.status(204).end(),
  refusal: (_req, res) => void res.status(404).json({ error: "no such item" }),
  bytes: (_req, res) => void res.type("bin").send(Buffer.from([0, 255, 128, 10])),
  redirect: (_req, res) => res.redirect(303, "/orders/1"),
  head: (_req, res) => void res.writeHead(202, { "X-Made": "1" }).end("made"),
  parts(_req, res) {
    res.write("one ");
    setImmediate(() => {
      res.write("two ");
      res.end("three");
    });
  },
  pipe: (_req, res) => void Readable.from(["a", "b", "c"]).pipe(res.type("txt")),
};

const koaHandlers: Readonly<Record<string, Middleware>> = {
  json(ctx) {
    ctx.status = 201;
    ctx.set("Location", "/orders/1");
    ctx.body = { made: true };
  },
  nothing: (ctx) => void (ctx.status = 204),
  refusal(ctx) {
    ctx.status = 404;
    ctx.body = { error: "no such item" };
  },
  bytes: (ctx) => void (ctx.body = Buffer.from([0, 255, 128, 10])),
  redirect(ctx) {
    ctx.status = 303;
    ctx.redirect("/orders/1");
  },
  stream(ctx) {
    ctx.type = "text/plain";
    ctx.body = Readable.from(["a", "b", "c"]);
  },
  own(ctx) {
    ctx.respond = false;
    ctx.res.statusCode = 202;
    ctx.res.end("made");
  },
};

/** Sets what belongs to one exchange, as a session, a limit and a tracing middleware do. */
const perRequestFields = { "Set-Cookie": "sid=secret", RateLimit: '"a";r=1', "X-Request-Id": "r" };

for (const { name, open } of expressOrigins) {
  describe(`the response to an idempotent request on ${name}`, () => {
    it("is replayed with its status, fields and body, however its handler sends it", async () => {
      let calls = 0;
      const counting: RequestHandler = (req, res, next) => {
        calls += 1;
        expressHandlers[String(req.headers["idempotency-key"])]?.(req, res, next);
      };
      const { post } = await open({ behind: () => [counting] });
      for (const key of Object.keys(expressHandlers)) await expectReplay(post, key, () => calls);
    });

    it("never brings back a cookie, or what middleware in front sets for each request", async () => {
      let number = 0;
      const front: RequestHandler = (_req, res, next) => {
        res.setHeader("X-Number", String((number += 1)));
        next();
      };
      const handle: RequestHandler = (_req, res) => void res.set(perRequestFields).set("X-Own", "1").send("made");
      const { post } = await open({ front: () => [front], behind: () => [handle] });
      await post();
      const { headers, replayed } = await post();
      expect(replayed).to.equal(true);
      expect([headers["x-number"], headers["x-own"]]).to.deep.equal(["2", "1"]);
      for (const field of ["set-cookie", "ratelimit", "x-request-id"])
        expect(headers[field], field).to.equal(undefined);
    });

    it("is compressed for the client that retries, where compression stands in front", async () => {
      const { post } = await open({
        front: () => [compression({ threshold: 0 })],
        behind: () => [(_req, res) => void res.type("txt").send("made ".repeat(500))],
      });
      const gzip = { "accept-encoding": "gzip" };
      expect((await post({ headers: gzip })).headers["content-encoding"]).to.equal("gzip");
      const plain = await post();
      expect([plain.replayed, plain.text]).to.deep.equal([true, "made ".repeat(500)]);
      expect((await post({ headers: gzip })).headers["content-encoding"]).to.equal("gzip");
    });

    it("is stored although its client has gone before the handler ended", async () => {
      const latch = openLatch();
      let calls = 0;
      const handle: RequestHandler = (_req, res) => {
        calls += 1;
        void latch.wait().then(() => res.status(201).json({ made: true }));
      };
      const { url, post } = await open({ behind: () => [handle] });
      const controller = new AbortController();
      const left = fetch(url, { method: "POST", headers: { "idempotency-key": "k" }, signal: controller.signal });
      await latch.waiting(1);
      controller.abort();
      await left.catch(() => undefined);
      expect((await post()).status).to.equal(409);
      latch.open();
      await until(async () => (await post()).replayed);
      expect([(await post()).status, calls]).to.deep.equal([201, 1]);
    });

    it("is not stored where it breaks off, and the handler runs again", async () => {
      let calls = 0;
      const handle: RequestHandler = (_req, res) => {
        calls += 1;
        res.write("half");
        setImmediate(() => res.destroy());
      };
      const { post } = await open({ behind: () => [handle] });
      for (let attempt = 1; attempt <= 2; attempt += 1) {
        expect(
          await post().then(
            () => "answered",
            () => "broken",
          ),
        ).to.equal("broken");
        expect(calls).to.equal(attempt);
      }
    });

    it("is sent once, though its handler throws after it has sent it", async () => {
      const handle: RequestHandler = (_req, res) => {
        res.status(201).json({ made: true });
        res.setHeader("X-Late", "1");
        res.end("again");
      };
      const { post } = await open({ behind: () => [handle] });
      const { status, text, headers } = await post();
      expect([status, text, headers["x-late"]]).to.deep.equal([201, '{"made":true}', undefined]);
      expect((await post()).text).to.equal('{"made":true}');
    });

    it("ends the lists of a response cache, and is itself no part of it", async () => {
      const { gate, post, url } = await open({
        front: (gate) => [gate.cacheResponse({ ttl: "1h" })],
        behind: () => [(req, res) => void res.json({ method: req.method, at: performance.now() })],
      });
      expect(gate.responses).to.be.an("object");
      const list = async (): Promise<string> => (await fetch(url)).text();
      const before = await list();
      expect(await list()).to.equal(before);
      await post();
      expect(await list()).not.to.equal(before);
    });
  });
}

for (const { name, open } of koaOrigins) {
  describe(`the response to an idempotent request on ${name}`, () => {
    it("is replayed with its status, fields and body, however its handler sends it", async () => {
      let calls = 0;
      const counting: Middleware = (ctx, next) => {
        calls += 1;
        return koaHandlers[ctx.get("idempotency-key")]?.(ctx, next) as Promise<void>;
      };
      const { post } = await open({ behind: () => [counting] });
      for (const key of Object.keys(koaHandlers)) await expectReplay(post, key, () => calls);
    });

    it("never brings back a cookie, or what middleware in front sets for each request", async () => {
      let number = 0;
      const front: Middleware = async (ctx, next) => {
        ctx.set("X-Number", String((number += 1)));
        await next();
        ctx.set("X-After", String(number));
      };
      const handle: Middleware = (ctx) => {
        ctx.set(perRequestFields);
        ctx.set("X-Own", "1");
        ctx.body = "made";
      };
      const { post } = await open({ front: () => [front], behind: () => [handle] });
      await post();
      const { headers, replayed } = await post();
      expect(replayed).to.equal(true);
      expect([headers["x-number"], headers["x-after"], headers["x-own"]]).to.deep.equal(["2", "2", "1"]);
      for (const field of ["set-cookie", "ratelimit", "x-request-id"])
        expect(headers[field], field).to.equal(undefined);
    });

    it("is compressed for the client that retries, where compression stands in front", async () => {
      const { post } = await open({
        front: () => [compress({ threshold: 0, br: false })],
        behind: () => [
          (ctx) => {
            ctx.body = "made ".repeat(500);
          },
        ],
      });
      const gzip = { "accept-encoding": "gzip" };
      const plain = { "accept-encoding": "identity" };
      expect((await post({ headers: gzip })).headers["content-encoding"]).to.equal("gzip");
      const second = await post({ headers: plain });
      expect([second.replayed, second.text]).to.deep.equal([true, "made ".repeat(500)]);
      expect((await post({ headers: gzip })).headers["content-encoding"]).to.equal("gzip");
    });

    it("is not stored where the handler throws, and the handler runs again", async () => {
      let calls = 0;
      const handle: Middleware = (ctx) => {
        calls += 1;
        ctx.throw(422);
      };
      const { post } = await open({ behind: () => [handle] });
      for (let attempt = 1; attempt <= 2; attempt += 1) {
        const { status, replayed } = await post();
        expect([status, replayed, calls]).to.deep.equal([422, false, attempt]);
      }
    });
  });
}

for (const { name, open } of koaOrigins.slice(0, 2)) {
  it(`the response to an idempotent request is stored although its client has gone, on ${name}`, async () => {
    const latch = openLatch();
    let calls = 0;
    const handle: Middleware = async (ctx) => {
      calls += 1;
      await latch.wait();
      ctx.status = 201;
      ctx.body = { made: true };
    };
    const { url, post } = await open({ behind: () => [handle] });
    const controller = new AbortController();
    const left = fetch(url, { method: "POST", headers: { "idempotency-key": "k" }, signal: controller.signal });
    await latch.waiting(1);
    controller.abort();
    await left.catch(() => undefined);
    latch.open();
    await until(async () => (await post()).replayed);
    expect([(await post()).status, calls]).to.deep.equal([201, 1]);
  });
}
