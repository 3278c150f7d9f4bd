import { generateKeyPairSync } from "node:crypto";
import { createGate } from "@portcullis/core/adapter";
import type { AuthOptions, Gate } from "@portcullis/core";
import { testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { cleanUp } from "../support/clean-up.js";
import { silentLogger } from "../support/logger.js";
import { rejectionOf } from "../support/rejection.js";

const right = { signingKey: testSecret, issuer: testIssuer, audience: "shop" };
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const weak = generateKeyPairSync("rsa", { modulusLength: 1024 });

function openGate(options: object): Gate<unknown, object> {
  const gate = createGate<unknown, object>({ redis: "memory", logger: silentLogger, ...options }, () => ({}));
  cleanUp(() => gate.close());
  return gate;
}

describe("the options of tokens", () => {
  const wrong: readonly [string, object, RegExp][] = [
    ["no key", { signingKey: undefined }, /tokens\.signingKey is required/],
    ["an empty list", { signingKey: [] }, /tokens\.signingKey must not be an empty list/],
    ["a short secret", { signingKey: "short" }, /tokens\.signingKey must be at least 32 bytes/],
    ["a public key alone", { signingKey: rsa.publicKey }, /tokens\.signingKey must begin with a private key/],
    ["a weak key", { signingKey: weak.privateKey }, /at least 2048 bits/],
    ["keys of two kinds", { signingKey: [testSecret, rsa.privateKey] }, /mixes/],
    ["one key twice", { signingKey: [rsa.privateKey, rsa.privateKey] }, /two keys of one kid/],
    [
      "a damaged PEM",
      { signingKey: "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----" },
      /readable PEM/,
    ],
    ["a damaged JWK", { signingKey: { kty: "EC", d: "hunter2" } }, /readable JWK/],
    [
      "an algorithm that does not fit",
      { signingKey: rsa.privateKey, algorithm: "ES256" },
      /tokens\.algorithm does not fit/,
    ],
    [
      "HMAC by a key pair",
      { signingKey: rsa.privateKey, algorithm: "HS256" },
      /tokens\.algorithm must be one of RS256/,
    ],
    ["an algorithm unknown", { algorithm: "none" }, /tokens\.algorithm must be one of HS256/],
    ["no issuer", { issuer: undefined }, /tokens\.issuer is required/],
    ["no audience", { audience: undefined }, /tokens\.audience is required/],
    ["a long overlap", { overlap: "11s" }, /tokens\.overlap must be a duration/],
    ["an overlap without end", { overlap: Infinity }, /tokens\.overlap must be a duration/],
    ["no room at all", { maxSessions: 0 }, /tokens\.maxSessions must be a whole number/],
    ["another policy", { onLimit: "evictNewest" }, /tokens\.onLimit must be one of/],
    ["an idle life shorter than an access token's", { idleLifetime: "5m" }, /tokens\.idleLifetime must be at least/],
    ["a session shorter than its idle life", { sessionLifetime: "1d" }, /tokens\.sessionLifetime must be at least/],
    [
      "an idle life longer than cut-offs",
      { idleLifetime: "31d" },
      /auth\.maxLifetime must be at least tokens\.idleLifetime/,
    ],
    ["a short refresh secret", { refreshSecret: "hunter2" }, /tokens\.refreshSecret must be at least 32 bytes/],
    ["a cookie that promises too much", { cookies: { refresh: "__Host-refresh" } }, /needs the path/],
    ["a cookie that promises what it is not", { cookies: { secure: false, access: "__Secure-a" } }, /without secure/],
    ["a cookie that promises to be of http", { cookies: { secure: false, refresh: "__Http-r" } }, /without secure/],
    ["a cookie for all sites without secure", { cookies: { secure: false, sameSite: "none" } }, /must not be "none"/],
    ["a cookie path with more in it", { cookies: { refreshPath: "/; Domain=evil" } }, /must be a path/],
    ["a mistyped name", { accessLifeTime: "1m" }, /did you mean accessLifetime/],
  ];
  for (const [what, options, message] of wrong) {
    it(`refuse ${what} with an error that shows the correct form`, () => {
      expect(() => openGate({ tokens: { ...right, ...options } }))
        .to.throw(message)
        .with.property("message")
        .that.does.not.match(/hunter2|test-secret-0/);
    });
  }

  it("refuse to issue tokens that cannot be revoked", () => {
    expect(() => openGate({ tokens: right, revocation: false })).to.throw(/revocation must not be false with tokens/);
  });

  it("take issuer and audience from auth, and give auth the keys", async () => {
    const gate = openGate({
      tokens: { signingKey: testSecret },
      auth: { issuer: testIssuer, audience: "shop", tokenFrom: { cookie: "__Host-access" } } satisfies AuthOptions,
    });
    const { accessToken } = await gate.tokens.issue({ subject: "alice" });
    expect(await gate.verify(accessToken)).to.have.nested.property("auth.claims.aud", "shop");
  });

  it("accept other issuers beside the gate's own, whose users keep their names", async () => {
    const other = { issuer: "https://other.test", secret: "x".repeat(32), algorithms: ["HS256"], audience: "shop" };
    const gate = openGate({ tokens: right, auth: { audience: "shop", issuers: [other] } });
    const { accessToken } = await gate.tokens.issue({ subject: "alice" });
    expect(await gate.verify(accessToken)).to.have.nested.property("auth.principal", "alice");
    await gate.sessions.revokeAll("alice");
    expect((await gate.verify(accessToken)).allowed).to.equal(false);
  });

  it("refuse an auth that means another issuer", () => {
    const auth = { issuer: "https://other.test", audience: "shop" };
    expect(() => openGate({ tokens: right, auth })).to.throw(/auth\.issuer is not tokens\.issuer/);
  });
});

describe("auth beside tokens", () => {
  const keyed = { secret: testSecret, algorithms: ["HS256"], issuer: testIssuer, audience: "shop" };
  const wrong: readonly [string, object, RegExp][] = [
    [
      "another audience",
      { ...keyed, audience: "stock" },
      /auth\.audience must have a value in common with tokens\.audience/,
    ],
    ["another issuer", { ...keyed, issuer: ["https://other.test"] }, /auth\.issuer is not tokens\.issuer/],
    [
      "another shared issuer",
      { ...keyed, issuer: [testIssuer, "https://b.test"], sharedIssuer: "https://b.test" },
      /sharedIssuer must be tokens\.issuer/,
    ],
  ];
  for (const [what, auth, message] of wrong) {
    it(`must not mean ${what}: the gate would refuse its own tokens`, () => {
      expect(() => openGate({ tokens: right, auth })).to.throw(message);
    });
  }

  it("may accept another issuer by the same keys, whose users are not the gate's", async () => {
    const gate = openGate({ tokens: right, auth: { ...keyed, issuer: [testIssuer, "https://b.test"] } });
    const { accessToken } = await gate.tokens.issue({ subject: "alice" });
    expect(await gate.verify(accessToken)).to.have.nested.property("auth.principal", "alice");
    expect(await gate.sessions.revokeAll("alice")).to.equal(1);
    expect((await gate.verify(accessToken)).allowed).to.equal(false);
  });
});

describe("a gate without tokens", () => {
  it("names the missing option", async () => {
    const gate = openGate({ auth: { secret: testSecret, algorithms: ["HS256"], audience: false } });
    for (const call of [gate.tokens.issue({ subject: "alice" }), gate.tokens.refresh("x")])
      expect(await rejectionOf(call))
        .to.be.instanceOf(TypeError)
        .and.match(/tokens is required/);
    expect(() => gate.routes.jwks()).to.throw(/tokens is required/);
    expect(() => openGate({ tokens: right }).routes.jwks()).to.throw(/HMAC secret, which is never published/);
  });

  it("ends sessions that another process has started", async () => {
    const gate = openGate({ auth: { secret: testSecret, algorithms: ["HS256"], audience: false } });
    expect(await gate.sessions.revokeAll("alice")).to.equal(0);
    expect(await gate.sessions.list("alice")).to.deep.equal([]);
  });
});
