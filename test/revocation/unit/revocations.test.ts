import { createHash } from "node:crypto";
import { inspect } from "node:util";
import { nowSeconds, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { IssuerScope } from "../../../packages/core/src/auth/issuer-scope.js";
import { CutoffRules } from "../../../packages/core/src/revocation/cutoffs.js";
import { RevocationService } from "../../../packages/core/src/revocation/revocations.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import type { RevocationStore } from "../../../packages/core/src/store/ports/revocation.js";
import { rejectionOf } from "../../support/rejection.js";
import { admit, openGate, refuse } from "../../support/fake-gate.js";
import { identifiers } from "../../support/identifiers.js";
import { withClaims } from "../../auth/support/mint.js";

const start = 2_000_000_000;
const month = 30 * 86_400;

/** A service on a store that notes what it is told. */
function openService(maxLifetimeSeconds = month, issuers: IssuerScope = new IssuerScope()) {
  const told: (readonly [key: string, seconds: number])[] = [];
  const memory = new MemoryDecisionStore({ now: () => start * 1000 });
  const store: RevocationStore = {
    revoke(key, expiresAt) {
      told.push([key, expiresAt]);
      return memory.revoke(key, expiresAt);
    },
    cutOff(key, ttlSeconds) {
      told.push([key, ttlSeconds]);
      return memory.cutOff(key, ttlSeconds);
    },
  };
  const keys = new Keyspace("", "key-secret", { issuers });
  const service = new RevocationService({
    store,
    decisions: memory,
    keyspace: keys,
    issuers,
    marginSeconds: 300,
    cutoffs: new CutoffRules({ maxLifetimeSeconds, marginSeconds: 300, cutoffMarginSeconds: 0, ownIssuer: undefined }),
    orgClaim: "org_id",
    events: { publish: () => undefined },
    now: () => start * 1000,
  });
  return { service, told };
}

describe("revoking a token", () => {
  const expiries: readonly number[] = [
    start + 299.5,
    start + 300,
    1e308,
    Number.MAX_VALUE,
    Infinity,
    Date.now() * 1000,
    2 ** 53,
    start + 0.001,
    start,
    start - 1000,
    0,
    -5,
    1e-300,
    299.5,
  ];
  for (const expiresAt of expiries) {
    it(`succeeds with exp ${expiresAt}, and tells the store whole seconds that outlive the token by 300 s, and end at some time`, async () => {
      const { service, told } = openService();
      await service.revoke({ jti: "a", expiresAt });
      const [[key, until] = ["", Number.NaN]] = told;
      expect(key).to.equal("auth:revoked:a");
      expect(Number.isSafeInteger(until)).to.be.true;
      // Longer than maxLifetime: without iat, a token that is too long-lived today is not at the end of its life.
      expect(until).to.be.at.least(Math.min(expiresAt, start + 10 * 365 * 86_400) + 300);
      expect(until).to.be.at.most(start + 11 * 365 * 86_400);
    });
  }

  for (const expiresAt of [Number.NaN, undefined, null, "2000000300", {}]) {
    it(`is a TypeError with exp ${inspect(expiresAt)}, not a record without end`, async () => {
      const { service, told } = openService();
      expect(await rejectionOf(service.revoke({ jti: "a", expiresAt: expiresAt as number }))).to.be.instanceOf(
        TypeError,
      );
      expect(told).to.deep.equal([]);
    });
  }

  for (const token of [
    undefined,
    {},
    { jti: "" },
    { jti: 5 },
    { jti: null },
    { jti: ["a"] },
    { token: "no-dots" },
    { token: 5 },
    { jti: "", token: "a.b.c" },
  ]) {
    it(`is a TypeError where nothing names it: ${inspect(token)}`, async () => {
      const { service, told } = openService();
      const named = token === undefined ? undefined : ({ expiresAt: start + 300, ...token } as never);
      expect(await rejectionOf(service.revoke(named))).to.be.instanceOf(TypeError);
      expect(told).to.deep.equal([]);
    });
  }

  it("revokes that token and no other, whatever it is called", async () => {
    const { service } = openService();
    const names = identifiers.filter((name) => name !== "");
    for (const jti of names.filter((_, index) => index % 2 === 0))
      await service.revoke({ jti, expiresAt: start + 300 });
    for (const [index, jti] of names.entries())
      expect(await service.isRevoked({ jti }), JSON.stringify(jti)).to.equal(index % 2 === 0);
  });

  it("without jti identifies it by its signing input: another signature is the same token, another payload is not", async () => {
    const { service } = openService();
    await service.revoke({ token: "head.payload.signature", expiresAt: start + 300 });
    expect(await service.isRevoked({ token: "head.payload.other" })).to.be.true;
    expect(await service.isRevoked({ token: "head.payload2.signature" })).to.be.false;
    expect(await service.isRevoked({ jti: "head.payload" })).to.be.false;
  });
});

describe("revoking a subject", () => {
  for (const [name, seconds] of Object.entries({
    "30 d": month,
    "1.5 s": 1.5,
    "1 ms": 0.001,
    "90.5 s": 90.5,
    "100 years": 36_500 * 86_400,
  })) {
    it(`keeps the cut-off for whole seconds, which SET EX needs, longer than any token lives: maxLifetime ${name}`, async () => {
      const { service, told } = openService(seconds);
      expect(await service.revokeSubject("alice")).to.equal(start);
      const [[key, ttl] = ["", Number.NaN]] = told;
      expect(key).to.equal("auth:cutoff:alice");
      expect(ttl).to.be.at.least(seconds + 300);
      expect(Number.isSafeInteger(ttl), `${ttl} s`).to.be.true;
    });
  }

  it("ends every token issued up to that second, or without iat, and no later one, nor another subject's", async () => {
    const { service } = openService();
    await service.revokeSubject("alice");
    for (const issuedAt of [undefined, 0, start - 1, start - 0.5, start, start + 0.999]) {
      expect(await service.isRevoked({ jti: "a", principal: "alice", issuedAt }), String(issuedAt)).to.be.true;
    }
    for (const issuedAt of [start + 1, start + 1.5, 1e308])
      expect(await service.isRevoked({ jti: "a", principal: "alice", issuedAt }), String(issuedAt)).to.be.false;
    for (const principal of ["bob", "Alice", "alice ", "", undefined])
      expect(await service.isRevoked({ jti: "a", principal, issuedAt: start })).to.be.false;
  });

  for (const subject of ["", undefined, null, 5, {}, ["alice"], { principal: "" }, { principal: 5 }]) {
    it(`is a TypeError for ${inspect(subject)}`, async () => {
      const { service, told } = openService();
      expect(await rejectionOf(service.revokeSubject(subject as string))).to.be.instanceOf(TypeError);
      expect(told).to.deep.equal([]);
    });
  }

  it("revokes that subject and no other, whatever they are called", async () => {
    const { service } = openService();
    const names = identifiers.filter((name) => name !== "");
    for (const name of names.filter((_, index) => index % 2 === 0)) await service.revokeSubject(name);
    for (const [index, principal] of names.entries()) {
      expect(await service.isRevoked({ jti: "a", principal, issuedAt: start }), JSON.stringify(principal)).to.equal(
        index % 2 === 0,
      );
    }
  });

  it("accepts a token of the next second if no clock may be ahead", async () => {
    const gate = openGate({ auth: testAuth, revocation: { cutoffMargin: 0 } });
    const before = withClaims({ iat: nowSeconds() - 10 });
    const without = withClaims({ iat: undefined });
    const auth = await admit(gate, before);
    const cutoff = await gate.revocations.revokeSubject(auth);
    await refuse(gate, before);
    await refuse(gate, without);
    await refuse(gate, withClaims({ iat: cutoff }));
    await admit(gate, withClaims({ iat: cutoff + 1 }));
    await admit(gate, withClaims({ sub: "bob", iat: nowSeconds() - 10 }));
  });
});

describe("users of several issuers", () => {
  const [one, two, three] = ["https://one.test", "https://two.test", "https://three.test"] as [string, string, string];
  /** Names that look like what other issuers' names may be written as. */
  const lookalikes = [one, two, three].flatMap((issuer) => {
    const digest = createHash("sha256").update(issuer).digest("hex");
    return [`iss-${digest.slice(0, 16)}.`, `iss-${digest}.`, `${digest}.`, `${issuer}:`, `${issuer}\0`];
  });
  const parts = ["", "iss-", "iss-0000000000000000.", ...lookalikes];
  const names = parts.flatMap((part) => [...parts, "bob", "a:b", "\ud800"].map((name) => part + name));

  for (const shared of [undefined, one]) {
    it(`are never one, whatever they call themselves, with ${shared === undefined ? "no" : "one"} issuer shared`, () => {
      const scope = new IssuerScope({ known: [one, two, three], shared });
      const known = new Map<string, string>();
      for (const issuer of [one, two, three]) {
        for (const name of new Set(names)) {
          const qualified = scope.qualify(issuer, name);
          const owner = `${issuer} ${JSON.stringify(name)}`;
          expect(known.get(qualified), owner).to.equal(undefined);
          known.set(qualified, owner);
        }
      }
    });
  }

  it("are not one where the shared issuer's calls itself as the other's is written", () => {
    const scope = new IssuerScope({ known: [one, two], shared: one });
    const bob = scope.qualify(two, "bob");
    expect(scope.qualify(one, bob)).not.to.equal(bob);
  });

  it("keep their names with one issuer; with several, users of the shared issuer keep theirs", () => {
    expect(new IssuerScope({ known: [one] }).qualify(one, "alice")).to.equal("alice");
    expect(new IssuerScope().qualify(undefined, "alice")).to.equal("alice");
    expect(new IssuerScope({ known: [one, two], shared: one }).qualify(one, "alice")).to.equal("alice");
    expect(new IssuerScope({ known: [one, two], shared: one }).qualify(two, "alice")).not.to.equal("alice");
  });

  it("are revoked one by one, tokens of one jti too", async () => {
    const gate = openGate({ auth: { ...testAuth, issuer: [one, two] } });
    const [ofOne, ofTwo] = [one, two].map((iss) => withClaims({ iss, jti: "same", sub: "same" })) as [string, string];
    await gate.revocations.revoke(await admit(gate, ofOne));
    await refuse(gate, ofOne);
    await gate.revocations.revokeSubject(await admit(gate, ofTwo));
    await refuse(gate, ofTwo);
  });

  for (const issuer of [undefined, "https://unknown.test"]) {
    it(`are not treated as revoked without the issuer of the token (issuer ${String(issuer)}): revoke rejects, since it would end no session`, async () => {
      const gate = openGate({ auth: { ...testAuth, issuer: [one, two] } });
      const token = withClaims({ iss: one, jti: "a" });
      await admit(gate, token);
      const error = await rejectionOf(gate.revocations.revoke({ jti: "a", expiresAt: nowSeconds() + 300, issuer }));
      if (error === undefined) await refuse(gate, token);
      else expect(error).to.be.instanceOf(TypeError);
    });
  }

  it("are not treated as revoked by a bare sub, which may name another user", async () => {
    const gate = openGate({ auth: { ...testAuth, issuer: [one, two] } });
    const token = withClaims({ iss: one, sub: "alice", iat: nowSeconds() - 10 });
    await admit(gate, token);
    const error = await rejectionOf(gate.revocations.revokeSubject("alice"));
    if (error === undefined) await refuse(gate, token);
    else expect(error).to.be.instanceOf(TypeError);
  });
});
