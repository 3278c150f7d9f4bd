import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { adapters } from "../support/app.js";
import type { AnyGate, AnyMiddleware, RunningApp } from "../support/app.js";
import { send } from "../support/http.js";

const perUser = { name: "orders", per: "user", limit: 1, window: "1m" } as const;
const perTenant = { name: "tenants", per: ["ip", { claim: "org" }], limit: 1, window: "1m" } as const;

for (const adapter of adapters) {
  describe(`middleware that needs a user on ${adapter.name}`, () => {
    interface Trial {
      readonly app: RunningApp;
      /** The warnings about guards. */
      readonly said: () => string[];
    }

    async function start(use: (gate: AnyGate) => AnyMiddleware[]): Promise<Trial> {
      const messages: string[] = [];
      const logger = {
        debug: () => undefined,
        warn: (_fields: object, message: string) => void messages.push(message),
      };
      const app = await adapter.start({
        options: { redis: "memory", auth: testAuth, logger },
        use,
        routes: { "GET /": () => ({}), "GET /public": () => ({}) },
      });
      return { app, said: () => messages.filter((message) => message.includes("mount the guard first")) };
    }

    for (const limit of [perUser, perTenant])
      it(`says once that limit "${limit.name}" before the guard counts nothing`, async () => {
        const { app, said } = await start((gate) => [gate.limit(limit), gate.guard()]);
        const token = await signToken({ org: "o" });
        for (let round = 0; round < 3; round += 1) expect((await send(app.url, { token })).status).to.equal(200);
        expect(said()).to.have.length(1);
        expect(said()[0]).to.include(`limit "${limit.name}"`).and.include("counts no request");
      });

    it("says nothing of a request without a token: routes that need no guard may pass a limit per user first", async () => {
      const { app, said } = await start((gate) => [
        gate.limit(perUser),
        gate.limit(perTenant),
        gate.guard({ optional: true }),
      ]);
      expect((await send(app.url)).status).to.equal(200);
      expect(said()).to.deep.equal([]);
      expect((await send(app.url, { token: await signToken() })).status).to.equal(200);
      expect(said()).to.have.length(2);
    });

    it("says nothing of a limit behind a guard, whoever asks and whatever a condition skips", async () => {
      const { app, said } = await start((gate) => [
        gate.unless({ path: "/public" }, gate.guard({ optional: true })),
        gate.limit(perUser),
        gate.guard({ checks: [gate.authenticate({ optional: true }), gate.limit(perTenant)] }),
      ]);
      const token = await signToken();
      for (const path of ["/public", "/"]) {
        for (const options of [{}, { token }]) await send(app.url + path, options);
      }
      expect(said()).to.deep.equal([]);
    });

    const refusing: Readonly<Record<string, (gate: AnyGate) => AnyMiddleware>> = {
      requireScopes: (gate) => gate.requireScopes("a"),
      requireAnyScope: (gate) => gate.requireAnyScope("a"),
      requireClaim: (gate) => gate.requireClaim("org", "o"),
      requireRole: (gate) => gate.requireRole("admin"),
      requireRecentAuth: (gate) => gate.requireRecentAuth({ maxAge: "1h" }),
      events: (gate) => gate.events({ channel: gate.channels.define("a", { schema: String }), authorize: () => true }),
    };
    for (const [name, make] of Object.entries(refusing))
      it(`says once that ${name}() without a guard of this gate refuses every request`, async () => {
        const { app, said } = await start((gate) => [make(gate)]);
        const token = await signToken({ scope: "a" });
        for (let round = 0; round < 2; round += 1) expect((await send(app.url, { token })).status).to.equal(401);
        expect(said()).to.have.length(1);
        expect(said()[0]).to.include(`${name}()`).and.include("refuses every request");
        const guarded = await start((gate) => [gate.guard({ optional: true }), make(gate)]);
        expect((await send(guarded.app.url)).status).to.equal(401);
        expect(guarded.said()).to.deep.equal([]);
      });

    it("says so of a guard of another gate, whose users do not count", async () => {
      const other = adapter.createGate({ redis: "memory", auth: testAuth, property: "other" });
      const { app, said } = await start((gate) => [other.guard(), gate.requireScopes("a")]);
      expect((await send(app.url, { token: await signToken({ scope: "a" }) })).status).to.equal(401);
      expect(said()).to.have.length(1);
      expect(said()[0]).to.include("another gate");
      await other.close();
    });
  });
}
