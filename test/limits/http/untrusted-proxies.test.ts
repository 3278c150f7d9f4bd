import { expect } from "chai";
import { adapters } from "../../support/app.js";
import type { RunningApp, TestApp } from "../../support/app.js";
import { send } from "../../support/http.js";

for (const adapter of adapters) {
  describe(`requests that a proxy forwarded on ${adapter.name}`, () => {
    async function start(rest: Partial<TestApp> = {}): Promise<{ app: RunningApp; said: string[] }> {
      const said: string[] = [];
      const logger = { debug: () => undefined, warn: (_fields: object, message: string) => void said.push(message) };
      const limits = [{ name: "ip", per: "ip", limit: 5000, window: "1m" }] as const;
      const app = await adapter.start({
        options: { redis: "memory", limits, logger },
        routes: { "GET /": () => ({}) },
        ...rest,
      });
      return { app, said };
    }

    async function findings({ gate }: RunningApp): Promise<string[]> {
      return (await gate.examine()).filter(({ code }) => code === "proxy_untrusted").map(({ severity }) => severity);
    }

    it("are a warning once and a finding, while the application trusts no proxy", async () => {
      const { app, said } = await start();
      await send(app.url);
      expect([said, await findings(app)]).to.deep.equal([[], []]);
      for (const from of ["192.0.2.1", "192.0.2.2"]) await send(app.url, { from });
      expect(said).to.have.length(1);
      expect(said[0]).to.include("all clients behind it count as one address").and.include("trust proxy");
      expect(await findings(app)).to.deep.equal(["warning"]);
    });

    it("are none where the proxy is trusted", async () => {
      const { app, said } = await start({ behindProxy: true });
      await send(app.url, { from: "192.0.2.1" });
      expect([said, await findings(app)]).to.deep.equal([[], []]);
    });
  });
}
