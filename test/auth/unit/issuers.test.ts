import { expect } from "chai";
import { nowSeconds, testAudience, testSecret } from "@portcullis/testkit";
import type { IssuerOptions } from "@portcullis/core";
import { rejectionOf } from "../../support/rejection.js";
import type { FakeGate, FakeOptions } from "../../support/fake-gate.js";
import { admit, openGate, present, refuse } from "../../support/fake-gate.js";
import { FakeIssuer, keySet } from "../support/issuer.js";
import { claimsWith, ec, es256, forge, hmac, hs256, rs256, rsa } from "../support/mint.js";

const otherSecret = "another-secret-".padEnd(64, "x");
const a = "https://a.test";
const b = "https://b.test";
const c = "https://c.test";

const three: readonly IssuerOptions[] = [
  { issuer: a, secret: testSecret, algorithms: ["HS256"] },
  { issuer: b, publicKey: rsa.publicKey, algorithms: ["RS256"], audience: "b-api", rolesClaim: "realm_access.roles" },
  { issuer: c, secret: otherSecret, algorithms: ["HS256"], strict: true, requiredClaims: ["tenant"] },
];

const fromA = (claims: object = {}) => forge({ alg: "HS256" }, claimsWith({ iss: a, ...claims }), hs256);
const fromB = (claims: object = {}) =>
  forge({ alg: "RS256" }, claimsWith({ iss: b, aud: "b-api", ...claims }), rs256(rsa));
const fromC = (claims: object = {}, header: object = { typ: "at+jwt" }) =>
  forge(
    { alg: "HS256", ...header },
    claimsWith({ iss: c, client_id: "app", tenant: "t", ...claims }),
    hmac("sha256", otherSecret),
  );

const gates: FakeGate[] = [];
function open(auth: FakeOptions["auth"]): FakeGate {
  const gate = openGate({ auth });
  gates.push(gate);
  return gate;
}

