import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setFlagsFromString } from "node:v8";
import { portcullis } from "@portcullis/express";
import type { ExpressGate } from "@portcullis/express";
import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import express from "express";
import type { Express, RequestHandler } from "express";
import express4 from "express4";
import { send } from "../support/http.js";

// Node compiles a function again when it has not run for a while, so the flag stays.
setFlagsFromString("--allow-natives-syntax");
/** Have two objects the same hidden class? Then V8 remembers where their properties are. Only V8 itself can tell. */
// eslint-disable-next-line @typescript-eslint/no-implied-eval -- natives are no syntax outside of it
const haveSameClass = new Function("one", "other", "return %HaveSameMap(one, other)") as (
  one: object,
  other: object,
) => boolean;

const waiting = 4;

for (const [name, framework] of [
  ["Express", express],
  ["Express 4", express4],
] as const) {
  function classesOf(messages: readonly object[]): number {
    const first: object[] = [];
    for (const message of messages) if (!first.some((one) => haveSameClass(one, message))) first.push(message);
    return first.length;
  }

  describe(`the messages behind a gate on ${name}`, () => {
    let gate: ExpressGate;
    let app: Express;
    let server: Server | undefined;
    beforeEach(() => {
      gate = portcullis({ redis: "memory", auth: testAuth });
      app = framework();
      app.set("env", "test");
    });
    afterEach(async () => {
      server?.closeAllConnections();
      server?.close();
      server = undefined;
      await gate.close();
    });

    async function listen(made: Server): Promise<string> {
      server = made;
      await new Promise<void>((resolve) => made.listen(0, "127.0.0.1", resolve));
      return `http://127.0.0.1:${(made.address() as AddressInfo).port}`;
    }

    /** Holds requests back until several are at the same place. */
    function gather(seen: [IncomingMessage, ServerResponse][]): RequestHandler {
      const held: (() => void)[] = [];
      return (req, res, next) => {
        seen.push([req, res]);
        held.push(next);
        if (seen.length === waiting) for (const go of held.splice(0)) go();
      };
    }

    for (const [server, make] of [
      ["createServer()", (): Server => createServer(app)],
      ["serve()", (): Server => gate.serve(app)],
      ["serve(), mounted in another application", (): Server => gate.serve(framework().use(app))],
    ] as const) {
      it(`have one hidden class for all requests, also after handlers have added properties, with ${server}`, async function () {
        // V8 finds the class of objects with a table by a hash of their prototype, in a cache of few places. Two that have
        // the same place replace each other for ever: then another application, with other prototypes, must have one.
        this.retries(5);
        const seen: [IncomingMessage, ServerResponse][] = [];
        app.use(gate.guard());
        app.use((req, res, next) => {
          Object.assign(req, { own: 1, another: {} });
          Object.assign(res, { own: 1 });
          next();
        });
        app.get("/", gather(seen), (req, res) => void res.json(req.auth?.subject));
        const url = await listen(make());
        const token = await signToken();
        // V8 does not yet know the shape of the first messages.
        let answers: { status: number }[] = [];
        for (let round = 0; round < 6; round += 1) {
          seen.length = 0;
          answers = await Promise.all(Array.from({ length: waiting }, () => send(url, { token })));
        }
        expect(answers.map(({ status }) => status)).to.deep.equal(Array(waiting).fill(200));
        expect(seen).to.have.length(waiting);
        // V8 may renew a class between two of them. Without a shared class each message has one of its own.
        for (const messages of [seen.map(([req]) => req), seen.map(([, res]) => res)])
          expect(classesOf(messages)).to.be.at.most(2);
      });
    }

    it("have all their properties, as plain properties, and know each other", async () => {
      const before: string[][] = [];
      const after: string[][] = [];
      const names = (message: object): string[] => Object.keys(message).sort();
      app.use((req, res, next) => {
        before.push(names(req), names(res));
        next();
      });
      app.use(gate.guard());
      app.get("/", (req, res) => {
        // The router adds `route`, which stands in both lists only if it is there before.
        const added = new Set(["auth", "cache", "quotas", "route", "params"]);
        after.push(
          names(req).filter((own) => !added.has(own)),
          names(res),
        );
        const links = [Object.getOwnPropertyDescriptor(req, "res"), Object.getOwnPropertyDescriptor(res, "req")];
        expect(links).to.deep.equal([
          { value: res, writable: true, enumerable: true, configurable: true },
          { value: req, writable: true, enumerable: true, configurable: true },
        ]);
        res.json({});
      });
      const answer = await send(await listen(createServer(app)), { token: await signToken() });
      expect(answer.status).to.equal(200);
      expect(after).to.deep.equal(before.map((list) => list.filter((own) => !["params", "route"].includes(own))));
    });

    it("may be without a link to each other", async () => {
      app.use((req, res, next) => {
        Object.defineProperty(req, "res", { value: res, configurable: false, writable: false, enumerable: true });
        Reflect.deleteProperty(res, "req");
        next();
      });
      app.use(gate.guard());
      app.get("/", (req, res) => void res.end(String(req.auth?.subject)));
      const answer = await send(await listen(createServer(app)), { token: await signToken() });
      expect([answer.status, answer.text]).to.deep.equal([200, "alice"]);
    });

    it("may have null in the place of a link, and may link to a response that takes no properties", async () => {
      app.use((req, _res, next) => {
        Object.assign(req, { res: req.url === "/null" ? null : Object.preventExtensions({ req }) });
        next();
      });
      app.use(gate.guard());
      app.use((req, res) => {
        const { res: link } = req as { res?: object | null };
        res.end(link === null ? "null" : String(Object.keys(link ?? {})));
      });
      const url = await listen(createServer(app));
      const token = await signToken();
      const answers = [await send(`${url}/null`, { token }), await send(`${url}/fixed`, { token })];
      expect(answers.map(({ status, text }) => [status, text])).to.deep.equal([
        [200, "null"],
        [200, "req"],
      ]);
    });
  });
}
