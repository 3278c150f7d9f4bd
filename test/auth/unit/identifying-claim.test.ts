import { nowSeconds, testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import fc from "fast-check";
import {
  checkIdentifying,
  identifyingClaim,
  identifyingText,
  identifyingTexts,
  notIdentifying,
} from "../../../packages/core/src/auth/identifying-claim.js";
import type { VerifiedToken } from "../../../packages/core/src/auth/verifier.js";
import { RequestState } from "../../../packages/core/src/adapter.js";
import type { Denied, EndedSessions, RequestCache } from "../../../packages/core/src/index.js";
import { cleanUpInTest } from "../../support/clean-up.js";
import { rejectionOf } from "../../support/rejection.js";
import { openProcess } from "../../cache/support/cache-process.js";
import type { FakeProcess } from "../../cache/support/cache-process.js";
import type { FakeGate } from "../../support/fake-gate.js";
import { admit, fakeExchange, openGate, present, refuse } from "../../support/fake-gate.js";
import { withClaims } from "../support/mint.js";

/** Values that name nobody, whoever asks. */
const wrong: readonly unknown[] = [true, false, 0.5, -1.5, 2 ** 53, -(2 ** 53), 1e300, [], ["a"], {}, { a: 1 }];
/** The cache of a request whose token some gate has verified. */
function cacheOf({ service }: FakeProcess, principal: string, claims: object): RequestCache {
  const state = new RequestState();
  state.identify({ auth: { principal, subject: principal, issuer: "issuer", claims } } as VerifiedToken);
  return service.create(state);
}

/** Also not in JSON. */
const beyondJson: readonly unknown[] = [...wrong, Number.NaN, Infinity, -Infinity, 5n, Symbol("x"), () => "x"];

describe("a value that identifies", () => {
  it("is text as it is, or a safe integer as its decimal text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", minLength: 1 }), (text) => {
        expect(identifyingText(text)).to.equal(text);
      }),
    );
    fc.assert(
      fc.property(fc.maxSafeInteger(), (integer) => {
        expect(identifyingText(integer)).to.equal(BigInt(integer).toString());
      }),
    );
    expect([identifyingText(-0), identifyingText(0), identifyingText(1e3)]).to.deep.equal(["0", "0", "1000"]);
  });

  it("counts as missing if it is null, undefined or empty, and identifies no user with any other invalid value", () => {
    for (const value of [undefined, null, ""]) expect(identifyingText(value)).to.equal(undefined);
    for (const value of beyondJson) expect(identifyingText(value), typeof value).to.equal(notIdentifying);
  });

  it("is never the same for two values but a number and its text", () => {
    const value = fc.oneof(fc.string(), fc.integer(), fc.double(), fc.maxSafeInteger().map(String));
    fc.assert(
      fc.property(value, value, (one, other) => {
        const [a, b] = [identifyingText(one), identifyingText(other)];
        if (typeof a === "string" && a === b) expect(String(one)).to.equal(String(other));
      }),
    );
  });

  it("is found by the name of a claim, or by its path, among own members only", () => {
    const claims = { "org.plan": 1, org: { plan: 2, id: 3 }, text: "abc", list: ["a"] };
    expect(identifyingClaim(claims, "org.plan")).to.equal("1");
    expect(identifyingClaim(claims, "org.id")).to.equal("3");
    expect(identifyingClaim(claims, "list")).to.equal(notIdentifying);
    for (const name of ["toString", "constructor.name", "__proto__", "text.length", "org.toString", "org..id", ""])
      expect(identifyingClaim(claims, name), name).to.equal(undefined);
  });

  it("is a member of a list or a key of an object, of which none counts as missing", () => {
    expect(identifyingTexts(["a", 7, null, ""])).to.deep.equal(["a", "7"]);
    expect(identifyingTexts({ a: true, b: {}, "7": 0, c: false, d: null })).to.have.members(["a", "b", "7"]);
    expect(identifyingTexts("a b")).to.deep.equal(["a b"]);
    expect(identifyingTexts(undefined)).to.deep.equal([]);
    for (const value of [true, 0.5, [["a"]], ["a", {}], ["a", 2 ** 53]])
      expect(identifyingTexts(value)).to.equal(notIdentifying);
  });

  it("is text or a safe integer: a call with another value throws a TypeError that names the correct argument", () => {
    expect([checkIdentifying("x", 42), checkIdentifying("x", "42"), checkIdentifying("x", -0)]).to.have.members([
      ...["42", "42", "0"],
    ]);
    for (const value of [undefined, null, "", ...beyondJson])
      expect(() => checkIdentifying("the tenant", value), typeof value).to.throw(
        TypeError,
        /^portcullis: the tenant must be a non-empty string or a safe integer, not /,
      );
  });
});

