import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { RouteCondition } from "@portcullis/core";
import { portcullis as expressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import express from "express";
import express4 from "express4";
import fc from "fast-check";
import Koa from "koa";
import Koa2 from "koa2";
import { silentLogger } from "../support/logger.js";
import { isSoak } from "../support/soak.js";

const routes = ["/", "/admin", "/admin/users", "/public/a", "/caf%C3%A9"];

type Way = "when" | "unless";
/** Sends a request line through a framework, without the HTTP parser of Node in front; the routes it gets to. */
type Ask = (url: string) => Promise<readonly string[]>;

const options = { redis: "memory", auth: testAuth, logger: silentLogger } as const;

function messages(url: string, done: () => void): { req: IncomingMessage; res: ServerResponse } {
  const req = new IncomingMessage(new Socket());
  Object.assign(req, { url, method: "GET" });
  const res = new ServerResponse(req);
  res.end = (() => done()) as never;
  return { req, res };
}

/** Nobody is signed in, so whatever the condition applies its check to is refused. */
function onExpress(framework: typeof express, way: Way, condition: RouteCondition): Ask {
  const gate = expressGate(options);
  const app = framework();
  app.use(gate[way](condition, gate.authenticate()));
  let reached: string[] = [];
  for (const route of routes)
    app.get(route, (_req, res) => {
      reached.push(route);
      res.end();
    });
  return async (url) => {
    reached = [];
    await new Promise<void>((resolve) => {
      const { req, res } = messages(url, resolve);
      app(req as never, res as never, () => resolve());
    });
    return reached;
  };
}

function onKoa(Framework: typeof Koa, way: Way, condition: RouteCondition): Ask {
  const gate = koaGate(options);
  const app = new Framework();
  app.silent = true;
  app.use(gate[way](condition, gate.authenticate()));
  let reached: string[] = [];
  app.use((ctx) => {
    // As routers for Koa do that are case-sensitive or not, strict or not.
    const path = ctx.path.toLowerCase().replace(/(?<=.)\/$/, "");
    const route = routes.find((one) => one.toLowerCase() === path);
    if (route !== undefined) reached.push(route);
    ctx.body = "";
  });
  const handle = app.callback();
  return async (url) => {
    reached = [];
    await new Promise<void>((resolve) => {
      const { req, res } = messages(url, resolve);
      void handle(req, res);
    });
    return reached;
  };
}

const frameworks: Readonly<Record<string, (way: Way, condition: RouteCondition) => Ask>> = {
  "Express 5": (...of) => onExpress(express, ...of),
  "Express 4": (...of) => onExpress(express4, ...of),
  "Koa 3": (...of) => onKoa(Koa, ...of),
  "Koa 2": (...of) => onKoa(Koa2, ...of),
};

/** Routes with pieces put in that parsers trim, cut off, decode or fold, and characters of all kinds. */
const urls = fc
  .tuple(
    fc.constantFrom(...routes),
    fc.array(
      fc.record({
        at: fc.nat(),
        drop: fc.constantFrom(0, 0, 1),
        piece: fc.oneof(
          fc.constantFrom("/", "//", "/.", "/..", "\\", "#", "?", ";", ";x=1", "%2f", "%61", "%C2%A0", "%20", "A", "%"),
          fc.constantFrom(
            "\u00a0",
            "\ufeff",
            "\t",
            " ",
            "\f",
            "\r",
            "\n",
            "\u000b",
            "\u0085",
            "\u2028",
            "\u3000",
            "\0",
          ),
          fc.integer({ min: 1, max: 0x2fff }).map((code) => String.fromCharCode(code)),
          fc.constantFrom("http://host", "//host", "users", "*", "admin/../"),
        ),
      }),
      { minLength: 1, maxLength: 3 },
    ),
  )
  .map(([route, edits]) => {
    let url = route;
    for (const { at, drop, piece } of edits) {
      // Most of all at the end, where parsers trim.
      const place = at % 2 === 0 ? url.length : at % (url.length + 1);
      url = url.slice(0, place) + piece + url.slice(place + drop);
    }
    return url;
  });

const numRuns = isSoak ? 20_000 : 500;
const examples: [string][] = [
  ["/admin\u00a0"],
  ["/admin\ufeff"],
  ["/admin\u00a0\u00a0"],
  ["/admin "],
  ["/ADMIN/"],
  ["/admin#x"],
];

for (const [name, open] of Object.entries(frameworks)) {
  describe(`whatever the request line, on ${name}`, function () {
    this.timeout(60_000);

    it("when() applies to each request that gets to the route it names", async () => {
      for (const path of ["/admin", "/caf%C3%A9"]) {
        const ask = open("when", { path });
        await fc.assert(
          fc.asyncProperty(urls, async (url) => {
            expect(await ask(url), JSON.stringify(url)).not.to.include(path);
          }),
          { numRuns, examples },
        );
      }
      expect(await open("when", { path: "/other" })("/admin")).to.deep.equal(["/admin"]);
    });

    it("unless() frees no request but those that get to the route it names", async () => {
      for (const path of ["/public/a", "/admin"]) {
        const ask = open("unless", { path });
        await fc.assert(
          fc.asyncProperty(urls, async (url) => {
            for (const reached of await ask(url)) expect(reached, JSON.stringify(url)).to.equal(path);
          }),
          { numRuns, examples },
        );
        expect(await ask(path)).to.deep.equal([path]);
      }
    });
  });
}
