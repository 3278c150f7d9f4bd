import { setTimeout as pause } from "node:timers/promises";
import { expect } from "chai";
import { TestIssuer, testAudience } from "@portcullis/testkit";
import type { IssuerTrouble } from "@portcullis/testkit";
import { adapters } from "../../support/app.js";
import type { RunningApp } from "../../support/app.js";
import { send } from "../../support/http.js";
import { isSoak } from "../../support/soak.js";

const troubles: readonly IssuerTrouble[] = [
  ...(["stopped", "slow", "huge", "garbage", "html", "error", "redirect", "impostor", "empty", "unusable"] as const),
];

const unknown = isSoak ? 1000 : 200;

for (const [index, adapter] of adapters.entries()) {
  describe(`on an identity provider's bad day, the gate on ${adapter.name}`, function () {
    this.timeout(30_000);
    let issuer: TestIssuer;
    let warnings: unknown[];
    const running: RunningApp[] = [];

    beforeEach(async () => {
      warnings = [];
      issuer = await TestIssuer.start("ES256");
    });
    afterEach(async () => {
      for (const app of running.splice(0)) await app.close();
      await issuer.close();
    });

    async function start(remoteKeys: object = {}, issuerUrl = issuer.url): Promise<RunningApp> {
      const app = await adapter.start({
        options: {
          redis: "memory",
          auth: {
            issuer: issuerUrl,
            audience: testAudience,
            remoteKeys: { refresh: "150ms", maxStale: "1h", cooldown: "100ms", timeout: "200ms", ...remoteKeys },
          },
          logger: { debug: () => undefined, warn: (...said: unknown[]) => void warnings.push(said) },
        },
        routes: { "GET /me": ({ auth }) => ({ subject: auth?.subject }) },
      });
      running.push(app);
      return app;
    }

    async function statusOf({ url }: RunningApp, token: string): Promise<number> {
      return (await send(`${url}/me`, { token })).status;
    }

    async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
      const patience = Date.now() + 15_000;
      while (!(await condition())) {
        if (Date.now() > patience) throw new Error("it did not come to that");
        await pause(20);
      }
    }

    /** On a busy machine a fetch may take longer than it is given: then there is another. */
    function becomes(status: number, app: RunningApp, token: string): Promise<void> {
      return until(async () => (await statusOf(app, token)) === status);
    }

    it("rotates keys without a failed request", async () => {
      const app = await start({ refresh: "10m", cooldown: "10ms", timeout: "5s" });
      const statuses: number[] = [];
      const old = await issuer.sign();
      const load = { going: true };
      const sending = (async () => {
        while (load.going) {
          statuses.push(await statusOf(app, await issuer.sign()));
          statuses.push(await statusOf(app, old));
        }
      })();
      for (let round = 0; round < 3; round += 1) {
        await pause(100);
        // Signs at once with a key that nobody has fetched yet: the unknown kid is looked up.
        await pause(120);
        await issuer.rotate({ overlap: true });
      }
      const begin = await issuer.announce();
      await pause(300);
      begin();
      await pause(200);
      load.going = false;
      await sending;
      expect(statuses.length).to.be.greaterThan(20);
      expect(statuses.filter((status) => status !== 200)).to.deep.equal([]);
    });

    it("rotates without a failed request also by the defaults, right after its keys were fetched, under load", async () => {
      const app = await start({ refresh: "10m", cooldown: "30s", timeout: "5s" });
      const old = await issuer.sign();
      const statuses = await Promise.all(Array.from({ length: 30 }, () => statusOf(app, old)));
      await issuer.rotate({ overlap: true });
      const fresh = await Promise.all(Array.from({ length: 30 }, () => issuer.sign()));
      statuses.push(...(await Promise.all([...fresh, old].map((token) => statusOf(app, token)))));
      expect(new Set(statuses)).to.deep.equal(new Set([200]));
      expect(issuer.fetches.get("/jwks")).to.equal(2);
    });

    it("refuses tokens of an old key once the issuer has withdrawn the key", async () => {
      const app = await start();
      const token = await issuer.sign();
      await becomes(200, app, token);
      await issuer.rotate();
      await becomes(401, app, token);
      await becomes(200, app, await issuer.sign());
    });

    // How keys are fetched has no framework in it: each trouble is met on one of them.
    for (const trouble of troubles.filter((_, at) => at % adapters.length === index)) {
      it(`goes on with its last good keys while the issuer is ${trouble}, and has new ones soon after`, async () => {
        const app = await start();
        const token = await issuer.sign();
        await becomes(200, app, token);
        issuer.trouble = trouble;
        await until(() => warnings.length > 0);
        for (let round = 0; round < 5; round += 1) expect(await statusOf(app, token)).to.equal(200);
        issuer.trouble = undefined;
        await issuer.rotate({ overlap: true });
        const next = await issuer.sign();
        await becomes(200, app, next);
      });

      it(`answers 503 if it has never had keys and the issuer is ${trouble}, and recovers by itself`, async () => {
        issuer.trouble = trouble;
        const app = await start();
        const token = await issuer.sign();
        const { status, headers, json } = await send(`${app.url}/me`, { token });
        expect([status, (json as { code: string }).code]).to.deep.equal([503, "keys_unavailable"]);
        expect(Number(headers["retry-after"])).to.be.at.least(1);
        expect((await send(`${app.url}/me`)).status).to.equal(401);
        issuer.trouble = undefined;
        await becomes(200, app, token);
      });
    }

    it("survives an issuer that refuses connections, at the start and later", async () => {
      await issuer.goDown();
      const app = await start();
      const token = await issuer.sign();
      expect(await statusOf(app, token)).to.equal(503);
      await issuer.comeBack();
      await becomes(200, app, token);
      await issuer.goDown();
      await until(() => warnings.length >= 3);
      expect(await statusOf(app, token)).to.equal(200);
      await issuer.comeBack();
    });

    it("gives up on keys that are too old", async () => {
      const app = await start({ refresh: "50ms", maxStale: "400ms" });
      const token = await issuer.sign();
      await becomes(200, app, token);
      issuer.trouble = "error";
      await becomes(503, app, token);
      issuer.trouble = undefined;
      await becomes(200, app, token);
    });

    it(`fetches at most once in a cooldown for ${unknown} unknown kids`, async () => {
      const app = await start({ refresh: "10m", cooldown: "1m", timeout: "5s" });
      await statusOf(app, await issuer.sign());
      const before = issuer.fetches.get("/jwks") ?? 0;
      const tokens = await Promise.all(
        Array.from({ length: unknown }, (_, at) => issuer.sign({}, { kid: `unknown-${at}` })),
      );
      for (let start = 0; start < unknown; start += 50) {
        const statuses = await Promise.all(tokens.slice(start, start + 50).map((token) => statusOf(app, token)));
        expect(new Set(statuses)).to.deep.equal(new Set([401]));
      }
      expect((issuer.fetches.get("/jwks") ?? 0) - before).to.be.at.most(1);
    });

    it("logs the host that failed, and no secret in the URL of the keys", async () => {
      const app = await start({}, `http://localhost:1/very-secret-tenant`);
      await until(() => warnings.length > 0);
      expect(await statusOf(app, await issuer.sign({ iss: "http://localhost:1/very-secret-tenant" }))).to.equal(503);
      expect(JSON.stringify(warnings)).to.match(/localhost:1: the request failed: ECONNREFUSED/);
      expect(JSON.stringify(warnings)).not.to.match(/very-secret/);
    });
  });
}
