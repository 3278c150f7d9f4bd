import { testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { StoreFault, TokenError } from "../../packages/core/src/index.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { rejectionOf } from "../support/rejection.js";
import { openGate } from "../support/fake-gate.js";
import type { FakeGate } from "../support/fake-gate.js";

/** Values in the place of the right ones: from a client's JSON, or by a mistake of the application. */
const odd: readonly unknown[] = [
  ...[undefined, null, "", 5, Number.NaN, 5n, true, Symbol("x"), () => "x"],
  ...[{}, [], ["x"], { token: 5 }, { principal: {} }, { jti: [] }, Buffer.from("x")],
  Object.create(null) as object,
];

/** Every public method that takes a value, once for each of its arguments. */
const calls: Readonly<Record<string, (gate: FakeGate, value: never) => unknown>> = {
  "verify()": (gate, value) => gate.verify(value),
  "revocations.revoke()": (gate, value) => gate.revocations.revoke(value),
  "revocations.revoke() with options": (gate, value) => gate.revocations.revoke({ jti: "a", expiresAt: 1 }, value),
  "revocations.revokeSubject()": (gate, value) => gate.revocations.revokeSubject(value),
  "revocations.isRevoked()": (gate, value) => gate.revocations.isRevoked(value),
  "revocations.isRevoked() of parts": (gate, value) =>
    gate.revocations.isRevoked({ jti: "a", principal: value, sessionId: value, issuer: value, claims: value }),
  "revocations.isRevoked() of a time": (gate, value) => gate.revocations.isRevoked({ jti: "a", issuedAt: value }),
  "tokens.issue()": (gate, value) => gate.tokens.issue(value),
  "tokens.issue() for a subject": (gate, value) => gate.tokens.issue({ subject: value }),
  "tokens.issue() with more": (gate, value) =>
    gate.tokens.issue({ subject: "alice", claims: value, scopes: value, org: value, device: value }),
  "tokens.refresh()": (gate, value) => gate.tokens.refresh(value),
  "tokens.refresh() with a request": (gate, value) => gate.tokens.refresh("x", value),
  "sessions.list()": (gate, value) => gate.sessions.list(value),
  "sessions.list() with options": (gate, value) => gate.sessions.list("alice", value),
  "sessions.revoke()": (gate, value) => gate.sessions.revoke(value),
  "sessions.revoke() of a session": (gate, value) => gate.sessions.revoke("alice", value),
  "sessions.revokeOthers()": (gate, value) => gate.sessions.revokeOthers(value),
  "sessions.revokeAll()": (gate, value) => gate.sessions.revokeAll(value),
  "sessions.revokeGroup()": (gate, value) => gate.sessions.revokeGroup(value),
  "principal()": (gate, value) => gate.principal(value),
  "principal() of parts": (gate, value) => gate.principal({ subject: value, issuer: value, claim: value }),
  "cache.forUser()": (gate, value) => gate.cache.forUser(value),
  "cache.forTenant()": (gate, value) => gate.cache.forTenant(value),
  "sessions.onRevoked()": (gate, value) => gate.sessions.onRevoked(value),
  "responses.purge()": (gate, value) => gate.responses.purge(value),
  "responses.purgePath()": (gate, value) => gate.responses.purgePath(value),
  "logins.unblock()": (gate, value) => gate.logins.unblock(value),
  "logins.unblock() of both": (gate, value) => gate.logins.unblock({ account: value, ip: value }),
  "quotas.peek()": (gate, value) => gate.quotas.peek("ip", value),
  "quotas.peek() of a policy": (gate, value) => gate.quotas.peek(value, "192.0.2.1"),
  "quotas.busiest()": (gate, value) => gate.quotas.busiest(value),
  "quotas.reset()": (gate, value) => gate.quotas.reset("ip", value),
  "quotas.block()": (gate, value) => gate.quotas.block("ip", "192.0.2.1", value),
  "quotas.setOverride()": (gate, value) => gate.quotas.setOverride("ip", value),
  "quotas.clearOverride()": (gate, value) => gate.quotas.clearOverride("ip", value),
};

/** How JavaScript complains where a value was used before it was looked at. */
const internal =
  /Cannot (?:read|destructure|use|convert|set|access|mix)|is not (?:a function|iterable|a constructor|an object)|must be of type/;

for (const [name, redis] of [
  ["in process", () => "memory"],
  ["on Redis", testRedisUrl],
] as const) {
  describe(`a value of the wrong kind, ${name}`, () => {
    for (const [what, call] of Object.entries(calls)) {
      it(`given to ${what} is not an internal TypeError: the message shows the correct form`, async () => {
        const gate = openGate({
          redis: redis(),
          prefix: freshPrefix(),
          deadline: 1000,
          logger: silentLogger,
          tokens: { signingKey: testSecret, issuer: testIssuer, audience: "shop" },
          limits: [{ name: "ip", per: "ip", limit: 5, window: "1m" }],
        });
        for (const value of odd) {
          let error: unknown;
          try {
            await call(gate, value as never);
          } catch (thrown) {
            error = thrown;
          }
          if (error === undefined) continue;
          expect(error, typeof value).to.satisfy(
            (one: unknown) => one instanceof TypeError || one instanceof RangeError || one instanceof TokenError,
          );
          expect(error).not.to.be.instanceOf(StoreFault);
          expect((error as Error).message, typeof value).not.to.match(internal);
        }
      });
    }
  });
}

describe("a value that a client chooses", () => {
  it("is refused in the place of a refresh token, and names no session in the place of a session id", async () => {
    const gate = openGate({ tokens: { signingKey: testSecret, issuer: testIssuer, audience: "shop" } });
    for (const value of [undefined, null, "", 5, {}, [], ["x"], true]) {
      const error: unknown = await rejectionOf(gate.tokens.refresh(value as never));
      expect(gate.tokens.answer(error), JSON.stringify(value)).to.deep.include({ status: 400 });
      const isMissing = value === undefined || value === null || value === "";
      expect(error).to.include({ code: isMissing ? "invalid_request" : "invalid_grant" });
    }
    for (const value of [null, "", 5, {}, [], "\ud800", "x".repeat(600)])
      expect(await gate.sessions.revoke("alice", value as never), JSON.stringify(value)).to.equal(false);
  });

  it("is never compared as something else: a time that is no number, or a name that is no text", async () => {
    const gate = openGate({ auth: testAuth });
    for (const wrong of [{ issuedAt: "5" }, { issuedAt: Number.NaN }, { principal: 5 }, { sessionId: {} }]) {
      const error: unknown = await rejectionOf(gate.revocations.isRevoked({ jti: "a", ...wrong } as never));
      expect(error, JSON.stringify(wrong)).to.be.instanceOf(TypeError);
    }
  });
});
