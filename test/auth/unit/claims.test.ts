import { nowSeconds, testAudience, testAuth, testIssuer } from "@portcullis/testkit";
import { expect } from "chai";
import fc from "fast-check";
import { admit, fakeExchange, openGate, refuse } from "../../support/fake-gate.js";
import { claimsWith, forge, hs256, withClaims, withRawMembers } from "../support/mint.js";

describe("the facts of a token", () => {
  const gate = openGate({ auth: testAuth });

  it("have the values of the claims", async () => {
    const iat = nowSeconds();
    const token = forge(
      { alg: "HS256", kid: "k" },
      claimsWith({ sid: "s", jti: "j", iat, exp: iat + 60, scope: "a b", org: "o" }),
      hs256,
    );
    const auth = await admit(gate, token);
    expect({ ...auth, claims: { ...auth.claims } }).to.deep.equal({
      token,
      header: { alg: "HS256", kid: "k" },
      claims: {
        iss: testIssuer,
        aud: testAudience,
        sub: "alice",
        sid: "s",
        jti: "j",
        iat,
        exp: iat + 60,
        scope: "a b",
        org: "o",
      },
      subject: "alice",
      jti: "j",
      sessionId: "s",
      scopes: ["a", "b"],
      issuer: testIssuer,
      principal: "alice",
      issuedAt: iat,
      expiresAt: iat + 60,
    });
  });

  const scopes: readonly (readonly [string, object, readonly string[]])[] = [
    ["a text", { scope: "orders:read orders:write" }, ["orders:read", "orders:write"]],
    ["a list", { scope: ["orders:read", "orders:write"] }, ["orders:read", "orders:write"]],
    ["scp as a text", { scp: "a b" }, ["a", "b"]],
    ["scp as a list", { scp: ["a", "b"] }, ["a", "b"]],
    ["both, without doubles", { scope: "a b", scp: ["b", "c"] }, ["a", "b", "c"]],
    ["several blanks", { scope: "  a   b  " }, ["a", "b"]],
    ["an empty text", { scope: "" }, []],
    ["a list with what is no text", { scope: ["a", 5, null, ["b"], {}, ""] }, ["a"]],
    ["an object", { scope: { a: true } }, []],
    ["__proto__", { scope: "__proto__ constructor" }, ["__proto__", "constructor"]],
    ["nothing", {}, []],
  ];
  for (const [name, claims, expected] of scopes) {
    it(`take scopes from ${name}`, async () =>
      expect((await admit(gate, withClaims({ ...claims }))).scopes).to.deep.equal(expected));
  }

  it("are frozen, as deep as they go", async () => {
    const auth = await admit(gate, withClaims({ roles: ["a"], org: { name: "o", tags: [{ x: 1 }] }, scope: "a" }));
    const parts: object[] = [];
    const waiting: unknown[] = [auth];
    while (waiting.length > 0) {
      const part = waiting.pop();
      if (typeof part !== "object" || part === null) continue;
      parts.push(part);
      waiting.push(...(Object.values(part) as unknown[]));
    }
    expect(parts.length).to.be.at.least(8);
    for (const part of parts) expect(Object.isFrozen(part)).to.be.true;
  });

  it("are one frozen object for all requests with the token", async () => {
    const token = withClaims({});
    expect(await admit(gate, token)).to.equal(await admit(gate, token));
  });

  it("are absent where the request was refused", async () => {
    const token = withClaims({});
    await gate.revocations.revoke(await admit(gate, token));
    const exchange = fakeExchange({ headers: { authorization: `Bearer ${token}` } });
    expect((await gate.guard().check(exchange)).allowed).to.be.false;
    expect([exchange.state.facts.auth, exchange.state.verified, exchange.state.facts.cache]).to.deep.equal([
      undefined,
      undefined,
      undefined,
    ]);
  });
});