/** The denial of a good token by a limit on its own, which signs nobody out. */
async function refuseAlone(gate: FakeGate, token: string): Promise<Denied> {
  const { verdict, auth } = await present(gate, token);
  if (verdict.allowed) throw new Error("accepted");
  if (auth === undefined) throw new Error("signed out");
  return verdict;
}

describe("a token whose identifying claim is neither text nor an integer", () => {
  const limits = [{ name: "tenant", per: { claim: "org.tenant" }, limit: 100, window: "1m" }] as const;

  async function causesOf(
    gate: FakeGate,
    claims: (value: unknown) => Record<string, unknown>,
    refusal = refuse,
  ): Promise<Set<string>> {
    const causes = new Set<string>();
    for (const value of wrong) {
      const { status, problem, cause, headers } = await refusal(gate, withClaims(claims(value)));
      expect([status, problem.code], JSON.stringify(value)).to.deep.equal([401, "token_invalid"]);
      expect(headers.map(([name]) => name)).to.include("WWW-Authenticate");
      causes.add(cause);
    }
    for (const value of [undefined, null, "", "a", 42]) await admit(gate, withClaims(claims(value)));
    return causes;
  }

  it("is invalid if the claim names the organisation", async () => {
    const gate = openGate({ auth: testAuth });
    expect([...(await causesOf(gate, (org_id) => ({ org_id })))]).to.deep.equal([
      "the claim of revocation.orgClaim is neither text nor a safe integer",
    ]);
  });

  it("is invalid if the claim names the tenant of caches", async () => {
    const gate = openGate({ auth: testAuth, revocation: false, cache: { tenantClaim: "org.id" } });
    expect([...(await causesOf(gate, (id) => ({ org: { id }, org_id: [] })))]).to.deep.equal([
      "the claim of cache.tenantClaim is neither text nor a safe integer",
    ]);
  });

  it("is invalid where a limit counts by it, in guard() and in limit()", async () => {
    const cause = "a claim that a limit counts by is neither text nor a safe integer";
    const gate = openGate({ auth: testAuth, limits });
    expect([...(await causesOf(gate, (tenant) => ({ org: { tenant } })))]).to.deep.equal([cause]);
    const plain = openGate({ auth: testAuth });
    for (const more of [{}, { skip: () => Promise.resolve(false) }]) {
      const checks = [plain.authenticate(), plain.limit({ ...limits[0], ...more })];
      const asked = { ...plain, guard: () => plain.guard({ checks }) };
      expect([...(await causesOf(asked, (tenant) => ({ org: { tenant } }), refuseAlone))]).to.deep.equal([cause]);
    }
  });

  it("passes where nothing looks at it", async () => {
    const gate = openGate({
      auth: testAuth,
      revocation: false,
      limits: [{ ...limits[0], when: { path: "/other" } }],
    });
    for (const value of wrong) await admit(gate, withClaims({ org: { tenant: value }, org_id: value, roles: value }));
  });

  it("counts against its address alone", async () => {
    const gate = openGate({
      auth: testAuth,
      limits: [{ name: "ip", per: "ip", limit: 100, window: "1m" }, ...limits],
    });
    await refuse(gate, withClaims({ org: { tenant: true } }));
    expect((await gate.quotas.peek("ip", "192.0.2.1")).consumed).to.equal(1);
    await admit(gate, withClaims({ org: { tenant: 7 } }));
    expect((await gate.quotas.peek("tenant", { issuer: testIssuer, value: "7" })).consumed).to.equal(1);
  });

  it("is refused by forTenant() too, where another gate has verified it", () => {
    const scope = cacheOf(openProcess(undefined, { tenantClaim: "tenant" }), "alice", { tenant: ["acme"] });
    expect(() => scope.forTenant())
      .to.throw()
      .that.includes({ name: "DenialError", status: 401, code: "token_invalid" });
  });
});

