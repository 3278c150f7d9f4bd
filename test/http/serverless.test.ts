import { configure } from "@codegenie/serverless-express";
import { portcullis as expressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import { expect } from "chai";
import express from "express";
import type { Express, RequestHandler } from "express";
import express4 from "express4";
import Koa from "koa";
import type { Middleware } from "koa";
import Koa2 from "koa2";
import serverlessHttp from "serverless-http";
import type { AnyGate } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { until } from "../support/until.js";

/** Sends an event of API Gateway through an application, and resolves to the status of its answer. */
type Invoke = (path: string, body: object) => Promise<number>;

interface Platform {
  readonly name: string;
  readonly start: (
    options: object,
    use: (gate: AnyGate) => readonly unknown[],
  ) => { readonly gate: AnyGate; readonly invoke: Invoke };
}

const event = (path: string, body: object): object => ({
  version: "2.0",
  rawPath: path,
  rawQueryString: "",
  cookies: [],
  headers: { "content-type": "application/json" },
  requestContext: { http: { method: "POST", path, sourceIp: "198.51.100.9" } },
  body: JSON.stringify(body),
  isBase64Encoded: false,
});

type Lambda = (event: object, context: object, callback: () => void) => Promise<{ readonly statusCode: number }>;

const platforms: readonly Platform[] = [
  ...[
    { name: "Express", framework: express },
    { name: "Express 4", framework: express4 },
  ].map(({ name, framework }): Platform => ({
    name: `${name} behind @codegenie/serverless-express`,
    start: (options, use) => {
      const gate = expressGate(options);
      const app = framework().use(framework.json());
      for (const middleware of use(gate as unknown as AnyGate)) app.use(middleware as RequestHandler);
      app.use((req, res) => void res.sendStatus((req.body as { status: number }).status));
      const lambda = configure({ app }) as unknown as Lambda;
      return {
        gate: gate as unknown as AnyGate,
        invoke: async (path, body) => (await lambda(event(path, body), {}, () => undefined)).statusCode,
      };
    },
  })),
  ...[
    { name: "Koa", Framework: Koa },
    { name: "Koa 2", Framework: Koa2 },
  ].map(({ name, Framework }): Platform => ({
    name: `${name} behind serverless-http`,
    start: (options, use) => {
      const gate = koaGate(options);
      const app = new Framework();
      app.silent = true;
      app.use(async (ctx, next) => {
        const { body } = ctx.req as unknown as { body: Buffer };
        (ctx.request as { body?: unknown }).body = JSON.parse(String(body));
        await next();
      });
      for (const middleware of use(gate as unknown as AnyGate)) app.use(middleware as Middleware);
      app.use((ctx) => {
        ctx.status = (ctx.request as unknown as { body: { status: number } }).body.status;
      });
      const lambda = serverlessHttp(app) as unknown as Lambda;
      return {
        gate: gate as unknown as AnyGate,
        invoke: async (path, body) => (await lambda(event(path, body), {}, () => undefined)).statusCode,
      };
    },
  })),
];

const stores = [
  { store: "in process", redis: () => "memory" },
  { store: "on Redis", redis: testRedisUrl },
];

for (const { name, start } of platforms) {
  for (const { store, redis } of stores) {
    describe(`a serverless function with ${name} ${store}`, () => {
      let close: () => Promise<void> = () => Promise.resolve();
      afterEach(async () => close());

      function open(use: (gate: AnyGate) => readonly unknown[]): { gate: AnyGate; invoke: Invoke } {
        const options = { redis: redis(), prefix: freshPrefix(), logger: silentLogger, deadline: 1000 };
        const started = start(options, use);
        close = () => started.gate.close();
        return started;
      }

      it("gives back the turns of its logins", async () => {
        const account = (raw: object): unknown => {
          const { body, request } = raw as { body: unknown; request?: { body: unknown } };
          return ((request?.body ?? body) as { account: string }).account;
        };
        const { invoke } = open((gate) => [gate.throttleLogin({ account, parallel: 2 })]);
        const statuses: number[] = [];
        for (let index = 0; index < 5; index += 1)
          statuses.push(await invoke("/login", { account: `user${index}`, status: 204 }));
        expect(statuses).to.deep.equal([204, 204, 204, 204, 204]);
      });

      it("gives back slots, costs that do not count, and reserved costs", async () => {
        const terms = { per: () => "everybody", window: "1m" } as const;
        const { gate, invoke } = open((made) => [
          made.limit({ ...terms, name: "slots", limit: 2, algorithm: "concurrency" }),
          made.limit({ ...terms, name: "failures", limit: 3, countOnly: "failures" }),
          made.limit({ ...terms, name: "cost", limit: 100, cost: 10, settle: (_raw, _facts, status) => status / 100 }),
        ]);
        const counts = async (): Promise<number[]> =>
          Promise.all(
            ["slots", "failures", "cost"].map(async (policy) => (await gate.quotas.peek(policy, "everybody")).consumed),
          );
        for (let index = 1; index <= 4; index += 1) {
          expect(await invoke("/", { status: 200 })).to.equal(200);
          await until(async () => (await counts()).join() === `0,0,${2 * index}`);
        }
        expect(await invoke("/", { status: 400 })).to.equal(400);
        await until(async () => (await counts()).join() === "0,1,12");
      });
    });
  }
}

for (const [name, Framework] of [
  ["Koa", Koa],
  ["Koa 2", Koa2],
] as const) {
  describe(`the response cache of a serverless function with ${name}`, () => {
    it("takes a length that is the number 0 for no body, and answers from the store", async () => {
      const gate = koaGate({ redis: "memory", logger: silentLogger });
      const app = new Framework();
      app.use(gate.cacheResponse({ ttl: "1m" }));
      app.use((ctx) => (ctx.body = "x"));
      const lambda = serverlessHttp(app) as unknown as (
        event: object,
        context: object,
      ) => Promise<{ readonly headers: Readonly<Record<string, string>> }>;
      const asked = {
        version: "2.0",
        ...{ rawPath: "/a", rawQueryString: "", headers: {} },
        requestContext: { http: { method: "GET", path: "/a", sourceIp: "198.51.100.9" } },
      };
      const answers = [await lambda(asked, {}), await lambda(asked, {})];
      expect(answers.map(({ headers }) => headers["cache-status"]?.split(";")[1])).to.deep.equal([
        " fwd=uri-miss",
        " hit",
      ]);
      await gate.close();
    });
  });
}

for (const [name, framework] of [
  ["Express", express],
  ["Express 4", express4],
] as const) {
  for (const [adapter, wrap] of [
    ["@codegenie/serverless-express", (app: Express) => configure({ app }) as unknown],
    ["serverless-http", (app: Express) => serverlessHttp(app)],
  ] as const) {
    it(`a load balancer in front of ${name} behind ${adapter} names the address, which clients cannot choose`, async () => {
      const gate = expressGate({
        ...{ redis: "memory", logger: silentLogger },
        limits: [{ name: "ip", per: "ip", limit: 2, window: "1m" }],
      });
      cleanUp(() => gate.close());
      const app = framework();
      app.set("trust proxy", 1);
      app.use(gate.guard());
      app.use((_req, res) => void res.sendStatus(204));
      const lambda = wrap(app) as Lambda;
      const sent = async (forwarded: string): Promise<number> => {
        const fields = { host: "api.example.com", "x-forwarded-for": forwarded, "x-forwarded-proto": "https" };
        const balanced = {
          requestContext: { elb: { targetGroupArn: "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/a/1" } },
          ...{ httpMethod: "GET", path: "/", queryStringParameters: {}, headers: fields, body: "" },
          isBase64Encoded: false,
        };
        return (await lambda(balanced, {}, () => undefined)).statusCode;
      };
      const statuses = [];
      for (const address of ["198.51.100.7", "198.51.100.7", "203.0.113.5", "192.0.2.1, 198.51.100.7"])
        statuses.push(await sent(address));
      expect(statuses).to.deep.equal([204, 204, 204, 429]);
    });
  }
}
