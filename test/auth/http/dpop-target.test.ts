import { expect } from "chai";
import { Router } from "express";
import type { RequestHandler } from "express";
import type { Context, Next } from "koa";
import { accessTokenHash, createDpopClient, signToken, testAuth } from "@portcullis/testkit";
import type { DpopClient } from "@portcullis/testkit";
import { adapters } from "../../support/app.js";
import type { AnyGate, AnyMiddleware, RunningApp } from "../../support/app.js";
import { send } from "../../support/http.js";
import { exchangeRaw, statusOf } from "../../support/raw.js";

/** A guard below a path that the framework takes away for those that are mounted there. */
const mounted: Readonly<Record<string, (gate: AnyGate) => AnyMiddleware>> = {
  Express: (gate) => Router().use("/orders", gate.guard() as RequestHandler) as unknown as AnyMiddleware,
  Koa: (gate) =>
    (async (ctx: Context, next: Next) => {
      const { path } = ctx;
      ctx.path = path.replace(/^\/orders/, "");
      await (gate.guard() as (ctx: Context, next: Next) => Promise<void>)(ctx, async () => {
        ctx.path = path;
        await next();
      });
    }) as unknown as AnyMiddleware,
};

for (const adapter of adapters) {
  describe(`the URL of a DPoP proof on ${adapter.name}, behind a proxy that takes a prefix away,`, () => {
    let client: DpopClient;
    let app: RunningApp;
    let token: string;

    before(async () => {
      client = await createDpopClient();
      token = await signToken({ cnf: { jkt: client.thumbprint } });
      app = await adapter.start({
        options: { redis: "memory", publicUrl: "https://example.com/api/", auth: { ...testAuth, dpop: true } },
        use: (gate) => [mounted[adapter.name]!(gate)],
        routes: { "GET /orders/7": () => "ok" },
      });
    });
    after(() => app.close());

    const proofFor = (htu: string) => client.proof({ htm: "GET", htu, ath: accessTokenHash(token) });

    it("is the URL that the client requested: publicUrl and the whole path, wherever the guard is mounted", async () => {
      const status = async (htu: string, headers: Record<string, string> = {}) => {
        const dpop = await proofFor(htu);
        return (
          await send(`${app.url}/orders/7?page=2`, { headers: { authorization: `DPoP ${token}`, dpop, ...headers } })
        ).status;
      };
      expect(await status("https://example.com/api/orders/7")).to.equal(200);
      expect(await status("https://example.com/api/orders/7?page=3#top")).to.equal(200);
      const spoofed = { host: "evil.example", "x-forwarded-host": "evil.example", "x-forwarded-prefix": "/evil" };
      expect(await status("https://example.com/api/orders/7", spoofed)).to.equal(200);
      for (const htu of [
        "https://example.com/orders/7",
        "https://example.com/api/7",
        "https://example.com/7",
        "https://example.com/api/api/orders/7",
        "http://example.com/api/orders/7",
        "https://evil.example/api/orders/7",
        `${app.url}/orders/7`,
      ])
        expect(await status(htu, spoofed), htu).to.equal(401);
    });

    it("takes nothing but the path from a request line in absolute form", async () => {
      for (const [htu, status] of [
        ["https://example.com/api/orders/7", 200],
        ["https://evil.example/orders/7", 401],
      ] as const) {
        const lines = [
          "GET https://evil.example/orders/7 HTTP/1.1",
          "Host: evil.example",
          `Authorization: DPoP ${token}`,
          `DPoP: ${await proofFor(htu)}`,
          "Connection: close",
        ];
        const answer = await exchangeRaw(app.url, `${lines.join("\r\n")}\r\n\r\n`);
        expect(statusOf(answer), htu).to.equal(status);
      }
    });
  });
}