describe("a token without sub", () => {
  const user = { name: "user", per: "user", limit: 1, window: "1m" } as const;
  const tenant = { name: "tenant", per: { claim: "tenant" }, limit: 1, window: "1m" } as const;

  for (const [what, claims] of [
    ["at all", { sub: undefined }],
    ["but an empty one", { sub: "" }],
  ] as const) {
    it(`${what}, has no principal, and is refused by limits per user`, async () => {
      const auth = await admit(openGate({ auth: testAuth }), withClaims(claims));
      expect([auth.subject, auth.principal]).to.deep.equal(["", ""]);
      const cause = "the token has no subject, which a limit per user needs";
      const gate = openGate({ auth: testAuth, limits: [user] });
      expect((await refuse(gate, withClaims(claims))).cause).to.equal(cause);
      const plain = openGate({ auth: testAuth });
      const checks = [plain.authenticate(), plain.limit(user)];
      const asked = { ...plain, guard: () => plain.guard({ checks }) };
      expect((await refuseAlone(asked, withClaims(claims))).cause).to.equal(cause);
    });

    it(`${what}, is counted by the claim of a limit, and by address if that claim is missing too`, async () => {
      const gate = openGate({ auth: testAuth, limits: [tenant] });
      const allows = async (more: object): Promise<boolean> =>
        (await present(gate, withClaims({ ...claims, ...more }))).verdict.allowed;
      expect([await allows({ tenant: 1 }), await allows({ tenant: "1" }), await allows({ tenant: 2 })]).to.deep.equal([
        ...[true, false, true],
      ]);
      expect([await allows({}), await allows({ tenant: null })]).to.deep.equal([true, false]);
    });

    it(`${what}, is refused where sub is required`, async () => {
      for (const more of [{ requiredClaims: ["sub"] }, { strict: true }]) {
        const gate = openGate({ auth: { ...testAuth, ...more } });
        await refuse(gate, withClaims({ client_id: "c", ...claims }));
      }
    });
  }
});

describe("a number and its text name the same", () => {
  it("organisation: in revokeGroup(), isRevoked(), concerns() and issue()", async () => {
    const gate = openGate({ tokens: { signingKey: testSecret, issuer: testIssuer, audience: "shop" } });
    const heard: EndedSessions[] = [];
    cleanUpInTest(gate.sessions.onRevoked((ended) => heard.push(ended)));
    const iat = nowSeconds() - 10;
    const tokens = [42, "42"].map((org_id) => withClaims({ aud: "shop", org_id, iat }));
    const other = withClaims({ aud: "shop", org_id: 420, iat });
    const known = await Promise.all(tokens.map((token) => admit(gate, token)));
    const issued = await gate.tokens.issue({ subject: "bob", org: 42 });
    expect((await gate.sessions.list("bob"))[0]?.org).to.equal("42");
    expect(await gate.sessions.revokeGroup(42)).to.equal(1);
    for (const token of [...tokens, issued.accessToken]) await refuse(gate, token);
    const bystander = await admit(gate, other);
    expect(heard[0]?.org).to.equal("42");
    expect([...known, bystander].map((auth) => heard[0]?.concerns(auth))).to.deep.equal([true, true, false]);
    for (const org_id of [42, "42"])
      expect(await gate.revocations.isRevoked({ jti: "x", issuedAt: iat, claims: { org_id } })).to.equal(true);
    expect(await gate.revocations.isRevoked({ jti: "x", issuedAt: iat, claims: { org_id: 43 } })).to.equal(false);
  });

  it("tenant: in forTenant()", async () => {
    const process = openProcess(undefined, { tenantClaim: "tenant" });
    const { cache } = process;
    await cacheOf(process, "alice", { tenant: 42 }).forTenant().set("k", "of 42");
    expect(await cacheOf(process, "bob", { tenant: "42" }).forTenant().get("k")).to.equal("of 42");
    expect([await cache.forTenant(42).get("k"), await cache.forTenant("42").get("k")]).to.deep.equal([
      "of 42",
      "of 42",
    ]);
    expect(await cache.forTenant(43).get("k")).to.equal(undefined);
    expect(() => cacheOf(process, "alice", { tenant: "" }).forTenant()).to.throw(/tenantClaim/);
  });

  it("counter of a limit: for tokens, and for operators", async () => {
    const gate = openGate({
      auth: testAuth,
      limits: [{ name: "t", per: { claim: "tenant" }, limit: 5, window: "1m" }],
    });
    for (const tenant of [42, "42"]) await admit(gate, withClaims({ tenant }));
    for (const value of [42, "42"])
      expect((await gate.quotas.peek("t", { issuer: testIssuer, value })).consumed).to.equal(2);
    await gate.quotas.block("t", { issuer: testIssuer, value: 42 }, { for: "1h" });
    for (const tenant of [42, "42"])
      expect((await present(gate, withClaims({ tenant }))).verdict).to.include({ allowed: false, status: 429 });
  });
});

