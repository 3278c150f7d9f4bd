import { createHash } from "node:crypto";
import { nowSeconds, testAudience, testAuth, testIssuer } from "@portcullis/testkit";
import { expect } from "chai";
import type { FakeGate, FakeOptions } from "../../support/fake-gate.js";
import { admit, fakeExchange, openGate, present, refuse } from "../../support/fake-gate.js";
import {
  bytes32,
  claimsWith,
  ec,
  es256,
  forge,
  hs256,
  p256Order,
  show,
  split,
  withClaims,
  withHeader,
  withRawClaim,
  withRawMembers,
} from "../support/mint.js";

const day = 86_400;

describe("a good token that looks odd is accepted", () => {
  const gate = openGate({ auth: testAuth });

  async function accepts(token: string): Promise<void> {
    expect((await admit(gate, token)).expiresAt).to.be.above(nowSeconds());
  }

  for (const typ of [undefined, "JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT"]) {
    it(`with typ ${show(typ)}`, () => accepts(withHeader({ alg: "HS256", typ })));
  }

  for (const aud of [testAudience, [testAudience], ["other-api", testAudience], [null, 5, testAudience]]) {
    it(`with aud ${JSON.stringify(aud)}`, () => accepts(withClaims({ aud })));
  }

  const times: Readonly<Record<string, () => Record<string, unknown>>> = {
    "exp in two seconds": () => ({ exp: nowSeconds() + 2 }),
    "a fraction in exp and iat": () => ({ exp: nowSeconds() + 60.5, iat: nowSeconds() - 0.5 }),
    "iat 4 s ahead, within the tolerance": () => ({ iat: nowSeconds() + 4 }),
    "nbf 4 s ahead, within the tolerance": () => ({ nbf: nowSeconds() + 4 }),
    "nbf long ago": () => ({ nbf: 0 }),
    "nbf below zero": () => ({ nbf: -1 }),
    "no iat": () => ({ iat: undefined }),
    "30 days between iat and exp": () => ({ iat: nowSeconds() - day, exp: nowSeconds() + 29 * day }),
    "exp equal to iat": () => ({ iat: nowSeconds() + 3, exp: nowSeconds() + 3 }),
  };
  for (const [name, claims] of Object.entries(times)) it(`with ${name}`, () => accepts(withClaims(claims())));

  const jtis = [
    "a:b",
    "*",
    "{x}",
    "__proto__",
    "\r\n",
    "\0",
    "\ud800",
    "\u00e9",
    "e\u0301",
    "\u{1f511}",
    "j".repeat(2000),
    " ",
  ];
  for (const jti of jtis) {
    it(`with jti ${JSON.stringify(jti.slice(0, 20))}, as it is`, async () => {
      expect((await admit(gate, withClaims({ jti }))).jti).to.equal(jti);
    });
  }

  for (const claims of [
    { token_use: "access" },
    { typ: "Bearer" },
    { scope: null },
    { scope: 5 },
    { roles: {} },
    { email: "" },
  ]) {
    it(`with ${JSON.stringify(claims)}`, () => accepts(withClaims(claims)));
  }

  it("with a payload nested as deep as the size allows", () =>
    accepts(withRawClaim("x", `${"[".repeat(2500)}${"]".repeat(2500)}`)));
  it("with objects nested as deep as the size allows", () =>
    accepts(withRawClaim("x", `${'{"a":'.repeat(900)}1${"}".repeat(900)}`)));
  it("with white space in its JSON", () =>
    accepts(forge(' { "alg" :\n"HS256" } ', JSON.stringify(claimsWith(), null, 2), hs256)));
  it("with an exp in exponent notation", () => accepts(withRawClaim("exp", `${nowSeconds() + 60}e0`)));
  it("with alg twice, HS256 last", () => accepts(forge('{"alg":"none","alg":"HS256"}', claimsWith(), hs256)));

  it("by its last jti, if it has two", async () => {
    const token = withRawMembers('"jti":"second"');
    expect((await admit(gate, token)).jti).to.equal("second");
    await gate.revocations.revoke({ jti: "second", expiresAt: nowSeconds() + 300 });
    expect((await refuse(gate, token)).cause).to.equal("the token is revoked");
  });
});

