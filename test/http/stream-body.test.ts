import { once } from "node:events";
import { createServer, get } from "node:http";
import type { IncomingMessage, RequestListener } from "node:http";
import { connect as connectHttp2, createServer as createHttp2Server } from "node:http2";
import type { AddressInfo, Server } from "node:net";
import compression from "compression";
import { expect } from "chai";
import express from "express";
import express4 from "express4";
import Koa from "koa";
import Koa2 from "koa2";
import compress from "koa-compress";
import { bindCheck as bindExpress } from "../../packages/express/src/middleware.js";
import { bindCheck as bindKoa } from "../../packages/koa/src/middleware.js";
import type { Check, Verdict } from "../../packages/core/src/adapter.js";
import type { BodySink } from "../../packages/core/src/http/stream-body.js";
import { cleanUpInTest } from "../support/clean-up.js";
import { send } from "../support/http.js";
import { until } from "../support/until.js";

const attachment = { gate: {}, identifies: false };

interface Streamed {
  readonly url: string;
  readonly port: number;
  /** The sinks of the bodies that were opened. */
  readonly sinks: BodySink[];
}

type Front = "none" | "compression" | "replacing";

const frameworks: Record<string, (check: Check<never>, front: Front) => RequestListener> = {
  Express: (check, front) => expressApp(express, check, front),
  "Express 4": (check, front) => expressApp(express4, check, front),
  Koa: (check, front) => koaApp(Koa, check, front),
  "Koa 2": (check, front) => koaApp(Koa2, check, front),
};

function expressApp(framework: typeof express, check: Check<never>, front: Front): RequestListener {
  const app = framework();
  if (front === "compression") app.use(compression({ threshold: 0 }));
  app.use(bindExpress(check as unknown as Check<express.Request>, "auth", attachment));
  return app;
}