describe("a call with a value that identifies no user", () => {
  it("throws a TypeError that names the correct argument, and has no effect", async () => {
    const gate = openGate({
      tokens: { signingKey: testSecret, issuer: testIssuer, audience: "shop" },
      limits: [{ name: "t", per: { claim: "tenant" }, limit: 5, window: "1m" }],
    });
    const calls: Record<string, (value: never) => unknown> = {
      revokeGroup: (value) => gate.sessions.revokeGroup(value),
      "issue for an organisation": (value) => gate.tokens.issue({ subject: "alice", org: value }),
      "quotas.peek": (value) => gate.quotas.peek("t", { issuer: testIssuer, value }),
      forTenant: (value) => gate.cache.forTenant(value),
      isRevoked: (org_id) => gate.revocations.isRevoked({ jti: "x", claims: { org_id } }),
    };
    for (const [what, call] of Object.entries(calls)) {
      for (const value of beyondJson) {
        const error: unknown = await rejectionOf(Promise.resolve().then(() => call(value as never)));
        expect(error, `${what} of ${typeof value}`).to.be.instanceOf(TypeError);
        expect((error as Error).message).to.include("non-empty string or a safe integer");
      }
    }
    const own = openGate({
      tokens: { signingKey: testSecret, issuer: testIssuer, audience: "shop" },
      cache: { tenantClaim: "tenant.id" },
    });
    for (const id of wrong) {
      const error: unknown = await rejectionOf(own.tokens.issue({ subject: "alice", claims: { tenant: { id } } }));
      expect(error, JSON.stringify(id)).to.be.instanceOf(TypeError);
    }
    await admit(own, (await own.tokens.issue({ subject: "alice", claims: { tenant: { id: 42 } } })).accessToken);
  });

  it("is said of a new token by org alone, also where the organisation is a member of a claim", async () => {
    const own = openGate({
      tokens: { signingKey: testSecret, issuer: testIssuer, audience: "shop" },
      revocation: { orgClaim: "org.id" },
    });
    for (const id of [...wrong, 42, "acme"]) {
      const error: unknown = await rejectionOf(own.tokens.issue({ subject: "alice", claims: { org: { id } } }));
      expect(error, JSON.stringify(id)).to.be.instanceOf(TypeError);
    }
    const request = { subject: "alice", org: 42, claims: { org: { name: "ACME" } } };
    const { accessToken, refreshToken } = await own.tokens.issue(request);
    await admit(own, accessToken);
    await own.sessions.revokeGroup("42");
    expect(await rejectionOf(own.tokens.refresh(refreshToken))).to.be.a("Error");
  });

  it("is refused by cache.forUser() unless it is text", () => {
    const gate = openGate({ auth: testAuth, cache: {} });
    for (const value of [42, null, {}, true])
      expect(() => gate.cache.forUser(value as never), typeof value).to.throw(TypeError, "auth.principal");
  });
});

describe("middleware in front of a handler", () => {
  it("never throws for a claim of any kind, and so never answers 500", async () => {
    const gate = openGate({
      auth: { ...testAuth, subjectClaim: ["sub", "client_id"], numericSubject: true },
      cache: { tenantClaim: "tenant" },
      limits: [
        { name: "u", per: "user", limit: 1e6, window: "1m" },
        { name: "c", per: { claim: "tenant.id" }, limit: 1e6, window: "1m" },
      ],
    });
    const guard = gate.guard({
      checks: [gate.guard(), gate.requireRole("a"), gate.requireClaim("tenant", "a")],
    });
    const value = fc.oneof(fc.jsonValue(), fc.constantFrom(42, "42", "", null, -0, 2 ** 53, [["a"]], { id: true }));
    const names = ["sub", "client_id", "tenant", "org_id", "roles", "role"] as const;
    const claims = fc.record(Object.fromEntries(names.map((name) => [name, value])), { requiredKeys: [] });
    await fc.assert(
      fc.asyncProperty(claims, async (some) => {
        const exchange = fakeExchange({ headers: { authorization: `Bearer ${withClaims(some)}` } });
        const verdict = await guard.check(exchange);
        if (!verdict.allowed) expect([401, 403]).to.include(verdict.status);
      }),
      { numRuns: 300 },
    );
  });
});
