import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { portcullis as expressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import { expect } from "chai";
import express from "express";
import express4 from "express4";
import Koa from "koa";
import Koa2 from "koa2";
import { cleanUp } from "../../support/clean-up.js";
import { describeOnEveryFramework } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";

const forwarding = [
  ...["x-forwarded-for", "forwarded", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-forwarded"],
  ...["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-server", "x-original-forwarded-for"],
  ...["cf-connecting-ip", "true-client-ip", "fastly-client-ip", "fly-client-ip", "x-azure-clientip"],
  ...["x-appengine-user-ip", "x-envoy-external-address", "x-vercel-forwarded-for", "do-connecting-ip"],
];
const onceExceptFor = (...allow: string[]) => ({ name: "ip", per: "ip", limit: 1, window: "1m", allow }) as const;

describeOnEveryFramework("the addresses that a limit lets pass uncounted", (start) => {
  const ask = async (url: string, headers: Record<string, string> = {}, count = 3): Promise<number[]> => {
    const statuses = [];
    for (let asked = 0; asked < count; asked += 1) statuses.push((await send(`${url}/me`, { headers })).status);
    return statuses;
  };

  it("are those of clients without a proxy", async () => {
    const { url } = await start({ auth: undefined, limits: [onceExceptFor("127.0.0.1")] });
    expect(await ask(url)).to.deep.equal([200, 200, 200]);
  });

  for (const header of forwarding) {
    it(`are not read from the field of an untrusted proxy: ${header}`, async () => {
      const warnings: string[] = [];
      const logger = { debug: () => undefined, warn: (_fields: object, text: string) => void warnings.push(text) };
      const { url, gate } = await start({ auth: undefined, limits: [onceExceptFor("127.0.0.0/8")], logger });
      expect(await ask(url, { [header]: "192.0.2.1" })).to.deep.equal([200, 429, 429]);
      expect(await ask(url, { [header]: "" })).to.deep.equal([429, 429, 429]);
      expect(await ask(url), "others").to.deep.equal([200, 200, 200]);
      expect(warnings.filter((text) => text.includes("allow is not applied"))).to.have.length(1);
      expect((await gate.examine()).map(({ code }) => code)).to.include("proxy_untrusted");
    });
  }

  it("are those that a trusted proxy reports, never its own", async () => {
    const limits = [onceExceptFor("127.0.0.0/8", "10.0.0.0/8")];
    const { url, gate } = await start({ auth: undefined, limits }, { behindProxy: true });
    expect(await ask(url, { "x-forwarded-for": "10.1.2.3" })).to.deep.equal([200, 200, 200]);
    expect(await ask(url, { "x-forwarded-for": "192.0.2.1" })).to.deep.equal([200, 429, 429]);
    expect(await ask(url, { "x-forwarded-for": "10.1.2.3, 192.0.2.2" })).to.deep.equal([200, 429, 429]);
    expect((await gate.examine()).map(({ code }) => code)).not.to.include("proxy_untrusted");
    // The framework does not read these, so that the address is the proxy's.
    expect(await ask(url, { "x-real-ip": "192.0.2.3" })).to.deep.equal([200, 429, 429]);
  });

  it("do not include that of a trusted proxy that reports no address", async () => {
    for (const value of ["", ",", " , "]) {
      const limits = [onceExceptFor("127.0.0.0/8")];
      const { url } = await start({ auth: undefined, limits }, { behindProxy: true });
      expect(await ask(url, { "x-forwarded-for": value }), value).to.deep.equal([200, 429, 429]);
    }
  });
});

describe("the addresses that a limit lets pass uncounted, by the framework's own settings", () => {
  for (const [name, framework] of [
    ["Express", express],
    ["Express 4", express4],
  ] as const) {
    it(`go by each way to trust a proxy in ${name}`, async () => {
      for (const [trust, passes] of [
        ["loopback", true],
        [1, true],
        [(ip: string) => ip === "127.0.0.1", true],
        [false, false],
        [0, false],
        [undefined, false],
        ["203.0.113.0/24", false],
      ] as const) {
        const gate = expressGate({ redis: "memory", logger: silentLogger, limits: [onceExceptFor("127.0.0.1")] });
        const app = framework();
        if (trust !== undefined) app.set("trust proxy", trust);
        app.use(gate.guard(), (_req, res) => void res.end());
        const url = await listen(createServer(app), () => gate.close());
        // Told by the proxy where it is trusted, and otherwise the proxy's own.
        const statuses = await twice(url, { "x-forwarded-for": "127.0.0.1" });
        expect(statuses, String(trust)).to.deep.equal(passes ? [200, 200] : [200, 429]);
      }
    });
  }

  for (const [name, Framework] of [
    ["Koa", Koa],
    ["Koa 2", Koa2],
  ] as const) {
    it(`are read from the header that is configured in ${name}`, async () => {
      const gate = koaGate({
        redis: "memory",
        logger: silentLogger,
        limits: [onceExceptFor("10.0.0.0/8", "127.0.0.1")],
      });
      const app = new Framework({ proxy: true, proxyIpHeader: "X-Real-IP", maxIpsCount: 1 });
      app.use(gate.guard()).use((ctx) => void (ctx.body = ""));
      const handle = app.callback();
      const server = createServer((req, res) => void handle(req, res));
      const url = await listen(server, () => gate.close());
      expect(await twice(url, { "x-real-ip": "10.1.2.3" })).to.deep.equal([200, 200]);
      expect(await twice(url, { "x-real-ip": "192.0.2.1" })).to.deep.equal([200, 429]);
      expect(await twice(url, { "x-forwarded-for": "10.1.2.3" })).to.deep.equal([200, 429]);
    });
  }
});

async function listen(server: ReturnType<typeof createServer>, close: () => Promise<void>): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanUp(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function twice(url: string, headers: Record<string, string>): Promise<number[]> {
  return [(await send(url, { headers })).status, (await send(url, { headers })).status];
}
