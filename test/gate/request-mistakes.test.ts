import { createTokenFactory } from "@portcullis/express/testing";
import { portcullis as expressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import { expect } from "chai";
import express from "express";
import express4 from "express4";
import Koa from "koa";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";
import { startServer } from "../support/local-server.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";

async function serve(app: unknown): Promise<string> {
  const { url } = await startServer(app as Parameters<typeof startServer>[0]);
  return `${url}/`;
}

const tokens = createTokenFactory({ audience: "orders-api" });
const limit = { name: "a", per: "ip", limit: 5, window: "1m" } as const;

/** The options of a gate, and the codes of its warnings. */
function trial() {
  const said: unknown[] = [];
  const texts: string[] = [];
  const logger = {
    debug: () => undefined,
    warn(fields: object, message: string) {
      said.push((fields as { code?: string }).code);
      texts.push(message);
    },
  };
  return { options: { redis: "memory", logger } as const, said, texts };
}

const applications = { "Express 5": express, "Express 4": express4 };

for (const [name, makeApp] of Object.entries(applications)) {
  describe(`a refusal that an error handler drops, on ${name}`, () => {
    async function start(swallows: boolean, status?: number) {
      const { options, said } = trial();
      const gate = expressGate({ ...options, auth: tokens.auth });
      cleanUp(() => gate.close());
      const app = makeApp();
      app.use(gate.guard({ onDeny: "throw" }));
      const handleError: express.ErrorRequestHandler = (error: { status?: number }, _req, res, next) => {
        if (status !== undefined) res.status(status);
        if (swallows) next();
        else res.status(error.status ?? 500).send("refused");
      };
      app.use(handleError);
      app.get("/", (_req, res) => void res.send("ok"));
      return { url: await serve(app), said };
    }

    it("is a warning once, since the request goes on to its route", async () => {
      const { url, said } = await start(true);
      for (let count = 0; count < 3; count += 1) expect((await send(url)).status).to.equal(200);
      expect(said).to.deep.equal(["denial_dropped"]);
    });

    it("is no warning if a route shows the refusal, with its status or with another one", async () => {
      for (const status of [401, 404]) {
        const { url, said } = await start(true, status);
        expect((await send(url)).status).to.equal(status);
        expect(said).to.deep.equal([]);
      }
    });

    it("is no warning if the handler answers it, nor for requests with a token", async () => {
      const { url, said } = await start(false);
      expect((await send(url)).status).to.equal(401);
      const headers = { authorization: `Bearer ${await tokens.sign({ sub: "alice" })}` };
      expect((await send(url, { headers })).status).to.equal(200);
      expect(said).to.deep.equal([]);
    });
  });
}

/** Applications with a guard and further middleware that `build` makes, and the codes of their warnings. */
const twoLimits = {
  Express(limits: readonly (typeof limit)[], build: (gate: Limiting) => object[]) {
    const { options, said } = trial();
    const gate = expressGate({ ...options, limits });
    cleanUp(() => gate.close());
    const app = express();
    app.use(gate.guard(), ...(build(gate) as express.Handler[]));
    app.use((_req, res) => void res.send("ok"));
    return { app: app as unknown, said };
  },
  Koa(limits: readonly (typeof limit)[], build: (gate: Limiting) => object[]) {
    const { options, said } = trial();
    const gate = koaGate({ ...options, limits });
    cleanUp(() => gate.close());
    const app = new Koa();
    for (const middleware of [gate.guard(), ...(build(gate) as Koa.Middleware[])]) app.use(middleware);
    app.use((ctx) => void (ctx.body = "ok"));
    return { app: app.callback() as unknown, said };
  },
};

interface Limiting {
  guard(): object;
  limit(policy: { name: string; per: "ip"; limit: number; window: "1m" }): object;
}

describe("two limits of one name on one request", () => {
  for (const [name, make] of Object.entries(twoLimits)) {
    it(`are a warning once on ${name}, also if the second one refuses the first request`, async () => {
      for (const second of [5, 1]) {
        const { app, said } = make([limit], (gate) => [gate.limit({ ...limit, limit: second })]);
        const url = await serve(app);
        for (let count = 0; count < 2; count += 1) await send(url);
        expect(said).to.deep.equal(["policy_name_repeated"]);
      }
    });

    it(`are no warning on ${name} if one middleware is mounted twice, or if the names differ`, async () => {
      const { app, said } = make([limit], (gate) => {
        const other = gate.limit({ ...limit, name: "b" });
        return [gate.guard(), other, other];
      });
      const url = await serve(app);
      for (let count = 0; count < 2; count += 1) expect((await send(url)).status).to.equal(200);
      expect(said).to.deep.equal([]);
    });
  }
});

describe("limits of one name at two gates", () => {
  const gatesOf = { Express: expressGate, Koa: koaGate };

  async function serveBoth(name: string, [first, second]: readonly [object, object]): Promise<string> {
    const [one, other] = [first, second].map((options) => {
      const gate = gatesOf[name as keyof typeof gatesOf](options as never);
      cleanUp(() => gate.close());
      return gate.limit(limit);
    });
    if (name === "Koa") {
      const app = new Koa();
      app.use(one as Koa.Middleware).use(other as Koa.Middleware);
      return serve(app.use((ctx) => void (ctx.body = "ok")).callback());
    }
    const app = express();
    app.use(one as express.Handler, other as express.Handler);
    return serve(app.use((_req, res) => void res.send("ok")));
  }

  for (const name of Object.keys(gatesOf)) {
    it(`are no warning on ${name} if each gate has counters of its own`, async () => {
      const { options, said } = trial();
      expect((await send(await serveBoth(name, [options, options]))).status).to.equal(200);
      const url = testRedisUrl();
      const prefixed = { ...options, redis: url, deadline: 1000 };
      const gates = [
        { ...prefixed, prefix: freshPrefix() },
        { ...prefixed, prefix: freshPrefix() },
      ] as const;
      expect((await send(await serveBoth(name, gates))).status).to.equal(200);
      expect(said).to.deep.equal([]);
    });

    it(`are a warning on ${name} if the gates share their counters`, async () => {
      const { options, said } = trial();
      const url = testRedisUrl();
      const shared = { ...options, redis: url, prefix: freshPrefix(), deadline: 1000 };
      const app = await serveBoth(name, [shared, shared]);
      for (let count = 0; count < 2; count += 1) await send(app);
      expect(said).to.deep.equal(["policy_name_repeated"]);
    });
  }
});

describe("a gate that is closed too early", () => {
  it("says so once at the next request", async () => {
    const { options, said } = trial();
    const gate = expressGate(options);
    const app = express();
    app.use(gate.guard());
    app.get("/", (_req, res) => void res.send("ok"));
    const url = await serve(app);
    await send(url);
    expect(said).to.deep.equal([]);
    await gate.close();
    for (let count = 0; count < 2; count += 1) await send(url);
    expect(said).to.deep.equal(["gate_closed"]);
  });
});

describe("a middleware that needs a user, at a gate without auth", () => {
  it("says that auth is missing, not the guard, which is there", async () => {
    const { options, said, texts } = trial();
    const gate = expressGate({ ...options, limits: [{ ...limit, per: "user" }] });
    cleanUp(() => gate.close());
    const app = express();
    app.use(gate.guard());
    app.get("/", (_req, res) => void res.send("ok"));
    await send(await serve(app));
    expect(said).to.deep.equal(["guard_missing"]);
    expect(texts[0]).to.include('limit "a"').and.include("no option auth").and.include("set auth");
    expect(texts[0]).not.to.include("mount the guard");
  });
});
