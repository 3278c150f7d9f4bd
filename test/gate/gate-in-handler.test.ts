import { createServer } from "node:http";
import type { RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { portcullis as expressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import { expect } from "chai";
import express from "express";
import type { RequestHandler } from "express";
import Koa from "koa";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";

/** The options of a gate, and the warnings that it gave. */
function trial() {
  const said: string[] = [];
  const logger = { debug: () => undefined, warn: (_fields: object, message: string) => void said.push(message) };
  return { options: { redis: "memory", logger } as const, said };
}

async function visit(listener: RequestListener, times: number): Promise<void> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanUp(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  for (let count = 0; count < times; count += 1) expect((await send(url)).status).to.equal(200);
}

describe("a gate that is made in a handler", () => {
  it("is a warning once, on Express and on Koa", async () => {
    const [one, two] = [trial(), trial()];
    const app = express();
    app.use((req, res, next) => void expressGate(one.options).guard()(req, res, next));
    app.use((_req, res) => void res.send("ok"));
    await visit(app, 3);
    const koa = new Koa();
    koa.use(async (ctx, next) => {
      await koaGate(two.options).guard()(ctx, next);
    });
    koa.use((ctx) => void (ctx.body = "ok"));
    const handle = koa.callback();
    await visit((req, res) => void handle(req, res), 3);
    for (const { said } of [one, two]) {
      expect(said).to.have.length(1);
      expect(said[0]).to.include("while requests were handled").and.include("when the application starts");
    }
  });

  it("is a warning also behind an await, where the stack does not show the server", async () => {
    const { options, said } = trial();
    const app = express();
    app.use((req, res, next) => {
      void (async () => {
        await new Promise((resolve) => setImmediate(resolve));
        expressGate(options).guard()(req, res, next);
      })();
    });
    app.use((_req, res) => void res.send("ok"));
    await visit(app, 12);
    expect(said).to.have.length(1);
    expect(said[0]).to.include("10 open gates of one place had one request each");
  });

  it("is none if an application makes a gate for each tenant when it starts, in a loop that waits for each", async () => {
    const { options, said } = trial();
    const gates = [];
    for (let count = 0; count < 15; count += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      gates.push(expressGate(options));
      // Another server of the process has requests meanwhile.
      if (count > 0) continue;
      const app = express();
      app.use(gates[0]?.guard() as RequestHandler, (_req, res) => void res.send("ok"));
      await visit(app, 3);
    }
    await Promise.all(gates.map((gate) => gate.close()));
    expect(said).to.deep.equal([]);
  });

  it("is none if the first request makes the only gate", async () => {
    const { options, said } = trial();
    let gate: ReturnType<typeof expressGate> | undefined;
    const app = express();
    app.use((req, res, next) => void (gate ??= expressGate(options)).guard()(req, res, next));
    app.use((_req, res) => void res.send("ok"));
    await visit(app, 3);
    await gate?.close();
    expect(said).to.deep.equal([]);
  });

  it("is none for the gates of tenants, made when an application starts or by their first requests", async () => {
    const { options, said } = trial();
    const gates = new Map<string, ReturnType<typeof expressGate>>();
    function gateOf(tenant: string): ReturnType<typeof expressGate> {
      const known = gates.get(tenant) ?? expressGate({ ...options, prefix: `${tenant}:` });
      gates.set(tenant, known);
      return known;
    }
    for (let count = 0; count < 12; count += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      gateOf(`tenant-${count}`);
    }
    let visits = 0;
    const app = express();
    app.use((req, res, next) => void gateOf(`new-${(visits += 1)}`).guard()(req, res, next));
    app.use((_req, res) => void res.send("ok"));
    await visit(app, 3);
    await Promise.all(Array.from(gates.values(), (gate) => gate.close()));
    expect(said).to.deep.equal([]);
  });

  it("is none in tests that make a gate each and leave those in process open", async () => {
    const { options, said } = trial();
    const before = process.env.NODE_ENV;
    process.env.NODE_ENV = "test";
    cleanUp(() => {
      if (before === undefined) delete process.env.NODE_ENV;
      else process.env.NODE_ENV = before;
    });
    for (let count = 0; count < 12; count += 1) {
      const gate = expressGate(options);
      cleanUp(() => gate.close());
      const app = express();
      app.use(gate.guard(), (_req, res) => void res.send("ok"));
      await visit(app, 1);
    }
    expect(said).to.deep.equal([]);
  });

  it("is none if gates are made one after another and closed, or all at once when an application starts", async () => {
    const { options, said } = trial();
    for (let count = 0; count < 12; count += 1) {
      const gate = expressGate(options);
      await new Promise((resolve) => setImmediate(resolve));
      await gate.close();
    }
    const all = Array.from({ length: 12 }, () => expressGate(options));
    await Promise.all(all.map((gate) => gate.close()));
    expect(said).to.deep.equal([]);
  });
});
