import { IncomingMessage, ServerResponse, createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { portcullis as expressGate } from "@portcullis/express";
import type { ExpressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import express from "express";
import type { ErrorRequestHandler, Express, Request } from "express";
import express4 from "express4";
import Koa from "koa";
import Koa2 from "koa2";
import request from "supertest";
import { send } from "../support/http.js";
import { exchangeRaw } from "../support/raw.js";

const options = { redis: "memory", auth: testAuth } as const;
const servers: Server[] = [];
const gates: { close(): Promise<void> }[] = [];

async function closeAll(): Promise<void> {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  }
  for (const gate of gates.splice(0)) await gate.close();
}

async function listen(server: Server): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

for (const [name, framework] of [
  ["Express", express],
  ["Express 4", express4],
] as const) {
  describe(`serve() on ${name}`, () => {
    afterEach(closeAll);
    let gate: ExpressGate;
    let app: Express;
    beforeEach(() => {
      gate = expressGate(options);
      gates.push(gate);
      app = framework();
      app.set("env", "test");
    });

    /** What a message of node:http inherits before Express has seen it, and what Express gives it. */
    async function prototypesSeen(server: Server): Promise<[before: object, after: object][]> {
      const seen: [object, object][] = [];
      let early: object[] = [];
      server.prependListener("request", (req, res) => {
        early = [req, res].map((message) => Object.getPrototypeOf(message) as object);
      });
      app.get("/prototypes", (req, res) => {
        for (const [index, message] of [req, res].entries())
          seen.push([early[index]!, Object.getPrototypeOf(message) as object]);
        res.end();
      });
      await send(`${await listen(server)}/prototypes`);
      return seen;
    }

    it("makes messages that Express need not change, other than those of createServer()", async () => {
      for (const [before, after] of await prototypesSeen(gate.serve(app))) expect(after).to.equal(before);
      const other = framework();
      app = other;
      for (const [before, after] of await prototypesSeen(createServer(other))) expect(after).not.to.equal(before);
    });

    it("answers as createServer() does, byte for byte", async () => {
      app.set("trust proxy", 1);
      app.use(gate.unless({ path: "/open/*" }, gate.guard()));
      app.use(framework.json());
      app.post("/echo", (req, res) => void res.status(201).json({ body: req.body as unknown, of: req.auth?.subject }));
      app.get(
        "/open/send",
        (req, res) =>
          void res
            .type("text")
            .set("x-ip", req.ip ?? "none")
            .send(req.get("accept")),
      );
      app.get("/open/redirect", (_req, res) => res.redirect("/elsewhere"));
      app.get("/open/throws", () => {
        throw new Error("of the application");
      });
      const answerError: ErrorRequestHandler = (error: Error, _req, res, next) => {
        if (res.headersSent) next(error);
        else res.status(500).json({ error: error.message });
      };
      app.use(answerError);
      const [plain, served] = [await listen(createServer(app)), await listen(gate.serve(app))];
      const token = await signToken();
      const json = { "content-type": "application/json" };
      const requests: [path: string, init: RequestInit][] = [
        ["/echo", { method: "POST", body: '{"a":1}', headers: { ...json, authorization: `Bearer ${token}` } }],
        ["/echo", { method: "POST", body: "{", headers: { ...json, authorization: `Bearer ${token}` } }],
        ["/echo", { method: "POST" }],
        ["/open/send", { headers: { accept: "text/plain", "x-forwarded-for": "192.0.2.7" } }],
        ["/open/send", { method: "HEAD" }],
        ["/open/redirect", { redirect: "manual" }],
        ["/open/throws", {}],
        ["/open/missing", {}],
      ];
      for (const [path, init] of requests) {
        const [one, two] = await Promise.all([plain, served].map((url) => fetch(`${url}${path}`, init)));
        const facts = async (answer: Response) => {
          const headers = [...answer.headers].filter(([field]) => field !== "date");
          return [answer.status, headers, await answer.text()];
        };
        expect(await facts(two!), path).to.deep.equal(await facts(one!));
      }
    });

    it("keeps extensions of express.request and app.request alive, whenever they are made", async () => {
      const extended = framework.request as Request & Record<string, unknown>;
      const own = app.request as Request & Record<string, unknown>;
      try {
        extended.early = () => "early";
        own.ownEarly = () => "own early";
        const url = await listen(gate.serve(app));
        extended.late = () => "late";
        Object.assign(app.request, { ownLate: () => "own late" });
        Object.defineProperty(app.response, "shout", { configurable: true, get: () => "loud" });
        const names = ["early", "ownEarly", "late", "ownLate"];
        app.get("/", (req, res) => {
          const found = req as unknown as Record<string, () => string>;
          res.json([...names.map((method) => found[method]!()), (res as unknown as { shout: string }).shout]);
        });
        expect((await send(url)).json).to.deep.equal(["early", "own early", "late", "own late", "loud"]);
      } finally {
        delete extended.early;
        delete extended.late;
      }
    });

    it("keeps the properties that mounted applications inherit, whether they were mounted before or after", async () => {
      const [before, after] = [framework(), framework()];
      Object.assign(app.request, { early: "early" });
      app.use("/before", before);
      const url = await listen(gate.serve(app));
      app.use("/after", after);
      Object.assign(app.request, { late: "late" });
      for (const sub of [before, after]) {
        sub.get("/here", (req, res) => {
          const { early, late } = req as unknown as { early: string; late: string };
          res.json([req.app === sub, req.baseUrl, req.url, early, late]);
        });
        // Back in the application itself, it is itself again.
        sub.get("/through", (_req, _res, next) => next());
      }
      app.use((req, res) => void res.json([req.app === app, req.url, req instanceof IncomingMessage]));
      expect((await send(`${url}/before/here`)).json).to.deep.equal([true, "/before", "/here", "early", "late"]);
      expect((await send(`${url}/after/here`)).json).to.deep.equal([true, "/after", "/here", "early", "late"]);
      expect((await send(`${url}/before/through`)).json).to.deep.equal([true, "/before/through", true]);
      expect((await send(`${url}/after/through`)).json).to.deep.equal([true, "/after/through", true]);
    });

    it("may be called repeatedly, with options of node:http, and does not change app.listen() and supertest", async () => {
      app.use(gate.guard());
      app.get("/", (req, res) => void res.json({ subject: req.auth?.subject, app: req.app === app }));
      const token = await signToken();
      const depth = (): number => {
        let levels = 0;
        for (let at: object | null = app.request; at !== null; at = Object.getPrototypeOf(at) as object | null)
          levels += 1;
        return levels;
      };
      const first = gate.serve(app, { keepAliveTimeout: 1234, maxHeaderSize: 4096 });
      const levels = depth();
      for (let round = 0; round < 20; round += 1) gate.serve(app);
      expect(depth()).to.equal(levels);
      expect(first.keepAliveTimeout).to.equal(1234);
      const listening = app.listen(0, "127.0.0.1");
      servers.push(listening);
      for (const target of [first, gate.serve(app), app, createServer(app), listening]) {
        const answer = await request(target).get("/").set("authorization", `Bearer ${token}`);
        expect(answer.body).to.deep.equal({ subject: "alice", app: true });
        expect((await request(target).get("/")).status).to.equal(401);
      }
      expect((await request(first).get("/").set("x-long", "x".repeat(5000))).status).to.equal(431);
    });

    it("passes upgrades and expectations to their listeners, and the gate decides about them", async () => {
      const server = gate.serve(app);
      const seen: unknown[] = [];
      server.on("upgrade", (message, socket) => {
        void gate.verify(message).then((verdict) => {
          seen.push(message instanceof IncomingMessage, verdict.allowed);
          socket.end("HTTP/1.1 400 Enough\r\n\r\n");
        });
      });
      server.on("checkContinue", (_req, res) => {
        seen.push(res instanceof ServerResponse);
        res.writeContinue();
        res.end("ok");
      });
      const url = await listen(server);
      const token = await signToken();
      const lines = [
        "GET / HTTP/1.1",
        "Host: a",
        "Connection: Upgrade",
        "Upgrade: x",
        `Authorization: Bearer ${token}`,
      ];
      await exchangeRaw(url, `${lines.join("\r\n")}\r\n\r\n`);
      await exchangeRaw(
        url,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
      );
      expect(seen).to.deep.equal([true, true, true]);
    });
  });
}

for (const [name, Framework] of [
  ["Koa", Koa],
  ["Koa 2", Koa2],
] as const) {
  describe(`serve() on ${name}`, () => {
    afterEach(closeAll);

    it("is the server that app.listen() makes, not listening yet", async () => {
      const gate = koaGate(options);
      gates.push(gate);
      const app = new Framework();
      app.use(gate.guard());
      app.use((ctx) => {
        ctx.body = { subject: ctx.auth?.subject };
      });
      const server = gate.serve(app, { keepAliveTimeout: 1234 });
      expect([server.listening, server.keepAliveTimeout]).to.deep.equal([false, 1234]);
      const url = await listen(server);
      expect((await send(url)).status).to.equal(401);
      expect((await send(url, { token: await signToken() })).json).to.deep.equal({ subject: "alice" });
      expect((await request(gate.serve(app)).get("/")).status).to.equal(401);
    });
  });
}