describe("a token over the size limit is refused unparsed", () => {
  const gate = openGate({ auth: testAuth });

  it("above 8192 characters, whatever it is", async () => {
    for (const token of [
      "a".repeat(8193),
      `${"a".repeat(9000)}.b.c`,
      withClaims({ x: "x".repeat(6200) }),
      ".".repeat(1e6),
    ]) {
      const { status, problem } = await refuse(gate, token);
      expect({ status, code: problem.code }).to.deep.equal({ status: 401, code: "token_too_large" });
    }
  });

  it("but not at 8192", async () => {
    const length = withClaims({ x: "" }).length;
    const token = withClaims({ x: "x".repeat(Math.floor(((8192 - length) * 3) / 4) - 2) });
    expect(token.length).to.be.within(8180, 8192);
    await admit(gate, token);
  });

  it("at once: ten megabytes of dots or letters take no time that grows with them", async () => {
    const start = performance.now();
    for (let round = 0; round < 10; round += 1) await refuse(gate, "a.".repeat(5_000_000));
    expect(performance.now() - start).to.be.below(5000);
  });
});

describe("rules of the gate for claims", () => {
  async function verdict(
    auth: Partial<NonNullable<FakeOptions["auth"]>>,
    claims: Record<string, unknown>,
  ): Promise<boolean> {
    const gate = openGate({ auth: { ...testAuth, ...auth } });
    return (await present(gate, withClaims(claims))).verdict.allowed;
  }

  it("requireJti refuses a token without jti", async () => {
    expect(await verdict({}, { jti: undefined })).to.be.true;
    expect(await verdict({ requireJti: true }, { jti: undefined })).to.be.false;
    expect(await verdict({ requireJti: true }, {})).to.be.true;
  });

  it("requiredClaims must be there, besides exp", async () => {
    expect(await verdict({ requiredClaims: ["tenant"] }, {})).to.be.false;
    expect(await verdict({ requiredClaims: ["tenant"] }, { tenant: "a" })).to.be.true;
    expect(await verdict({ requiredClaims: "tenant" as never }, { tenant: "a" })).to.be.true;
    expect(await verdict({ requiredClaims: ["tenant"] }, { tenant: "a", exp: undefined })).to.be.false;
    expect(await verdict({ requiredClaims: ["toString"] }, {})).to.be.false;
  });

  it("maxLifetime bounds exp - iat exactly", async () => {
    const iat = nowSeconds();
    expect(await verdict({ maxLifetime: "1h" }, { iat, exp: iat + 3600 })).to.be.true;
    expect(await verdict({ maxLifetime: "1h" }, { iat, exp: iat + 3601 })).to.be.false;
  });

  it("clockTolerance 0 forgives nothing, 1m a minute", async () => {
    expect(await verdict({ clockTolerance: 0 }, { iat: nowSeconds() + 3 })).to.be.false;
    expect(await verdict({ clockTolerance: "1m" }, { iat: nowSeconds() + 50, nbf: nowSeconds() + 50 })).to.be.true;
    expect(await verdict({ clockTolerance: "1m" }, { iat: nowSeconds() + 70 })).to.be.false;
  });

  it("exp has a tolerance only where revocation is off", async () => {
    const auth = { ...testAuth, clockTolerance: "1m" } as const;
    const token = withClaims({ iat: nowSeconds() - 60, exp: nowSeconds() - 10 });
    await refuse(openGate({ auth }), token);
    await admit(openGate({ auth, revocation: false }), token);
    await refuse(openGate({ auth, revocation: false }), withClaims({ exp: nowSeconds() - 70 }));
  });

  it("audience false accepts a token meant for anybody; several audiences or issuers, each of them", async () => {
    expect(await verdict({ audience: false }, { aud: undefined })).to.be.true;
    expect(await verdict({ audience: ["a", "b"] }, { aud: ["x", "b"] })).to.be.true;
    expect(await verdict({ audience: ["a", "b"] }, { aud: ["x", "y"] })).to.be.false;
    expect(await verdict({ issuer: [testIssuer, "https://two.test"] }, { iss: "https://two.test" })).to.be.true;
    expect(await verdict({ issuer: [testIssuer, "https://two.test"] }, { iss: "https://three.test" })).to.be.false;
  });

  for (const iss of [5, true, {}, ["https://a.test"]]) {
    it(`an iss of ${JSON.stringify(iss)} is no issuer, even where any is accepted (RFC 7519 4.1.1)`, async () => {
      expect(await verdict({ issuer: undefined }, { iss })).to.be.false;
    });
  }

  it("a user limit refuses a token without sub, and without one it passes", async () => {
    const limits = [{ name: "user", per: "user", limit: 5, window: "1m" }] as const;
    await refuse(openGate({ auth: testAuth, limits }), withClaims({ sub: undefined }));
    expect((await admit(openGate({ auth: testAuth }), withClaims({ sub: undefined }))).principal).to.equal("");
  });
});

