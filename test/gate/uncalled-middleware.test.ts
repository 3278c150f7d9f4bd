import { createServer } from "node:http";
import type { RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { portcullis as expressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import express from "express";
import type { ErrorRequestHandler } from "express";
import express4 from "express4";
import Koa from "koa";
import Koa2 from "koa2";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";

const options = { redis: "memory", auth: testAuth, logger: silentLogger } as const;

/** Serves one request, and returns the message of the error that it ended with. */
type Ask = (middleware: unknown) => Promise<string>;

async function serve(listener: RequestListener): Promise<number> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanUp(() => server.close());
  return (await send(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)).status;
}

function askExpress(framework: typeof express): Ask {
  return async (middleware) => {
    let message = "";
    const app = framework().set("env", "test");
    app.use(middleware as express.RequestHandler);
    const onError: ErrorRequestHandler = (error: Error, _req, _res, next) => {
      message = error.message;
      next(error);
    };
    app.use(onError);
    expect(await serve(app)).to.equal(500);
    return message;
  };
}

function askKoa(Framework: typeof Koa): Ask {
  return async (middleware) => {
    let message = "";
    const app = new Framework();
    app.on("error", (error: Error) => (message = error.message));
    app.use(middleware as Koa.Middleware);
    const handle = app.callback();
    expect(await serve((req, res) => void handle(req, res))).to.equal(500);
    return message;
  };
}

const frameworks: Readonly<Record<string, { readonly ask: Ask; readonly make: typeof expressGate | typeof koaGate }>> =
  {
    Express: { ask: askExpress(express), make: expressGate },
    "Express 4": { ask: askExpress(express4), make: expressGate },
    Koa: { ask: askKoa(Koa), make: koaGate },
    "Koa 2": { ask: askKoa(Koa2), make: koaGate },
  };

/** Functions of a gate that make no middleware. */
const others = [
  "verify",
  "explain",
  "consume",
  "principal",
  "leader",
  "health",
  "examine",
  "metrics",
  "drain",
  "close",
  "serve",
];

for (const [name, { ask, make }] of Object.entries(frameworks)) {
  describe(`middleware that is passed to ${name} without being called`, () => {
    it("is an error that says what to write, for each function that makes middleware", async () => {
      const gate = make(options as never);
      cleanUp(() => gate.close());
      const owners = { gate, "gate.routes": gate.routes } as unknown as Record<string, Record<string, unknown>>;
      for (const [owner, members] of Object.entries(owners)) {
        const makers = Object.keys(members).filter(
          (one) =>
            (owner !== "gate" || !others.includes(one)) &&
            Object.getOwnPropertyDescriptor(members, one)?.get === undefined,
        );
        const functions = makers.filter((one) => typeof members[one] === "function");
        expect(functions.length).to.be.at.least(6);
        for (const one of functions)
          expect(await ask(members[one]), one).to.match(
            new RegExp(`^portcullis: ${owner}\\.${one} was given .* write app\\.use\\(${owner}\\.${one}\\(`),
          );
      }
    });

    it("is an error that says what to write for portcullis itself", async () => {
      expect(await ask(make)).to.match(/^portcullis: portcullis\(\) was given .* app\.use\(gate\.guard\(\)\)/);
    });
  });
}
