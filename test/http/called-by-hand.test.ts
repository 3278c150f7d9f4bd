import type { AddressInfo } from "node:net";
import { createServer } from "node:http";
import { portcullis } from "@portcullis/koa";
import { expect } from "chai";
import Koa from "koa";
import type { Context } from "koa";
import Koa2 from "koa2";
import { cleanUpInTest } from "../support/clean-up.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix } from "../support/redis.js";

const limits = {
  "a limit": { name: "ip", per: "ip", limit: 100, window: "1m" },
  "a limit of concurrency": { name: "ip", per: "ip", limit: 100, window: "1m", algorithm: "concurrency" },
} as const;

for (const [name, Framework] of Object.entries({ Koa, "Koa 2": Koa2 })) {
  for (const [what, limit] of Object.entries(limits)) {
    describe(`${what} that middleware of an application calls by hand on ${name}`, () => {
      /** The answer of an application that passes this handler as `next`. */
      async function ask(handler: (ctx: Context) => unknown): Promise<string> {
        const gate = portcullis({ redis: "memory", prefix: freshPrefix(), logger: silentLogger });
        const middleware = gate.limit(limit);
        const app = new Framework();
        app.silent = true;
        app.use(async (ctx) => {
          const behind: unknown = middleware(ctx, () => handler(ctx) as Promise<unknown>);
          try {
            await behind;
            ctx.body = behind instanceof Promise ? "done" : "no promise";
          } catch (error) {
            ctx.body = String(error);
          }
        });
        const answer = app.callback();
        const server = createServer((req, res) => void answer(req, res));
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        cleanUpInTest(async () => {
          server.closeAllConnections();
          server.close();
          await gate.close();
        });
        const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
        return response.text();
      }

      it("returns a promise, also if the handler returns none", async () => {
        expect(await ask(() => "a value")).to.equal("done");
        expect(await ask(() => undefined)).to.equal("done");
      });

      it("rejects with the error of the handler, also if the handler is not async", async () => {
        const refuse = (): never => {
          throw new TypeError("no");
        };
        expect(await ask(refuse)).to.equal("TypeError: no");
        expect(await ask(() => Promise.reject(new TypeError("no")))).to.equal("TypeError: no");
      });
    });
  }
}