describe("a revoked token stays revoked", () => {
  it("in the other spelling that every ECDSA signature has", async () => {
    const gate: FakeGate = openGate({
      auth: { ...testAuth, secret: undefined, publicKey: ec.publicKey, algorithms: ["ES256"] },
    });
    for (const jti of ["named", undefined]) {
      const token = forge({ alg: "ES256" }, claimsWith({ jti }), es256(ec));
      const respelled = otherEcdsa(token);
      expect(respelled).not.to.equal(token);
      expect((await admit(gate, respelled)).principal).to.equal((await admit(gate, token)).principal);
      await gate.revocations.revoke(await admit(gate, token));
      await refuse(gate, token);
      await refuse(gate, respelled);
    }
  });

  it("if it has no jti: that token, and no other of the same claims", async () => {
    const gate = openGate({ auth: testAuth });
    const first = withClaims({ jti: undefined, n: 1 });
    const second = withClaims({ jti: undefined, n: 2 });
    await gate.revocations.revoke(await admit(gate, first));
    await refuse(gate, first);
    await admit(gate, second);
  });

  it("if its jti is hostile: that token, and no other", async () => {
    const gate = openGate({ auth: testAuth });
    const hostile = [
      "\ud800",
      "\udfff",
      "\ufffd",
      "{x}",
      "x",
      "*",
      "a\r\nb",
      "a\0b",
      "a",
      "__proto__",
      "\u00e9",
      "e\u0301",
    ];
    const sha = createHash("sha256").update("x").digest("hex");
    const jtis = [...hostile, ...["~x", "jti:x", sha, "x".repeat(512), "x".repeat(513), "x".repeat(514), "X", "x "]];
    for (const jti of jtis) await admit(gate, withClaims({ jti }));
    for (const [index, jti] of jtis.entries()) {
      await gate.revocations.revoke({ jti, expiresAt: nowSeconds() + 300 });
      await refuse(gate, withClaims({ jti }));
      for (const other of jtis.slice(index + 1)) await admit(gate, withClaims({ jti: other }));
    }
  });
});

describe("a preflight", () => {
  it("passes without a token only if it is a real one", async () => {
    const guard = openGate({ auth: testAuth }).guard({ preflight: "pass" });
    const origin = { origin: "https://app.test" };
    const asks = { "access-control-request-method": "PUT" };
    const allowed = async (method: string, headers: Record<string, string>): Promise<boolean> =>
      (await guard.check(fakeExchange({ method, headers }))).allowed;
    expect(await allowed("OPTIONS", { ...origin, ...asks })).to.be.true;
    expect(await allowed("OPTIONS", origin)).to.be.false;
    expect(await allowed("OPTIONS", asks)).to.be.false;
    expect(await allowed("OPTIONS", {})).to.be.false;
    for (const method of ["GET", "POST", "options", "HEAD"])
      expect(await allowed(method, { ...origin, ...asks })).to.be.false;
  });
});

/** (r, s) and (r, n - s) sign the same. */
function otherEcdsa(token: string): string {
  const { input, signature } = split(token);
  const bytes = Buffer.from(signature, "base64url");
  const s = p256Order - BigInt(`0x${bytes.subarray(32).toString("hex")}`);
  return `${input}.${Buffer.concat([bytes.subarray(0, 32), bytes32(s)]).toString("base64url")}`;
}
