import { connect, createSecureServer, createServer as createPlainHttp2 } from "node:http2";
import { createServer as createTlsServer, request as requestTls } from "node:https";
import type { Server } from "node:http";
import type { AddressInfo, Server as NetServer } from "node:net";
import { portcullis as expressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import { makeCertificates, signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import express from "express";
import type { Express } from "express";
import express4 from "express4";
import Koa from "koa";
import Koa2 from "koa2";
import { cleanUpInTest } from "../support/clean-up.js";
import { expectOptionError } from "../support/option-error.js";

const options = { redis: "memory", auth: testAuth } as const;
const { cert, key } = makeCertificates().server;

type Answer = readonly [status: number | undefined, text: string];

async function listen(server: NetServer): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanUpInTest(() => new Promise((resolve) => server.close(resolve)));
  return (server.address() as AddressInfo).port;
}

function askTls(port: number, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = requestTls({ port, headers, rejectUnauthorized: false, agent: false }, (incoming) => {
      let text = "";
      incoming.setEncoding("utf8").on("data", (part: string) => (text += part));
      incoming.on("end", () => resolve([incoming.statusCode, text]));
    });
    outgoing.on("error", reject).end();
  });
}

function askHttp2(url: string, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const session = connect(url, { rejectUnauthorized: false }).on("error", reject);
    const stream = session.request({ ":path": "/", ...headers });
    let status: number | undefined;
    let text = "";
    stream.on("response", (head) => (status = head[":status"]));
    stream.setEncoding("utf8").on("data", (part: string) => (text += part));
    stream.on("error", reject).on("end", () => {
      session.close();
      resolve([status, text]);
    });
  });
}

for (const [name, framework] of [
  ["Express", express],
  ["Express 4", express4],
] as const) {
  describe(`serve() over TLS on ${name}`, () => {
    let app: Express;
    const prototypes: [before: object, after: object][] = [];

    function build() {
      const gate = expressGate(options);
      cleanUpInTest(async () => gate.close());
      app = framework();
      app.set("env", "test");
      app.use(gate.guard());
      app.get("/", (req, res) => {
        for (const message of [req, res]) prototypes.at(-1)?.push(Object.getPrototypeOf(message) as object);
        res.json([req.auth?.subject, req.secure]);
      });
      prototypes.length = 0;
      return gate;
    }

    /** Notes the prototypes of messages before Express has seen them. */
    function note(server: Pick<Server, "prependListener">): void {
      server.prependListener("request", (req, res) => {
        prototypes.push([Object.getPrototypeOf(req) as object, Object.getPrototypeOf(res) as object]);
      });
    }

    it("makes messages of https.createServer() that Express need not change", async () => {
      const server = build().serve(app, { createServer: createTlsServer, key, cert, keepAliveTimeout: 1234 });
      note(server);
      const port = await listen(server);
      expect(server.keepAliveTimeout).to.equal(1234);
      expect(await askTls(port, { authorization: `Bearer ${await signToken()}` })).to.deep.equal([
        200,
        '["alice",true]',
      ]);
      const [[req, res, sameReq, sameRes]] = prototypes as unknown as [object[]];
      expect([req === sameReq, res === sameRes]).to.deep.equal([true, true]);
      expect((await askTls(port))[0]).to.equal(401);
    });

    it("does the same for clients of HTTP/1 of an HTTP/2 server, and refuses those of HTTP/2, whose requests Express cannot read", async () => {
      const server = build().serve(app, { createServer: createSecureServer, key, cert, allowHTTP1: true });
      note(server as never);
      const port = await listen(server);
      const headers = { authorization: `Bearer ${await signToken()}` };
      expect(await askTls(port, headers)).to.deep.equal([200, '["alice",true]']);
      const [[req, res, sameReq, sameRes]] = prototypes as unknown as [object[]];
      expect([req === sameReq, res === sameRes]).to.deep.equal([true, true]);
      const refused = await askHttp2(`https://127.0.0.1:${port}`, headers);
      expect(refused[0]).to.equal(505);
      expect(await askTls(port, headers), "the server lives").to.deep.equal([200, '["alice",true]']);
    });

    it("takes no server in the place of a function that makes one", () => {
      const gate = build();
      const wrong = { createServer: createTlsServer({ key, cert }) };
      expectOptionError(() => gate.serve(app, wrong as never), "serve().createServer", "function");
    });
  });
}

for (const [name, Framework] of [
  ["Koa", Koa],
  ["Koa 2", Koa2],
] as const) {
  describe(`serve() with another server on ${name}`, () => {
    it("answers over TLS and over HTTP/2", async () => {
      const gate = koaGate(options);
      cleanUpInTest(async () => gate.close());
      const app = new Framework();
      app.use(gate.guard());
      app.use((ctx) => {
        ctx.body = [ctx.auth?.subject];
      });
      const headers = { authorization: `Bearer ${await signToken()}` };
      const tls = await listen(gate.serve(app, { createServer: createTlsServer, key, cert }));
      const both = await listen(gate.serve(app, { createServer: createSecureServer, key, cert, allowHTTP1: true }));
      const plain = await listen(gate.serve(app, { createServer: createPlainHttp2 }));
      expect(await askTls(tls, headers)).to.deep.equal([200, '["alice"]']);
      expect(await askTls(both, headers)).to.deep.equal([200, '["alice"]']);
      expect(await askHttp2(`https://127.0.0.1:${both}`, headers)).to.deep.equal([200, '["alice"]']);
      expect(await askHttp2(`http://127.0.0.1:${plain}`, headers)).to.deep.equal([200, '["alice"]']);
    });
  });
}

for (const [name, serve] of [
  ["Express", (given: never) => expressGate(options).serve(express(), given)],
  ["Koa", (given: never) => koaGate(options).serve(new Koa(), given)],
] as const)
  describe(`serve() without a function that makes a server on ${name}`, () => {
    it("makes no server of plain HTTP where options of TLS, or such a function alone, were given", () => {
      expectOptionError(() => serve({ key, cert } as never), "serve().key", "createServer");
      expectOptionError(() => serve({ pfx: "x" } as never), "serve().pfx", "createServer");
      expectOptionError(() => serve(createTlsServer as never), "serve()", "object");
    });
  });
