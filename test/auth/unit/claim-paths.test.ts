import { expect } from "chai";
import { nowSeconds, testAuth, testIssuer } from "@portcullis/testkit";
import type { ClaimPath, Denied } from "../../../packages/core/src/index.js";
import type { FakeGate, FakeMiddleware, FakeOptions } from "../../support/fake-gate.js";
import { admit, fakeExchange, openGate, refuse } from "../../support/fake-gate.js";
import { withClaims } from "../support/mint.js";

const pod = { "kubernetes.io": { namespace: "shop", serviceaccount: { uid: "0f2a", name: "orders" } } };
const namespace = ["kubernetes.io", "namespace"] as const;

async function codeOf(gate: FakeGate, token: string, ...middleware: readonly FakeMiddleware[]): Promise<string> {
  const exchange = fakeExchange({ headers: { authorization: `Bearer ${token}` } });
  for (const { check } of middleware) {
    const verdict = await check(exchange);
    if (!verdict.allowed) return verdict.problem.code;
  }
  return "allowed";
}

describe("a claim path as a list", () => {
  it("finds a claim below names with dots, for requireClaim()", async () => {
    const gate = openGate({ auth: testAuth });
    const token = withClaims(pod);
    const code = (path: ClaimPath, value: string): Promise<string> =>
      codeOf(gate, token, gate.authenticate(), gate.requireClaim(path, value));
    expect(await code(namespace, "shop")).to.equal("allowed");
    expect(await code(namespace, "other")).to.equal("claim_insufficient");
    expect(await code("kubernetes.io.namespace", "shop")).to.equal("claim_insufficient");
    expect(await code(["sub"], "alice")).to.equal("allowed");
    // A list is never a path of its own dots.
    expect(await code(["kubernetes.io.namespace"], "shop")).to.equal("claim_insufficient");
    expect(await code(["toString"], "x")).to.equal("claim_insufficient");
    expect(await code(["sub", "length"], "5")).to.equal("claim_insufficient");
  });

  it("names roles, user, organisation, tenant, audience, and the key of a limit", async () => {
    const options: FakeOptions = {
      auth: {
        ...testAuth,
        audience: { claim: ["https://api.test/aud", "id"], values: "orders" },
        rolesClaim: ["resource_access", "orders.api", "roles"],
        subjectClaim: [["kubernetes.io", "serviceaccount", "uid"], "sub"],
      },
      revocation: { orgClaim: namespace },
      cache: { tenantClaim: namespace },
      limits: [{ name: "namespace", per: { claim: namespace }, limit: 1, window: "1h" }],
    };
    const gate = openGate(options);
    const claims = {
      ...pod,
      iat: nowSeconds() - 10,
      "https://api.test/aud": { id: ["orders"] },
      resource_access: { "orders.api": { roles: ["admin"] }, orders: { api: { roles: ["other"] } } },
    };
    const token = withClaims(claims);
    const { subject, principal } = await admit(gate, token);
    expect([subject, principal]).to.deep.equal(["0f2a", "0f2a"]);
    expect(gate.principal({ subject: "0f2a", claim: ["kubernetes.io", "serviceaccount", "uid"] })).to.equal(principal);
    expect(() => gate.principal({ subject: "x", claim: ["a", "b"] })).to.throw(/one of auth.subjectClaim: \["kub/);
    expect((await refuse(gate, withClaims({ ...claims, sub: "bob" }))).problem.code).to.equal("quota_exceeded");
    await gate.quotas.reset("namespace", { issuer: testIssuer, value: "shop" });
    const check = gate.authenticate();
    expect(await codeOf(gate, token, check, gate.requireRole("admin"))).to.equal("allowed");
    expect(await codeOf(gate, token, check, gate.requireRole("other"))).to.equal("claim_insufficient");
    const foreign = withClaims({ ...claims, "https://api.test/aud": { id: "shipping" } });
    expect((await refuse(gate, foreign)).problem.code).to.equal("token_invalid");
    await gate.sessions.revokeGroup("shop");
    expect((await refuse(gate, token)).problem.code).to.equal("token_invalid");
  });

  it("is checked at the start", () => {
    const open = (options: object): (() => FakeGate) => {
      return () => openGate({ auth: testAuth, ...options });
    };
    const wrong: readonly unknown[] = [[], [""], ["a", 1], ["a\0b"], 5, null];
    for (const path of wrong) {
      expect(open({ revocation: { orgClaim: path } }), String(path)).to.throw(/revocation\.orgClaim/);
      expect(open({ cache: { tenantClaim: path } }), String(path)).to.throw(/cache\.tenantClaim/);
      expect(open({ auth: { ...testAuth, rolesClaim: path } }), String(path)).to.throw(/auth\.rolesClaim/);
      const limits = [{ name: "a", per: { claim: path }, limit: 1, window: "1h" }];
      expect(open({ limits }), String(path)).to.throw(/limits\[0\]\.per\.claim/);
      expect(() => openGate({ auth: testAuth }).requireClaim(path as never, "x"), String(path)).to.throw(
        /requireClaim/,
      );
    }
    const tokens = { issuer: "https://id.test", audience: "a", signingKey: "s".repeat(48), algorithm: "HS256" };
    expect(open({ auth: undefined, tokens, revocation: { orgClaim: ["a", "b"] } })).to.throw(
      /must be the name of a claim/,
    );
  });

  it("keeps limits apart by the place of a claim, not by its text alone", async () => {
    const limits = [{ name: "list", per: { claim: ["a", "b"] }, limit: 1, window: "1h" }] as const;
    const gate = openGate({ auth: testAuth, limits });
    await admit(gate, withClaims({ a: { b: "x" } }));
    // Without the claim the user is counted.
    await admit(gate, withClaims({ "a.b": "x", sub: "carol" }));
    const denied: Denied = await refuse(gate, withClaims({ a: { b: "x" }, sub: "dave" }));
    expect(denied.problem.code).to.equal("quota_exceeded");
  });
});
