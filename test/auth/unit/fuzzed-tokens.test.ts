import { testAudience, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import fc from "fast-check";
import { jwtVerify } from "jose";
import type { KeyObject } from "node:crypto";
import type { FakeGate } from "../../support/fake-gate.js";
import { fakeExchange, openGate, present } from "../../support/fake-gate.js";
import { goodTokens, hostileGates } from "../support/hostile-gates.js";
import type { GateName } from "../support/hostile.js";
import { claimsWith, ec, ed, eddsa, es256, forge, hs256, rs256, rsa } from "../support/mint.js";
import type { Signer } from "../support/mint.js";
import { isSoak } from "../../support/soak.js";

const numRuns = isSoak ? 2000 : 300;
const signers: Readonly<Record<Exclude<GateName, "jwks">, readonly [string, Signer, KeyObject | Buffer]>> = {
  secret: ["HS256", hs256, Buffer.from(testSecret)],
  rsa: ["RS256", rs256(rsa), rsa.publicKey],
  ec: ["ES256", es256(ec), ec.publicKey],
  ed: ["EdDSA", eddsa(ed), ed.publicKey],
};
const names = Object.keys(signers) as (keyof typeof signers)[];

/** Why Portcullis may refuse what jose accepts; anything else would be a rule that nobody knows of. */
const ownRules = [
  /^exp is missing or is not a time$/,
  /^the token is expired$/,
  /^iat is (?:not a time|in the future)$/,
  /^the lifetime of the token exceeds auth\.maxLifetime$/,
  /^(?:iss|jti|sid) is not a non-empty string$/,
  /^the claim that names the user is (?:not text|a number, and auth\.numericSubject is not set)$/,
  /^typ is not the type of an access token$/,
  /^the header has the parameter b64, which tokens must not have$/,
  /^the token declares another use than access token$/,
  /^the token is a logout token, not an access token$/,
  /^cnf /,
  /^the credential is not a JWT$/,
];

describe("a randomly changed token", function () {
  this.timeout(isSoak ? 300_000 : 60_000);
  let gates: Record<GateName, FakeGate>;
  before(() => {
    gates = Object.fromEntries(
      Object.entries(hostileGates).map(([name, auth]) => [name, openGate({ auth })]),
    ) as Record<GateName, FakeGate>;
  });
  after(() => Promise.all(Object.values(gates).map((gate) => gate.close())));

  it("is refused for every change of a valid token", async () => {
    const base64url = fc.constantFrom(
      ...Array.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
    );
    const piece = fc.oneof(fc.string({ unit: base64url, maxLength: 5 }), fc.string({ maxLength: 3 }));
    const edit = fc.record({ at: fc.nat(), drop: fc.nat({ max: 4 }), piece });
    const everyGate = Object.keys(hostileGates) as GateName[];
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...everyGate),
        fc.array(edit, { minLength: 1, maxLength: 3 }),
        async (name, edits) => {
          const token = goodTokens[name]();
          let changed = token;
          for (const { at, drop, piece: inserted } of edits) {
            const place = at % (changed.length + 1);
            changed = changed.slice(0, place) + inserted + changed.slice(place + drop);
          }
          const { verdict } = await present(gates[name], changed);
          // Blanks around it are no change of the token.
          expect(verdict.allowed).to.equal(changed.trim() === token);
          if (!verdict.allowed) expect(verdict.status).to.equal(401);
        },
      ),
      { numRuns },
    );
  });

  it("is refused if jose refuses it, and can be revoked if it passes", async () => {
    const now = Math.floor(Date.now() / 1000);
    const times = fc.oneof(
      fc.integer({ min: now - 1000, max: now + 1000 }),
      fc.double({ noNaN: true }),
      fc.constantFrom(0, -1, now, now + 1, now + 5.5, now * 1000, 1e308, "1", null, true, [], {}),
    );
    const texts = fc.oneof(
      fc.constantFrom("alice", "", "a\u0000b", "\ud800", "__proto__"),
      fc.string(),
      fc.jsonValue(),
    );
    const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 2 });
    const claims = fc.record({
      iss: maybe(fc.oneof({ weight: 8, arbitrary: fc.constant(testIssuer) }, texts)),
      aud: maybe(fc.oneof({ weight: 8, arbitrary: fc.constantFrom(testAudience, [testAudience, "x"]) }, texts)),
      exp: maybe(times),
      nbf: maybe(times),
      iat: maybe(times),
      jti: maybe(texts),
      sub: maybe(texts),
      sid: maybe(texts),
      cnf: maybe(fc.jsonValue()),
      typ: maybe(fc.constantFrom("Bearer", "Refresh", "ID", 5)),
      events: maybe(fc.jsonValue()),
      scope: maybe(fc.jsonValue()),
      more: maybe(fc.jsonValue()),
    });
    const header = fc.record({
      typ: maybe(fc.constantFrom("JWT", "at+jwt", "application/at+jwt", "dpop+jwt", "", 5, null)),
      kid: maybe(fc.jsonValue()),
      crit: maybe(fc.constantFrom(["b64"], [], ["x"], "b64")),
      b64: maybe(fc.boolean()),
      jwk: maybe(fc.constant(rsa.publicKey.export({ format: "jwk" }))),
      zip: maybe(fc.constant("DEF")),
    });
    let accepted = 0;
    const revoked = new Set<string>();
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...names),
        claims,
        maybe(header),
        // Two of three are good but for one claim or header, lest nothing ever passes.
        fc.constantFrom(...(["all", "one", "one"] as const)),
        fc.nat(),
        async (name, fuzzedClaims, fuzzedHeader, how, pick) => {
          const [alg, signer, key] = signers[name];
          const fuzzed = Object.entries(fuzzedClaims);
          const some = how === "all" ? fuzzed : [fuzzed[pick % fuzzed.length]!];
          const payload = { ...claimsWith(), ...Object.fromEntries(some) };
          const token = forge({ alg, ...(how === "all" ? fuzzedHeader : {}) }, payload, signer);
          const { verdict, auth } = await present(gates[name], token);
          const reference = await jwtVerify(token, key, {
            algorithms: [alg],
            issuer: testIssuer,
            audience: testAudience,
            requiredClaims: ["exp"],
            clockTolerance: 5,
          }).then(
            () => true,
            () => false,
          );
          const identity = `${name} ${typeof payload.jti === "string" ? payload.jti : token.slice(0, token.lastIndexOf("."))}`;
          if (!verdict.allowed) {
            expect(verdict.status).to.equal(401);
            if (verdict.cause === "the token is revoked") expect(revoked).to.include(identity);
            else if (reference)
              expect(
                ownRules.some((rule) => rule.test(verdict.cause)),
                verdict.cause,
              ).to.equal(true);
            return;
          }
          accepted += 1;
          expect(reference).to.equal(true);
          expect(auth?.expiresAt).to.be.greaterThan(Date.now() / 1000 - 1);
          expect(auth?.scopes.every((scope) => typeof scope === "string" && scope !== "")).to.equal(true);
          await gates[name].revocations.revoke(auth);
          revoked.add(identity);
          expect((await present(gates[name], token)).verdict.allowed).to.equal(false);
        },
      ),
      { numRuns: numRuns * 2 },
    );
    expect(accepted).to.be.greaterThan(numRuns / 10);
  });

  it("is found in an Authorization header of exactly one form", async () => {
    const token = goodTokens.secret();
    const piece = fc.oneof(
      fc.constantFrom(token, "Bearer", "bearer", "BEARER", "DPoP", "Basic", " ", "\t", ",", ".", "=", '"', ";", "n1"),
      fc.string({ maxLength: 4 }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 6 }), async (pieces) => {
        const authorization = pieces.join("");
        const verdict = await gates.secret.guard().check(fakeExchange({ headers: { authorization } }));
        const isGood =
          authorization.trim().toLowerCase().startsWith("bearer") &&
          /^bearer[ \t]\s*$/i.test(authorization.trim().slice(0, -token.length)) &&
          authorization.trim().endsWith(token);
        expect(verdict.allowed, JSON.stringify(authorization)).to.equal(isGood);
        if (!verdict.allowed) expect(verdict.status).to.equal(401);
      }),
      { numRuns: numRuns * 5, examples: [[["Bearer", " ", token]], [["bearer", "\t", " ", token, " "]]] },
    );
  });
});
