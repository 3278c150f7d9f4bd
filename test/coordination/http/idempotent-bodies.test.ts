import { once } from "node:events";
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { expect } from "chai";
import express from "express";
import type { RequestHandler } from "express";
import express4 from "express4";
import type { Middleware } from "koa";
import getRawBody from "raw-body";
import { operate, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";
import { expressOrigins, koaOrigins } from "../support/origin.js";

/** Ways in which parsers read a request. */
const readers: Readonly<Record<string, (req: IncomingMessage) => Promise<string>>> = {
  "raw-body, as body-parser and co-body do": (req) =>
    getRawBody(req, { encoding: "utf8", length: req.headers["content-length"] ?? null }),
  "a pipe, as multer does": async (req) => {
    const chunks: Buffer[] = [];
    await pipeline(
      req,
      new Writable({
        write(chunk: Buffer, _encoding, done) {
          chunks.push(chunk);
          done();
        },
      }),
    );
    return Buffer.concat(chunks).toString();
  },
  iteration: async (req) => {
    let text = "";
    for await (const chunk of req) text += String(chunk);
    return text;
  },
  "a listener": (req) =>
    new Promise((resolve, reject) => {
      let text = "";
      req.on("data", (chunk: Buffer) => (text += chunk.toString()));
      req.on("end", () => resolve(text)).on("error", reject);
    }),
};

/** Nothing, little, more than a socket buffers. */
const bodies = ["", "lantern", "x".repeat(700_000)];
const json = { "content-type": "application/json" };

function answerLength(text: string): string {
  return `${text.length}:${text.slice(0, 10)}`;
}

for (const [how, read] of Object.entries(readers)) {
  for (const { name, open } of koaOrigins) {
    it(`the body of an idempotent request reaches ${how}, behind it on ${name}`, async () => {
      const handle: Middleware = async (ctx) => {
        ctx.body = answerLength(await read(ctx.req));
      };
      const { post } = await open({ behind: () => [handle] });
      for (const [index, body] of bodies.entries()) {
        const key = `k${index}`;
        expect((await post({ key, body })).text).to.equal(answerLength(body));
        expect((await post({ key, body })).replayed).to.equal(true);
        if (body !== "") expect((await post({ key, body: `${body.slice(1)}y` })).status).to.equal(422);
      }
    });
  }

  for (const { name, open } of expressOrigins) {
    it(`the body of an idempotent request reaches ${how}, behind it on ${name}`, async () => {
      const handle: RequestHandler = (req, res, next) =>
        void read(req).then((body) => res.send(answerLength(body)), next);
      const { post, url } = await open({ behind: () => [handle] });
      for (const [index, body] of bodies.entries()) {
        const key = `k${index}`;
        expect((await post({ key, body })).text).to.equal(answerLength(body));
        expect((await post({ key, body })).replayed).to.equal(true);
      }
      // Without a length, as a stream is sent.
      const outgoing = request(url, { method: "POST", headers: { "idempotency-key": "chunked" } });
      outgoing.write("one ");
      outgoing.end("two");
      const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
      expect(await text(incoming)).to.equal(answerLength("one two"));
      expect((await post({ key: "chunked", body: "one two" })).replayed).to.equal(true);
    });
  }
}

for (const [name, { open }, framework] of [
  ["Express", expressOrigins[0], express],
  ["Express 4", expressOrigins[1], express4],
] as const as [string, (typeof expressOrigins)[number], typeof express][]) {
  describe(`idempotent requests and body parsers on ${name}`, () => {
    const echo: RequestHandler = (req, res) => void res.json({ got: req.body as unknown });

    it("may have their parser behind, and the bytes decide", async () => {
      const { post } = await open({ behind: () => [framework.json(), echo] });
      expect(JSON.parse((await post({ body: '{"a":1,"b":2}', headers: json })).text)).to.deep.equal({
        got: { a: 1, b: 2 },
      });
      expect((await post({ body: '{"a":1,"b":2}', headers: json })).replayed).to.equal(true);
      expect((await post({ body: '{"b":2,"a":1}', headers: json })).status).to.equal(422);
    });

    it("may have their parser in front, and the order of members does not matter", async () => {
      const { post } = await open({ front: () => [framework.json()], behind: () => [echo] });
      await post({ body: '{"a":1,"b":[{"c":null,"d":2}]}', headers: json });
      expect((await post({ body: '{"b":[{"d":2,"c":null}],"a":1}', headers: json })).replayed).to.equal(true);
      for (const body of [
        '{"a":"1","b":[{"c":null,"d":2}]}',
        '{"a":1,"b":[{"d":2}]}',
        '{"a":1,"b":{"c":null,"d":2}}',
        '{"a":1,"b":[{"c":"null","d":2}]}',
        "{}",
        "[]",
      ])
        expect((await post({ body, headers: json })).status, body).to.equal(422);
    });

    it("may have a parsed body of any depth and of up to 1 MiB", async () => {
      const front = (): RequestHandler[] => [framework.json({ limit: "4mb" })];
      const { post } = await open({ front, behind: () => [(_req, res) => void res.send("done")] });
      const deep = `${"[".repeat(200_000)}${"]".repeat(200_000)}`;
      expect((await post({ key: "deep", body: deep, headers: json })).status).to.be.oneOf([200, 413]);
      const long = JSON.stringify({ text: "x".repeat(1_100_000) });
      expect((await post({ key: "long", body: long, headers: json })).status).to.equal(413);
      const fitting = JSON.stringify({ text: "x".repeat(900_000) });
      expect((await post({ key: "fitting", body: fitting, headers: json })).status).to.equal(200);
    });

    it("are executed once where their handler needs no body, though their client has gone", async () => {
      let calls = 0;
      const handle: RequestHandler = (_req, res) => {
        calls += 1;
        res.once("close", () => setImmediate(() => res.status(201).json({ calls })));
        controller.abort();
      };
      const controller = new AbortController();
      const { url, post } = await open({ behind: () => [handle] });
      const request = { method: "POST", body: "{}", headers: { "idempotency-key": "k", ...json } };
      await fetch(url, { ...request, signal: controller.signal }).catch(() => undefined);
      await until(async () => (await post({ body: "{}", headers: json })).replayed);
      expect(calls).to.equal(1);
    });

    it("are not executed for a client that has gone before their key was claimed", async () => {
      const redis = operate(testRedisUrl());
      const handled: unknown[] = [];
      const handle: RequestHandler = (req, res) => {
        handled.push(req.body);
        res.send("made");
      };
      let gone = (): void => undefined;
      const watch: RequestHandler = (_req, res, next) => {
        res.once("close", () => gone());
        next();
      };
      const { url, post } = await open({
        ...{ front: () => [watch], behind: () => [framework.json(), handle], redis: testRedisUrl() },
      });
      await post({ key: "warm", body: "{}", headers: json });
      const isGone = new Promise<void>((resolve) => (gone = resolve));
      const controller = new AbortController();
      const request = { method: "POST", body: '{"a":1}', headers: { "idempotency-key": "k", ...json } };
      await redis.client("PAUSE", 900, "ALL");
      const left = fetch(url, { ...request, signal: controller.signal }).catch(() => undefined);
      setTimeout(() => controller.abort(), 50);
      await left;
      await isGone;
      // Answered when the pause ends.
      await redis.ping();
      await until(async () => (await post({ body: request.body, headers: json })).status === 200);
      expect(handled).to.deep.equal([{}, { a: 1 }]);
    });

    it("are a clear error where the body was read and left nowhere", async () => {
      const errors: unknown[] = [];
      const swallow: RequestHandler = (req, _res, next) => void req.resume().on("end", () => next());
      const { url } = await open({
        front: () => [swallow],
        behind: () => [
          ((error: unknown, _req: unknown, res: { sendStatus(status: number): void }, next: unknown) => {
            errors.push(error);
            res.sendStatus(typeof next === "function" ? 500 : 200);
          }) as unknown as RequestHandler,
        ],
      });
      const response = await fetch(url, { method: "POST", body: "x", headers: { "idempotency-key": "k" } });
      expect(response.status).to.equal(500);
      expect(String(errors[0])).to.include("mount the middleware in front of");
    });
  });
}
