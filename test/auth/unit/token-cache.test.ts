import { createSecretKey } from "node:crypto";
import { testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import fc from "fast-check";
import type { ClaimRules } from "../../../packages/core/src/auth/access-token.js";
import { certainTimes, refusalOfTime } from "../../../packages/core/src/auth/access-token.js";
import { IssuerScope } from "../../../packages/core/src/auth/issuer-scope.js";
import { TokenCache } from "../../../packages/core/src/auth/token-cache.js";
import { IssuerVerifier, Verifier } from "../../../packages/core/src/auth/verifier.js";
import type { KeySource } from "../../../packages/core/src/auth/keys/key-source.js";
import { claimsWith, forge, hs256 } from "../support/mint.js";

const start = 2_000_000_000;

/** A verifier whose clock stands until it is moved, and that counts how often it looks for a key. */
function openVerifier(rules: Partial<ClaimRules> = {}, cacheSize = 100) {
  const state = { seconds: start, verified: 0, keysVersion: 0, secret: testSecret };
  const keys: KeySource = {
    candidates() {
      state.verified += 1;
      return [{ key: createSecretKey(Buffer.from(state.secret)), algorithms: ["HS256"] }];
    },
    get version() {
      return state.keysVersion;
    },
    status: () => "up",
    close: () => undefined,
  };
  const issuer = new IssuerVerifier(
    {
      keysOf: () => keys,
      algorithms: ["HS256"],
      issuer: undefined,
      audience: false,
      requiredClaims: [],
      rules: { toleranceSeconds: 5, maxLifetimeSeconds: 3600, requireJti: false, exactExpiry: true, ...rules },
      validate: undefined,
      rolesClaim: undefined,
    },
    new IssuerScope(),
    () => state.seconds * 1000,
  );
  const verifier = new Verifier({
    issuers: [issuer],
    byIssuer: false,
    cacheSize,
    prepare: () => ({ question: undefined, partition: "", lasts: true }),
  });
  async function cause(token: string): Promise<string | undefined> {
    const outcome = await verifier.verify(token);
    return "code" in outcome ? outcome.cause : undefined;
  }
  return { state, verifier, cause };
}

function token(claims: Record<string, unknown> = {}): string {
  return forge({ alg: "HS256" }, claimsWith({ iat: start, exp: start + 300, ...claims }), hs256);
}

describe("a token that was verified before", () => {
  it("is answered at once, without another verification", async () => {
    const { state, verifier } = openVerifier();
    const text = token();
    const first = await verifier.verify(text);
    for (let round = 0; round < 10; round += 1) expect(verifier.verify(text)).to.equal(first);
    expect(state.verified).to.equal(1);
  });

  it("is verified anew if it differs in any character", async () => {
    const { state, verifier, cause } = openVerifier();
    const text = token();
    await verifier.verify(text);
    const others = [
      `x${text.slice(1)}`,
      text.replace(".", ".x"),
      text.toUpperCase(),
      ` ${text}`,
      text.slice(1),
      `a${text}`,
    ];
    for (const other of others) expect(await cause(other), other).to.be.a("string");
    expect(verifier.verify(text)).not.to.be.instanceOf(Promise);
    expect(state.verified).to.be.at.most(1 + others.length);
  });

  it("ends at its exp, to the millisecond", async () => {
    const { state, verifier, cause } = openVerifier();
    const text = token({ exp: start + 300 });
    expect(await cause(text)).to.equal(undefined);
    state.seconds = start + 299.999;
    expect(verifier.verify(text)).not.to.be.instanceOf(Promise);
    for (const seconds of [300, 300.001, 301, 304, 1e6]) {
      state.seconds = start + seconds;
      expect(await cause(text), String(seconds)).to.be.a("string");
    }
  });

  it("costs no verification any more when it has expired, unless its key has changed", async () => {
    const { state, verifier } = openVerifier();
    const text = token({ exp: start + 300 });
    await verifier.verify(text);
    state.seconds = start + 300;
    for (let round = 0; round < 10; round += 1)
      expect(verifier.verify(text)).to.include({ code: "token_untimely", cause: "the token is expired" });
    expect(state.verified).to.equal(1);
    state.keysVersion = 1;
    expect(verifier.verify(text)).to.be.instanceOf(Promise);
  });

  it("ends with the tolerance only where revocation is off", async () => {
    const { state, cause } = openVerifier({ exactExpiry: false });
    const text = token({ exp: start + 300 });
    expect(await cause(text)).to.equal(undefined);
    state.seconds = start + 304.9;
    expect(await cause(text)).to.equal(undefined);
    state.seconds = start + 305;
    expect(await cause(text)).to.be.a("string");
  });

  it("is refused again where the clock has gone back behind its nbf", async () => {
    const { state, cause } = openVerifier();
    const text = token({ nbf: start });
    expect(await cause(text)).to.equal(undefined);
    state.seconds = start - 5;
    expect(await cause(text)).to.equal(undefined);
    state.seconds = start - 6;
    expect(await cause(text)).to.be.a("string");
    state.seconds = start;
    expect(await cause(text)).to.equal(undefined);
  });

  it("gives the same result with and without the cache, at any time", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          exp: fc.integer({ min: -20, max: 40 }),
          nbf: fc.option(fc.integer({ min: -20, max: 20 }), { nil: undefined }),
        }),
        fc.array(fc.integer({ min: -10, max: 50 }), { minLength: 1, maxLength: 6 }),
        fc.boolean(),
        async ({ exp, nbf }, moments, exactExpiry) => {
          const cached = openVerifier({ exactExpiry });
          const text = token({ iat: start - 100, exp: start + exp, nbf: nbf === undefined ? undefined : start + nbf });
          for (const moment of moments) {
            const fresh = openVerifier({ exactExpiry });
            cached.state.seconds = fresh.state.seconds = start + moment;
            expect((await cached.cause(text)) === undefined).to.equal((await fresh.cause(text)) === undefined);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it("is valid at every time between its certain times, by the rules that are read only outside of them", () => {
    const second = fc.integer({ min: -50, max: 50 });
    fc.assert(
      fc.property(
        fc.record({ exp: second, nbf: second, iat: second }, { requiredKeys: [] }),
        fc.record({
          toleranceSeconds: fc.constantFrom(0, 5, 0.5),
          exactExpiry: fc.boolean(),
          maxTokenAgeSeconds: fc.option(fc.nat({ max: 40 }), { nil: undefined }),
        }),
        fc.integer({ min: -240, max: 240 }).map((quarters) => quarters / 4),
        (claims, some, now) => {
          const rules: ClaimRules = { maxLifetimeSeconds: 3600, requireJti: false, ...some };
          const { from, until } = certainTimes(claims, rules);
          const isRefused = refusalOfTime(claims, rules, now) !== undefined;
          if (now >= from && now < until) expect(isRefused).to.equal(false);
          // The last moment of a maximum age is the only one outside that passes.
          else if (now !== until) expect(isRefused).to.equal(true);
        },
      ),
      { numRuns: 500 },
    );
  });

  it("is forgotten, not accepted, when many others came since", async () => {
    const { state, verifier } = openVerifier({}, 10);
    const tokens = Array.from({ length: 30 }, () => token());
    for (const text of tokens) await verifier.verify(text);
    expect(state.verified).to.equal(30);
    expect(verifier.verify(tokens[29] ?? "")).not.to.be.instanceOf(Promise);
    expect(verifier.verify(tokens[0] ?? "")).to.be.instanceOf(Promise);
  });
});

describe("a token whose key was withdrawn", () => {
  it("is verified anew, and refused, although it was accepted before", async () => {
    const { state, verifier, cause } = openVerifier();
    const text = token();
    expect(await cause(text)).to.equal(undefined);
    expect(verifier.verify(text)).not.to.be.instanceOf(Promise);
    Object.assign(state, { keysVersion: 1, secret: "another secret".repeat(5) });
    expect(await cause(text)).to.be.a("string");
    Object.assign(state, { keysVersion: 2, secret: testSecret });
    expect(await cause(text)).to.equal(undefined);
  });

  it("is not kept if that happened while it was verified", async () => {
    const { state, verifier } = openVerifier();
    const text = token();
    const verification = verifier.verify(text);
    state.keysVersion = 1;
    await verification;
    expect(verifier.verify(text)).to.be.instanceOf(Promise);
  });
});

describe("many requests at once with one unknown token", () => {
  it("are one verification, whether it is good or bad", async () => {
    const { state, verifier } = openVerifier();
    for (const text of [token(), `${token().slice(0, -4)}AAAA`]) {
      state.verified = 0;
      const outcomes = await Promise.all(Array.from({ length: 100 }, async () => verifier.verify(text)));
      expect(state.verified).to.equal(1);
      expect(new Set(outcomes).size).to.equal(1);
    }
  });

  it("leave nothing behind that a later one would wait for", async () => {
    const { state, cause } = openVerifier();
    const text = token({ nbf: start + 60 });
    expect(await cause(text)).to.be.a("string");
    state.seconds = start + 60;
    expect(await cause(text)).to.equal(undefined);
  });
});

describe("a token that was refused", () => {
  it("is not kept: nothing that fails takes a place in the cache", async () => {
    const { verifier, cause } = openVerifier({}, 1);
    const text = token();
    await verifier.verify(text);
    for (let round = 0; round < 20; round += 1) {
      expect(await cause(`${token()}x`)).to.be.a("string");
      expect(await cause(token({ exp: start - 1 }))).to.be.a("string");
    }
    expect(verifier.verify(text)).not.to.be.instanceOf(Promise);
  });
});

describe("the cache of verified tokens", () => {
  const entry = (token: string) => ({ token });
  const tail = "t".repeat(32);

  it("finds a token only by the whole of it, not by its tail", () => {
    const cache = new TokenCache(10);
    cache.set(entry(`a.${tail}`));
    expect(cache.get(`b.${tail}`)).to.equal(undefined);
    expect(cache.get(tail)).to.equal(undefined);
    expect(cache.get(`aa.${tail}`)).to.equal(undefined);
    expect(cache.get(`a.${tail}`)?.token).to.equal(`a.${tail}`);
  });

  it("stores one of several tokens with one tail, and never answers with another token", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom("a", "b", "c", ""), fc.constantFrom(tail, `${tail.slice(1)}u`)), {
          maxLength: 20,
        }),
        (operations) => {
          const cache = new TokenCache(3);
          for (const [head, end] of operations) {
            const text = head + end;
            const found = cache.get(text);
            expect(found === undefined || found.token === text).to.be.true;
            cache.set(entry(text));
            expect(cache.get(text)?.token).to.equal(text);
            expect(cache.size).to.be.at.most(3);
          }
        },
      ),
    );
  });

  it("never grows beyond its size", () => {
    const cache = new TokenCache(1000);
    for (let index = 0; index < 5000; index += 1) cache.set(entry(`token-${index}-${tail}`.slice(-40) + String(index)));
    expect(cache.size).to.equal(1000);
    cache.clear();
    expect(cache.size).to.equal(0);
  });
});
