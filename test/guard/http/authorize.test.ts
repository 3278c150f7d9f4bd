import { expect } from "chai";
import { nowSeconds, signToken, testAuth } from "@portcullis/testkit";
import { allAdapters, nodeAdapter } from "../../support/app.js";
import type { AnyGate, AnyMiddleware, RunningApp } from "../../support/app.js";
import { send } from "../../support/http.js";

for (const adapter of [...allAdapters, nodeAdapter]) {
  describe(`authorisation on ${adapter.name}`, () => {
    const running: RunningApp[] = [];
    afterEach(async () => {
      for (const app of running.splice(0)) await app.close();
    });

    async function start(use: (gate: AnyGate) => AnyMiddleware[], auth: object = {}): Promise<RunningApp> {
      const app = await adapter.start({
        options: { redis: "memory", auth: { ...testAuth, ...auth } },
        use,
        routes: { "GET /me": ({ auth: who }) => ({ subject: who?.subject ?? null }), "GET /open": () => "open" },
      });
      running.push(app);
      return app;
    }

    async function statuses(
      use: (gate: AnyGate) => AnyMiddleware,
      tokens: object[],
      auth: object = {},
    ): Promise<number[]> {
      const { url } = await start((gate) => [gate.guard(), use(gate)], auth);
      const all: number[] = [];
      for (const claims of tokens) {
        all.push((await send(`${url}/me`, { token: await signToken(claims as Record<string, unknown>) })).status);
      }
      return all;
    }

    it("asks for one scope of several", async () => {
      const tokens = [{ scope: "a" }, { scp: ["b"] }, { scope: "c a" }, { scope: "c" }, { scope: "ab" }, {}];
      expect(await statuses((gate) => gate.requireAnyScope("a", "b"), tokens)).to.deep.equal([
        200, 200, 200, 403, 403, 403,
      ]);
    });

    it("asks for a claim by its value, its path, or a function", async () => {
      const plans = [{ plan: "gold" }, { plan: "silver" }, { plan: ["gold"] }, {}];
      expect(await statuses((gate) => gate.requireClaim("plan", "gold"), plans)).to.deep.equal([200, 403, 403, 403]);
      const nested = [{ org: { plan: 2 } }, { "org.plan": 2 }, { org: "plan" }, { org: null }];
      expect(await statuses((gate) => gate.requireClaim("org.plan", 2), nested)).to.deep.equal([200, 200, 403, 403]);
      const test = (value: unknown, { subject }: { subject: string }) => value === undefined && subject === "alice";
      expect(
        await statuses((gate) => gate.requireClaim("banned", test), [{}, { banned: 1 }, { sub: "bob" }]),
      ).to.deep.equal([200, 403, 403]);
      expect(await statuses((gate) => gate.requireClaim("constructor.name", "Object"), [{}])).to.deep.equal([403]);
    });

    it("asks for a role, wherever the issuer keeps them", async () => {
      const tokens = [
        { roles: ["admin"] },
        { role: "admin" },
        { roles: ["a b", "admin"] },
        { roles: "user admin" },
        {},
      ];
      expect(await statuses((gate) => gate.requireRole("admin", "root"), tokens)).to.deep.equal([
        200, 200, 200, 403, 403,
      ]);
      const keycloak = [{ realm_access: { roles: ["admin"] } }, { roles: ["admin"] }, { realm_access: null }];
      const rolesClaim = "realm_access.roles";
      expect(await statuses((gate) => gate.requireRole("admin"), keycloak, { rolesClaim })).to.deep.equal([
        200, 403, 403,
      ]);
    });

    it("requires a recent and a strong sign-in, and states the requirements (RFC 9470)", async () => {
      const { url } = await start(
        (gate) => [gate.guard(), gate.requireRecentAuth({ maxAge: "5m", acr: ["gold", "silver"] })],
        {
          realm: "api",
        },
      );
      const ask = async (claims: Record<string, unknown>) => send(`${url}/me`, { token: await signToken(claims) });
      const now = nowSeconds();
      expect((await ask({ auth_time: now - 200, acr: "silver" })).status).to.equal(200);
      for (const claims of [
        { auth_time: now - 400, acr: "gold" },
        { auth_time: now, acr: "lead" },
        { acr: "gold" },
        { auth_time: "now" },
      ]) {
        const answer = await ask(claims);
        expect(answer.status).to.equal(401);
        expect(answer.json).to.include({ code: "authentication_stale" });
        expect(answer.headers["www-authenticate"]).to.match(
          /^Bearer realm="api", error="insufficient_user_authentication", error_description="[^"]+", acr_values="gold silver", max_age="300"$/,
        );
      }
    });

    it("answers 401, not 403, where nobody is signed in", async () => {
      const { url } = await start((gate) => [gate.guard({ optional: true }), gate.requireRole("admin")]);
      const answer = await send(`${url}/me`);
      expect(answer.status).to.equal(401);
      expect(answer.json).to.include({ code: "credentials_required" });
    });

    it("applies a middleware where a condition says", async () => {
      const { url } = await start((gate) => [gate.when({ path: "/me", method: "get" }, gate.guard())]);
      expect((await send(`${url}/me`)).status).to.equal(401);
      expect((await send(`${url}/open`)).status).to.equal(200);
    });

    it("passes a request that one of several checks passes, and otherwise answers with the first refusal", async () => {
      const { url } = await start((gate) => [
        gate.guard(),
        gate.some(gate.requireScopes("a"), gate.requireRole("admin")),
      ]);
      const ask = async (claims: Record<string, unknown>) => send(`${url}/me`, { token: await signToken(claims) });
      expect((await ask({ scope: "a" })).status).to.equal(200);
      expect((await ask({ roles: ["admin"] })).status).to.equal(200);
      expect((await ask({})).json).to.include({ code: "scope_insufficient" });
    });

    it("lets the anonymous pass where it is optional, and bad tokens never", async () => {
      const { url } = await start((gate) => [gate.optional(gate.guard())]);
      expect((await send(`${url}/me`)).json).to.deep.equal({ subject: null });
      expect((await send(`${url}/me`, { token: "bad" })).status).to.equal(401);
      expect((await send(`${url}/me`, { token: await signToken() })).json).to.deep.equal({ subject: "alice" });
    });

    it("fails at start-up with contradictory options", async () => {
      const wrong: ((gate: AnyGate) => unknown)[] = [
        (gate) => gate.requireScopes(),
        (gate) => gate.requireScopes("a b"),
        (gate) => gate.requireAnyScope(),
        (gate) => gate.requireScopes(["a"] as unknown as string),
        (gate) => gate.requireClaim("", 1),
        (gate) => gate.requireClaim("a", undefined as unknown as string),
        (gate) => gate.requireRole(),
        (gate) => gate.requireRecentAuth({}),
        (gate) => gate.requireRecentAuth({ maxAge: "0s" }),
        (gate) => gate.requireRecentAuth({ acr: ['"'] }),
        (gate) => gate.some(),
        (gate) => gate.some(() => undefined),
        (gate) => gate.when({}, gate.guard()),
        (gate) => gate.unless({ path: "no-slash" }, gate.guard()),
      ];
      const { gate } = await start((made) => [made.guard()]);
      for (const make of wrong) expect(() => make(gate), make.toString()).to.throw(/^portcullis: /);
    });
  });
}
