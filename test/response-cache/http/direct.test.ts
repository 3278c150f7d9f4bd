import { portcullis } from "@portcullis/koa";
import { expect } from "chai";
import type { Context, Next } from "koa";
import Koa from "koa";
import Koa2 from "koa2";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { cleanUp } from "../../support/clean-up.js";
import type { SendOptions, TestAnswer } from "../../support/http.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { until } from "../../support/until.js";

type Make = (gate: ReturnType<typeof portcullis>) => ((ctx: Context, next: Next) => unknown)[];

const handlers: Record<string, (ctx: Context) => void> = {
  json: (ctx) => (ctx.body = { text: "\u00e9\u4e16", n: 1 }),
  text: (ctx) => (ctx.body = "plain \u00e9"),
  html: (ctx) => (ctx.body = "<p>\u00e9</p>"),
  bytes: (ctx) => (ctx.body = Buffer.from([0xff, 0, 1])),
  empty: (ctx) => (ctx.body = ""),
  created: (ctx) => {
    ctx.status = 404;
    ctx.body = { missing: true };
  },
  tagged: (ctx) => {
    ctx.set("ETag", '"own"');
    ctx.set("X-Latin", "\u00e9");
    ctx.body = { tagged: true };
  },
  typed: (ctx) => {
    ctx.type = "application/problem+json";
    ctx.body = { typed: true };
  },
};

for (const [name, Framework] of [
  ["Koa", Koa],
  ["Koa 2", Koa2],
] as const) {
  describe(`a response in process on ${name}`, () => {
    async function serve(make: Make): Promise<(path: string, options?: SendOptions) => Promise<TestAnswer>> {
      const gate = portcullis({ redis: "memory", logger: silentLogger });
      cleanUp(() => gate.close());
      const app = new Framework();
      for (const one of make(gate)) app.use(one as Koa.Middleware);
      app.use((ctx: Context) => handlers[ctx.path.slice(1)]?.(ctx));
      const answer = app.callback();
      const server = createServer((req, res) => void answer(req, res)).listen(0, "127.0.0.1");
      cleanUp(() => void server.close());
      await once(server, "listening");
      const { port } = server.address() as AddressInfo;
      return async (path, options) => send(`http://127.0.0.1:${port}${path}`, options);
    }

    const cached: Make = (gate) => [
      gate.guard({ optional: true }) as never,
      gate.cacheResponse({ ttl: "1h" }) as never,
    ];

    /** What must be the same for a miss and each hit. */
    function comparable({ status, headers, text }: TestAnswer): unknown {
      const own = new Set(["date", "age", "cache-status"]);
      return {
        status,
        text,
        headers: Object.fromEntries(Object.entries(headers).filter(([field]) => !own.has(field))),
      };
    }

    for (const [front, inFront] of Object.entries<Make>({
      "nobody in front": () => [],
      "middleware in front": () => [(_ctx, next) => next()],
    }))
      it(`is answered as it was made, and as a condition or HEAD asks, with ${front}`, async () => {
        const ask = await serve((gate) => [...inFront(gate), ...cached(gate)]);
        for (const path of Object.keys(handlers).map((one) => `/${one}`)) {
          const made = comparable(await ask(path));
          for (let hits = 0; hits < 4; hits += 1) {
            await until(async () => String((await ask(path)).headers["cache-status"]).includes("hit"));
            const hit = await ask(path);
            expect(comparable(hit), path).to.deep.equal(made);
          }
          const { headers, status } = await ask(path);
          const head = await ask(path, { method: "HEAD" });
          expect([head.status, head.text, head.headers.etag], path).to.deep.equal([status, "", headers.etag]);
          expect(head.headers["content-length"], path).to.equal(headers["content-length"]);
          if (headers.etag === undefined) continue;
          const unchanged = await ask(path, { headers: { "if-none-match": String(headers.etag) } });
          expect([unchanged.status, unchanged.text], path).to.deep.equal([304, ""]);
          expect((await ask(path, { headers: { "if-none-match": '"other"' } })).text, path).to.equal(
            (await ask(path)).text,
          );
        }
      });

    it("is changed by middleware in front, wherever the cache is mounted", async () => {
      const wrap = async (ctx: Context, next: Next): Promise<void> => {
        await next();
        ctx.body = { wrapped: ctx.body };
      };
      const inner: Make = (gate) => {
        const cache = gate.cacheResponse({ ttl: "1h" }) as Koa.Middleware;
        return [(ctx, next) => wrap(ctx, () => cache(ctx, next) as Promise<void>)];
      };
      const ways: Record<string, Make> = {
        "in front of all": (gate) => [wrap, ...cached(gate)],
        between: (gate) => {
          const [guard, cache] = cached(gate);
          return [guard, wrap, cache] as never;
        },
        "around the cache": inner,
      };
      for (const [way, make] of Object.entries(ways)) {
        const ask = await serve(make);
        for (let asked = 0; asked < 4; asked += 1) {
          const { json } = await ask("/json");
          expect(json, way).to.deep.equal({ wrapped: { text: "\u00e9\u4e16", n: 1 } });
          await new Promise((resolve) => setImmediate(resolve));
        }
      }
    });
  });
}