function koaApp(framework: typeof Koa, check: Check<never>, front: Front): RequestListener {
  const app = new framework();
  app.silent = true;
  if (front === "compression") app.use(compress({ threshold: 0 }));
  if (front === "replacing")
    app.use(async (ctx, next) => {
      await next();
      ctx.body = "replaced";
    });
  app.use(async (ctx, next) => {
    await next();
    ctx.set("x-after", "1");
  });
  app.use(bindKoa(check as unknown as Check<Koa.Context>, "auth", attachment));
  const handle = app.callback();
  return (req, res) => void handle(req, res);
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

describe("a body that core writes over time", () => {
  function streaming(): { check: Check<never>; sinks: BodySink[] } {
    const sinks: BodySink[] = [];
    const headers = [
      ["Content-Type", "text/event-stream"],
      ["Cache-Control", "no-store, no-transform"],
    ] as const;
    const check: Check<never> = (exchange): Verdict => {
      const head = { allowed: false, status: 200, headers } as const;
      if (exchange.method === "HEAD") return { ...head, form: "null", body: "" };
      return { ...head, form: "stream", body: { open: (sink) => void sinks.push(sink) } };
    };
    return { check, sinks };
  }

  async function serve(make: (check: Check<never>, front: Front) => RequestListener, front: Front): Promise<Streamed> {
    const { check, sinks } = streaming();
    const server = createServer(make(check, front));
    const port = await listen(server);
    cleanUpInTest(async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    return { url: `http://127.0.0.1:${port}/`, port, sinks };
  }

  async function open(url: string, headers: Record<string, string> = {}): Promise<IncomingMessage & { text: string }> {
    const request = get(url, { headers });
    cleanUpInTest(() => request.destroy());
    const [response] = (await once(request, "response")) as [IncomingMessage];
    const reading = Object.assign(response, { text: "" });
    response.setEncoding("utf8").on("data", (chunk: string) => (reading.text += chunk));
    response.on("error", () => undefined);
    return reading;
  }

  /** The head of a response goes out with its first byte. */
  async function openWith(app: Streamed, first: string, headers?: Record<string, string>): ReturnType<typeof open> {
    const opening = open(app.url, headers);
    await until(() => app.sinks.length > 0);
    app.sinks[0]?.write(first);
    return opening;
  }

  for (const [name, make] of Object.entries(frameworks)) {
    describe(`on ${name}`, () => {
      it("reaches the client chunk by chunk, and ends when core ends it", async () => {
        const app = await serve(make, "none");
        const response = await openWith(app, "one\n");
        expect(response.statusCode).to.equal(200);
        expect(response.headers).to.include({
          "content-type": "text/event-stream",
          "cache-control": "no-store, no-transform",
          "transfer-encoding": "chunked",
        });
        if (name.startsWith("Koa")) expect(response.headers["x-after"]).to.equal("1");
        await until(() => response.text === "one\n");
        app.sinks[0]?.write(Buffer.from("two\n"));
        await until(() => response.text === "one\ntwo\n");
        app.sinks[0]?.write("three");
        app.sinks[0]?.end();
        app.sinks[0]?.write("too late");
        await once(response, "end");
        expect(response.text).to.equal("one\ntwo\nthree");
      });

      it("is not compressed, which would hold back what it writes", async () => {
        const app = await serve(make, "compression");
        const response = await openWith(app, "one\n", { "accept-encoding": "gzip" });
        expect(response.headers["content-encoding"]).to.equal(undefined);
        await until(() => response.text === "one\n");
      });

      it("knows how many bytes wait for a client that does not read", async () => {
        const app = await serve(make, "none");
        const response = await openWith(app, "one\n");
        response.pause();
        const chunk = Buffer.alloc(65_536, "x");
        const sink = app.sinks[0];
        await until(() => {
          for (let count = 0; count < 16; count += 1) sink?.write(chunk);
          return (sink?.waitingBytes ?? 0) > 4 * 2 ** 20;
        });
        response.resume();
        await until(() => sink?.waitingBytes === 0);
      });

      it("is broken off with all that waits", async () => {
        const app = await serve(make, "none");
        const response = await openWith(app, "one\n");
        app.sinks[0]?.breakOff();
        await until(() => response.destroyed);
        expect(response.complete).to.equal(false);
        app.sinks[0]?.write("too late");
        app.sinks[0]?.end();
      });

      it("is not opened for HEAD, which has its fields", async () => {
        const app = await serve(make, "none");
        const { status, headers, text } = await send(app.url, { method: "HEAD" });
        expect([status, text, headers["content-type"]]).to.deep.equal([200, "", "text/event-stream"]);
        expect(headers["content-length"]).to.equal(undefined);
        expect(app.sinks).to.have.lengthOf(0);
      });
    });
  }

  for (const [name, framework] of [
    ["Koa", Koa],
    ["Koa 2", Koa2],
  ] as const)
    it(`is not opened on ${name} where middleware in front sends another body`, async () => {
      const app = await serve((check, front) => koaApp(framework, check, front), "replacing");
      expect((await send(app.url)).text).to.equal("replaced");
      expect(app.sinks).to.have.lengthOf(0);
    });

  it("does the same over HTTP/2", async () => {
    const { check, sinks } = streaming();
    const server = createHttp2Server(koaApp(Koa, check, "none") as never);
    const port = await listen(server);
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    cleanUpInTest(async () => {
      session.destroy();
      await new Promise((resolve) => server.close(resolve));
    });
    const stream = session.request({ ":path": "/" });
    let text = "";
    stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    await until(() => sinks.length === 1);
    sinks[0]?.write("one\n");
    await until(() => text === "one\n");
    stream.pause();
    await until(() => {
      sinks[0]?.write(Buffer.alloc(65_536, "x"));
      return (sinks[0]?.waitingBytes ?? 0) > 2 ** 20;
    });
    stream.resume();
    await until(() => sinks[0]?.waitingBytes === 0);
    sinks[0]?.end();
    await once(stream, "end");
    const second = session.request({ ":path": "/" });
    second.on("error", () => undefined).resume();
    await until(() => sinks.length === 2);
    sinks[1]?.write("one\n");
    sinks[1]?.breakOff();
    await once(second, "close");
  });
});