describe("several issuers", () => {
  afterEach(() => Promise.all(gates.splice(0).map((gate) => gate.close())));

  it("have their own keys, audience, algorithms and rules", async () => {
    const gate = open({ audience: testAudience, issuers: three });
    expect((await admit(gate, fromA())).issuer).to.equal(a);
    expect((await admit(gate, fromB())).issuer).to.equal(b);
    expect((await admit(gate, fromC())).issuer).to.equal(c);
    for (const wrong of [
      fromA({ aud: "b-api" }),
      fromB({ aud: testAudience }),
      fromC({ tenant: undefined }),
      fromC({}, { typ: "JWT" }),
    ])
      expect((await refuse(gate, wrong)).problem.code).to.equal("token_invalid");
  });

  it("never verify each other's tokens", async () => {
    const gate = open({ audience: false, issuers: three });
    const pem = rsa.publicKey.export({ type: "spki", format: "pem" });
    const forged = [
      // Signed with a key of one, in the name of another.
      forge({ alg: "HS256" }, claimsWith({ iss: c, client_id: "x", tenant: "t" }), hs256),
      forge({ alg: "HS256" }, claimsWith({ iss: b }), hs256),
      forge({ alg: "RS256" }, claimsWith({ iss: a }), rs256(rsa)),
      // The public key of one as an HMAC secret.
      forge({ alg: "HS256" }, claimsWith({ iss: b }), hmac("sha256", pem)),
      forge({ alg: "HS256" }, claimsWith({ iss: a }), hmac("sha256", pem)),
      // Issuers that nobody configured, or none.
      ...[
        "https://d.test",
        `${a}/`,
        a.toUpperCase(),
        "",
        "__proto__",
        "constructor",
        7,
        null,
        [a],
        { a },
        undefined,
      ].map((iss) => forge({ alg: "HS256" }, claimsWith({ iss }), hs256)),
      // The last of two equal members is what both parsers see.
      forge({ alg: "HS256" }, `{"iss":${JSON.stringify(a)},${JSON.stringify(claimsWith({ iss: c })).slice(1)}`, hs256),
      "a.b.c",
      `${fromA().split(".")[0]!}.bm90IGpzb24.${fromA().split(".")[2]!}`,
    ];
    for (const [index, token] of forged.entries())
      expect((await refuse(gate, token)).problem.code, String(index)).to.equal("token_invalid");
  });

  it("keep apart users and tokens of the same names, by principal", async () => {
    const gate = open({ audience: false, issuers: three });
    const principals = await Promise.all(
      [fromA(), fromB(), fromC()].map(async (token) => (await admit(gate, token)).principal),
    );
    expect(new Set(principals).size).to.equal(3);
    const one = await admit(gate, fromA({ jti: "same" }));
    const two = fromB({ jti: "same" });
    await gate.revocations.revoke(one);
    expect((await refuse(gate, one.token)).problem.code).to.equal("token_invalid");
    await admit(gate, two);
    await gate.revocations.revokeSubject(one);
    await refuse(gate, fromA({ iat: nowSeconds() - 1 }));
    await admit(gate, two);
  });

  it("include one whose identifiers have the form that other services write", async () => {
    const gate = open({ audience: false, issuers: three, sharedIssuer: b });
    expect((await admit(gate, fromB())).principal).to.equal("alice");
    expect((await admit(gate, fromA())).principal).to.match(/^iss-[0-9a-f]{32}\.alice$/);
  });

  it("have their own place for roles", async () => {
    const gate = open({ audience: false, issuers: three, rolesClaim: "groups" });
    const guard = gate.guard({ checks: [gate.guard(), gate.requireRole("admin")] });
    const status = async (token: string) => {
      const { verdict } = await present({ ...gate, guard: () => guard }, token);
      return verdict.allowed ? 200 : verdict.status;
    };
    expect(await status(fromA({ groups: ["admin"] }))).to.equal(200);
    expect(await status(fromA({ realm_access: { roles: ["admin"] } }))).to.equal(403);
    expect(await status(fromB({ realm_access: { roles: ["admin"] } }))).to.equal(200);
    expect(await status(fromB({ groups: ["admin"] }))).to.equal(403);
  });

  it("report each wrong option", () => {
    const wrong: [object, RegExp][] = [
      [{ issuers: [] }, /auth\.issuers must be a list of at least one/],
      [{ issuers: {} }, /auth\.issuers must be a list/],
      [{ issuers: three, secret: testSecret }, /auth\.secret must be given in each member of auth\.issuers/],
      [{ issuers: three, issuer: a }, /auth\.issuer must be given in each/],
      [{ issuers: three, algorithms: ["HS256"] }, /auth\.algorithms must be given in each/],
      [{ issuers: [{ secret: testSecret, algorithms: ["HS256"] }] }, /auth\.issuers\[0\]\.issuer is required/],
      [{ issuers: [three[0], { issuer: a, secret: otherSecret, algorithms: ["HS256"] }] }, /one issuer twice/],
      [{ issuers: [{ issuer: a, secret: "short", algorithms: ["HS256"] }] }, /auth\.issuers\[0\]\.secret/],
      [{ issuers: [{ issuer: a, secret: testSecret }] }, /auth\.issuers\[0\]\.algorithms is required/],
      [{ issuers: [{ issuer: a, tokenFrom: "header" }] }, /auth\.issuers\[0\]\.tokenFrom is not an option/],
      [{ issuers: [{ issuer: "http://a.test" }] }, /auth\.issuers\[0\]\.issuer must be an https URL/],
      [{ issuers: three, sharedIssuer: "https://d.test" }, /auth\.sharedIssuer/],
    ];
    for (const [auth, message] of wrong) {
      expect(() => open({ audience: "x", ...auth }), String(message)).to.throw(message);
    }
    expect(() => open({ issuers: [{ issuer: a, secret: testSecret, algorithms: ["HS256"] }] } as never)).to.throw(
      TypeError,
      /auth\.issuers\[0\]\.audience is required/,
    );
  });
});