describe("claims named like parts of a prototype", () => {
  const gate = openGate({ auth: testAuth });
  const evil = '{"admin":true,"isAdmin":true,"toString":"x"}';
  const members: readonly string[] = [
    `"__proto__":${evil}`,
    `"constructor":{"prototype":${evil}}`,
    `"\\u005f_proto__":${evil}`,
    `"org":{"__proto__":${evil}}`,
    `"list":[{"__proto__":${evil}}]`,
    '"__proto__":null',
    '"hasOwnProperty":1,"toString":2,"valueOf":3,"toJSON":4,"then":5',
  ];

  for (const member of members) {
    it(`${member} pollute nothing`, async () => {
      const auth = await admit(gate, withRawMembers(member));
      expect(({} as { admin?: unknown }).admin).to.equal(undefined);
      expect((auth as unknown as { admin?: unknown }).admin).to.equal(undefined);
      expect((auth.claims as { admin?: unknown }).admin).to.equal(undefined);
      expect(auth.subject).to.equal("alice");
    });

    it(`${member} make no user an admin, however claims are copied`, async () => {
      const { claims } = await admit(gate, withRawMembers(member));
      const assigned = Object.assign({}, claims) as Record<string, unknown>;
      const looped: Record<string, unknown> = {};
      for (const name of Object.keys(claims)) looped[name] = claims[name];
      for (const copy of [
        assigned,
        looped,
        { ...claims } as Record<string, unknown>,
        structuredClone(claims) as Record<string, unknown>,
      ]) {
        expect(copy.admin).to.equal(undefined);
        expect(copy.isAdmin).to.equal(undefined);
      }
      const org = Object.assign({}, claims.org) as Record<string, unknown>;
      expect(org.admin).to.equal(undefined);
    });
  }
});

describe("any claims that JSON can say", () => {
  const gate = openGate({ auth: testAuth });

  it("lead to facts or to a refusal, never to an exception", async () => {
    const claims = fc.dictionary(
      fc.constantFrom(
        "iss",
        "aud",
        "sub",
        "jti",
        "sid",
        "exp",
        "nbf",
        "iat",
        "cnf",
        "scope",
        "scp",
        "typ",
        "token_use",
        "x",
      ),
      fc.oneof(fc.jsonValue(), fc.constantFrom(testAudience, testIssuer, nowSeconds() + 60)),
    );
    const header = fc.dictionary(
      fc.constantFrom("typ", "kid", "cty", "crit", "b64", "jwk", "jku", "x5c"),
      fc.jsonValue(),
    );
    await fc.assert(
      fc.asyncProperty(claims, header, fc.boolean(), async (some, more, onTop) => {
        const token = forge({ ...more, alg: "HS256" }, onTop ? claimsWith(some) : some, hs256);
        const exchange = fakeExchange({ headers: { authorization: `Bearer ${token}` } });
        const verdict = await gate.guard().check(exchange);
        if (!verdict.allowed) return ["token_invalid", "token_too_large"].includes(verdict.problem.code);
        const { auth } = exchange.state.facts;
        return (
          auth !== undefined &&
          [auth.subject, auth.issuer, auth.principal, auth.jti ?? "", auth.sessionId ?? ""].every(
            (text) => typeof text === "string",
          ) &&
          auth.scopes.every((scope) => typeof scope === "string") &&
          Number.isFinite(auth.expiresAt) &&
          Number.isFinite(auth.issuedAt ?? 0)
        );
      }),
      { numRuns: 500 },
    );
  });

  it("whatever stands where the token should be", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "binary", maxLength: 300 }), async (text) => {
        const exchange = fakeExchange({ headers: { authorization: `Bearer ${text}` } });
        const verdict = await gate.guard().check(exchange);
        return !verdict.allowed && verdict.status === 401;
      }),
      { numRuns: 300 },
    );
  });

  it("a token that was changed in any place is refused", async () => {
    const token = withClaims({});
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (let index = 0; index < token.length; index += 1) {
      if (token[index] === ".") continue;
      const other = alphabet[(alphabet.indexOf(token[index] ?? "") + 1 + (index % 62)) % 64] ?? "";
      await refuse(gate, token.slice(0, index) + other + token.slice(index + 1));
    }
    await admit(gate, token);
  });
});
