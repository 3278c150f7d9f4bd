import { nowSeconds, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import type { FakeMiddleware } from "../../support/fake-gate.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";
import { withClaims } from "../../auth/support/mint.js";

const gate = openGate({ auth: testAuth });

/** The status of a request with these claims that passed the guard and meets the middleware; 200 if it passes. */
async function status(middleware: FakeMiddleware, claims: Record<string, unknown> = {}): Promise<number> {
  const exchange = fakeExchange({ headers: { authorization: `Bearer ${withClaims(claims)}` } });
  const admitted = await gate.guard().check(exchange);
  if (!admitted.allowed) throw new Error(`the guard refused: ${admitted.cause}`);
  const verdict = await middleware.check(exchange);
  return verdict.allowed ? 200 : verdict.status;
}

describe("a claim", () => {
  it("passes if it equals the value; of a text and an integer, the decimal text counts", async () => {
    expect(await status(gate.requireClaim("plan", "pro"), { plan: "pro" })).to.equal(200);
    for (const plan of ["Pro", "pro ", ["pro"], { pro: true }, null, undefined, true, 1]) {
      expect(await status(gate.requireClaim("plan", "pro"), { plan }), JSON.stringify(plan)).to.equal(403);
    }
    for (const level of [1, "1"]) {
      expect(await status(gate.requireClaim("level", 1), { level })).to.equal(200);
      expect(await status(gate.requireClaim("level", "1"), { level })).to.equal(200);
    }
    for (const level of ["01", "1.0", " 1", true, [1], 1.5, 2 ** 53, null, ""])
      expect(await status(gate.requireClaim("level", 1), { level }), JSON.stringify(level)).to.equal(403);
    for (const [test, level] of [
      [0.5, 0.5],
      ["", ""],
    ] as const)
      expect(await status(gate.requireClaim("level", test), { level })).to.equal(200);
    for (const level of [undefined, null]) {
      expect(await status(gate.requireClaim("level", ""), { level })).to.equal(403);
      expect(await status(gate.requireClaim("level", 0), { level })).to.equal(403);
    }
    for (const admin of ["true", 1, "", {}])
      expect(await status(gate.requireClaim("admin", true), { admin })).to.equal(403);
  });

  it("passes if the function says true, and says nothing else", async () => {
    expect(
      await status(
        gate.requireClaim("plan", (plan) => plan === "pro"),
        { plan: "pro" },
      ),
    ).to.equal(200);
    expect(
      await status(
        gate.requireClaim("plan", () => false),
        { plan: "pro" },
      ),
    ).to.equal(403);
    for (const answer of [undefined, null, 0, "", Number.NaN]) {
      expect(await status(gate.requireClaim("plan", () => answer as never))).to.equal(403);
    }
  });

  it("does not pass by a function that is asynchronous: a promise is no yes", async () => {
    for (const answer of [false, true]) {
      const test = (async () => Promise.resolve(answer)) as never;
      const outcome = await status(gate.requireClaim("plan", test)).catch((error: unknown) => error);
      if (answer) expect([200, 403]).to.include(outcome instanceof Error ? 403 : outcome);
      else expect(outcome instanceof Error || outcome === 403, String(outcome)).to.be.true;
    }
  });

  it("is found by a path of own members only", async () => {
    expect(await status(gate.requireClaim("org.plan", "pro"), { org: { plan: "pro" } })).to.equal(200);
    expect(await status(gate.requireClaim("org.plan", "pro"), { "org.plan": "pro" })).to.equal(200);
    expect(await status(gate.requireClaim("org.plan", "pro"), { org: "pro" })).to.equal(403);
    for (const path of [
      "__proto__.x",
      "constructor.name",
      "toString",
      "org.length",
      "org.__proto__",
      "org..plan",
      ".",
    ]) {
      const seen: unknown[] = [];
      await status(
        gate.requireClaim(path, (value) => seen.push(value) > 0),
        { org: "pro" },
      );
      expect(seen, path).to.deep.equal([undefined]);
    }
  });
});

describe("a role", () => {
  it("passes if the token has it, as a text or in a list, and under the names that issuers use", async () => {
    for (const claims of [
      { roles: ["admin"] },
      { roles: "admin" },
      { role: "admin" },
      { role: ["user", "admin"] },
      { roles: ["user admin", "admin"] },
      { roles: [null, "admin"], role: "" },
      { roles: { admin: true, user: false } },
      { roles: { admin: { "1234": "shop.example" } } },
    ]) {
      expect(await status(gate.requireRole("admin"), claims), JSON.stringify(claims)).to.equal(200);
    }
    for (const claims of [
      {},
      { roles: ["Admin"] },
      { roles: "administrator" },
      { roles: { user: true, admin: false } },
      { roles: { admin: null } },
      { roles: { user: "admin" } },
      { roles: [null, "", "user"] },
      { roles: "admin,user" },
      { roles: "user admin" },
      { role: "not admin" },
      { role: ["no admin"] },
    ]) {
      expect(await status(gate.requireRole("admin"), claims), JSON.stringify(claims)).to.equal(403);
    }
  });

  it("may be an integer, which is the same as its decimal text", async () => {
    for (const roles of [42, "42", [7, 42], ["7", "42"], { "42": true }]) {
      expect(await status(gate.requireRole(42), { roles }), JSON.stringify(roles)).to.equal(200);
      expect(await status(gate.requireRole("42"), { roles }), JSON.stringify(roles)).to.equal(200);
    }
    expect(await status(gate.requireRole(42), { roles: ["042", "42.0", 420] })).to.equal(403);
    for (const role of [true, 0.5, 2 ** 53, Number.NaN, null, undefined, "", ["a"], {}])
      expect(() => gate.requireRole(role as never), typeof role).to.throw(TypeError, "requireRole() must be");
  });

  it("that is neither text nor an integer makes the token invalid, whatever else it has", async () => {
    for (const role of [true, false, 0.5, 2 ** 53, ["admin"], { admin: true }])
      for (const claims of [{ roles: ["admin", role] }, { role: [role], roles: "admin" }])
        expect(await status(gate.requireRole("admin"), claims), JSON.stringify(claims)).to.equal(401);
  });

  it("may have blanks in its name, and is one role all the same", async () => {
    expect(await status(gate.requireRole("Site Admin"), { role: "Site Admin" })).to.equal(200);
    for (const role of ["Site", "Admin", "Site  Admin", "Site Admin "])
      expect(await status(gate.requireRole("Site Admin"), { role }), role).to.equal(403);
    expect(await status(gate.requireRole("Admin"), { role: "Site Admin" })).to.equal(403);
  });
});

describe("a scope", () => {
  it("passes only whole and in its own spelling", async () => {
    for (const scope of ["orders:read", "a orders:read b", ["orders:read"]])
      expect(await status(gate.requireScopes("orders:read"), { scope })).to.equal(200);
    for (const scope of [
      "orders",
      "orders:reader",
      "Orders:read",
      "orders:read,x",
      "orders:*",
      "*",
      ["orders:read x"],
      { "orders:read": true },
    ]) {
      expect(await status(gate.requireScopes("orders:read"), { scope }), JSON.stringify(scope)).to.equal(403);
    }
  });
});

describe("a recent sign-in", () => {
  const recent = gate.requireRecentAuth({ maxAge: "5m" });

  it("passes within the time, and not beyond", async () => {
    for (const age of [0, 1, 290]) expect(await status(recent, { auth_time: nowSeconds() - age })).to.equal(200);
    for (const age of [302, 3600, 1e9]) expect(await status(recent, { auth_time: nowSeconds() - age })).to.equal(401);
  });

  it("is not one without a time, nor at a time that is none", async () => {
    for (const time of [undefined, null, "", String(nowSeconds()), true, [], {}]) {
      expect(await status(recent, { auth_time: time }), JSON.stringify(time)).to.equal(401);
    }
  });

  it("is not one in the future: milliseconds instead of seconds would be recent for ever", async () => {
    for (const time of [Date.now(), nowSeconds() + 3600, 1e308])
      expect(await status(recent, { auth_time: time }), String(time)).to.equal(401);
  });
});

describe("a request without a user", () => {
  it("passes no authorisation, whatever it asks", async () => {
    const all = [
      gate.requireScopes("a"),
      gate.requireAnyScope("a"),
      gate.requireRole("a"),
      gate.requireClaim("a", () => true),
      gate.requireRecentAuth({ maxAge: "1h" }),
    ];
    for (const middleware of all) {
      const verdict = await middleware.check(fakeExchange());
      expect(verdict).to.include({ allowed: false, status: 401 });
    }
  });
});

describe("a guard made optional", () => {
  const limits = [
    { name: "address", per: "ip", limit: 100, window: "1h" },
    { name: "tenant", per: () => "everybody", limit: 2, window: "1h" },
  ] as const;

  for (const [name, make] of Object.entries({
    "by its option": (own: typeof gate) => own.guard({ optional: true }),
    "by optional()": (own: typeof gate) => own.optional(own.guard()),
  })) {
    it(`${name} treats anonymous requests like others: with a cache, with every limit that does not need a user`, async () => {
      const own = openGate({ auth: testAuth, limits });
      const middleware = make(own);
      const statuses: number[] = [];
      for (let round = 0; round < 4; round += 1) {
        const exchange = fakeExchange();
        const verdict = await middleware.check(exchange);
        statuses.push(verdict.allowed ? 200 : verdict.status);
        if (!verdict.allowed) continue;
        expect(exchange.state.facts.auth).to.equal(undefined);
        expect(exchange.state.facts.cache, "the cache that handlers count on").not.to.equal(undefined);
        expect(exchange.state.facts.quotas.map(({ policy }) => policy)).to.deep.equal(["address", "tenant"]);
      }
      expect(statuses).to.deep.equal([200, 200, 429, 429]);
    });

    it(`${name} refuses invalid credentials`, async () => {
      const own = openGate({ auth: testAuth });
      for (const authorization of ["Bearer x", `Bearer ${withClaims({ exp: 1 })}`]) {
        const verdict = await make(own).check(fakeExchange({ headers: { authorization } }));
        expect(verdict).to.include({ allowed: false, status: 401 });
      }
    });
  }
});