describe("an issuer as a function", () => {
  const tenants = (issuer: string) => /^https:\/\/login\.test\/[a-z]+$/.test(issuer);
  const auth = { publicKey: ec.publicKey, algorithms: ["ES256"], audience: false } as const;
  const from = (iss: unknown) => forge({ alg: "ES256" }, claimsWith({ iss }), es256(ec));

  afterEach(() => Promise.all(gates.splice(0).map((gate) => gate.close())));

  it("accepts the issuers for which it returns true, and keeps their users apart", async () => {
    const gate = open({ ...auth, issuer: tenants });
    const one = await admit(gate, from("https://login.test/one"));
    const two = await admit(gate, from("https://login.test/two"));
    expect(one.principal).not.to.equal(two.principal);
    for (const iss of ["https://login.test/1", "https://evil.test/one", "", undefined, 7, ["https://login.test/one"]])
      await refuse(gate, from(iss));
  });

  it("that answers with anything but true accepts nothing", async () => {
    for (const answer of [1, "yes", {}, Promise.resolve(true), Promise.reject(new Error("late")), undefined])
      await refuse(open({ ...auth, issuer: (() => answer) as never }), from("https://login.test/one"));
  });

  it("accepts no issuer whose keys cannot be fetched safely, also if it returns true", async () => {
    const gate = open({ audience: false, issuer: () => true });
    for (const iss of ["http://login.test/one", "nonsense", "file:///etc/passwd", "https://x:y@login.test", "//a"])
      expect((await refuse(gate, from(iss))).problem.code, iss).to.equal("token_invalid");
  });

  it("that throws is a bug of the application, not a fault of the token", async () => {
    const gate = open({
      ...auth,
      issuer: () => {
        throw new Error("bug");
      },
    });
    expect(await rejectionOf(present(gate, from("https://login.test/one")))).to.have.property("message", "bug");
  });

  it("may have the shared issuer named", async () => {
    const gate = open({ ...auth, issuer: tenants, sharedIssuer: "https://login.test/one" });
    expect((await admit(gate, from("https://login.test/one"))).principal).to.equal("alice");
    expect((await admit(gate, from("https://login.test/two"))).principal).not.to.equal("alice");
  });

  it("alone discovers the keys of each, when its first token comes, and closes them all", async () => {
    const issuer = await FakeIssuer.start();
    const asked: (string | undefined)[] = [];
    issuer.answer = (req, res) => {
      asked.push(req.url);
      const tenant = /^\/(one|two)\//.exec(req.url ?? "")?.[1];
      const base = `${issuer.server.url}/${String(tenant)}`;
      if (req.url?.endsWith("openid-configuration") === true)
        res.end(JSON.stringify({ issuer: base, jwks_uri: `${base}/jwks` }));
      else keySet("one")(req, res);
    };
    const remoteKeys = { allowPrivateAddresses: true };
    const gate = open({ audience: false, remoteKeys, issuer: (iss) => iss.startsWith(`${issuer.server.url}/`) });
    const token = (tenant: string) =>
      forge({ alg: "RS256", kid: "one" }, claimsWith({ iss: `${issuer.server.url}/${tenant}` }), rs256(rsa));
    expect(asked).to.deep.equal([]);
    await admit(gate, token("one"));
    await admit(gate, token("two"));
    await admit(gate, token("one"));
    expect(asked).to.have.members([
      "/one/.well-known/openid-configuration",
      "/one/jwks",
      "/two/.well-known/openid-configuration",
      "/two/jwks",
    ]);
    await refuse(gate, forge({ alg: "RS256", kid: "one" }, claimsWith({ iss: "https://elsewhere.test" }), rs256(rsa)));
    await issuer.close();
  });
});

describe("an audience in another claim", () => {
  const auth = { secret: testSecret, algorithms: ["HS256"] } as const;

  it("is compared as aud would be", async () => {
    const gate = openGate({ auth: { ...auth, audience: { claim: "client_id", values: ["web", "app"] } } });
    const token = (claims: object) => forge({ alg: "HS256" }, claimsWith({ aud: undefined, ...claims }), hs256);
    await admit(gate, token({ client_id: "app" }));
    await admit(gate, token({ client_id: ["other", "web"] }));
    for (const claims of [
      {},
      { client_id: "other" },
      { client_id: 7 },
      { client_id: [] },
      { aud: "app" },
      // A client id may have blanks (RFC 6749 A.1): this is the name of one, not of two.
      { client_id: "evil app" },
    ])
      await refuse(gate, token(claims));
    await gate.close();
  });

  it("reports a wrong option", () => {
    for (const audience of [
      {},
      { claim: "a" },
      { claim: "", values: "a" },
      { claim: "a", values: [] },
      { claim: "a", value: "b" },
    ])
      expect(() => openGate({ auth: { ...auth, audience: audience as never } }), JSON.stringify(audience)).to.throw(
        TypeError,
        /auth\.audience/,
      );
  });
});
