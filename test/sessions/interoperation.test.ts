import { createGate } from "@portcullis/core/adapter";
import type { Gate } from "@portcullis/core";
import { nowSeconds, signToken, testAuth, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { rejectionOf } from "../support/rejection.js";

/** What the .NET services do with these keys, in the commands that StackExchange.Redis sends for it. */
function otherService(redis: Redis, prefix: string) {
  return {
    track: (user: string, jti: string) => redis.sadd(`${prefix}auth:user_tokens:${user}`, jti),
    async trackWithEnd(user: string, jti: string) {
      await redis.sadd(`${prefix}auth:user_tokens:${user}`, jti);
      await redis.expire(`${prefix}auth:user_tokens:${user}`, 900);
    },
    trackOrg: (org: string, jti: string) => redis.sadd(`${prefix}auth:org_tokens:${org}`, jti),
    tokensOf: (user: string) => redis.smembers(`${prefix}auth:user_tokens:${user}`),
    tokensOfOrg: (org: string) => redis.smembers(`${prefix}auth:org_tokens:${org}`),
    revoke: (jti: string) => redis.set(`${prefix}auth:revoked:${jti}`, "revoked", "EX", 900),
    isRevoked: async (jti: string) => (await redis.get(`${prefix}auth:revoked:${jti}`)) === "revoked",
    async revokeAll(user: string) {
      for (const jti of await this.tokensOf(user)) await this.revoke(jti);
      await redis.del(`${prefix}auth:user_tokens:${user}`);
    },
  };
}

describe("sessions beside services that know only the shared keys", () => {
  let redis: Redis;
  let prefix: string;
  let gate: Gate<unknown, object>;
  let other: ReturnType<typeof otherService>;

  before(() => {
    redis = new Redis(testRedisUrl());
  });
  after(() => redis.disconnect());

  beforeEach(() => {
    prefix = freshPrefix();
    other = otherService(redis, prefix);
    const { issuer, audience } = testAuth;
    const tokens = { signingKey: testSecret, issuer, audience };
    gate = createGate<unknown, object>(
      { redis: testRedisUrl(), prefix, tokens, deadline: 1000, logger: silentLogger },
      () => ({}),
    );
  });
  afterEach(async () => gate.close());

  const allowed = async (token: string): Promise<boolean> => (await gate.verify(token)).allowed;
  const jtiOf = async (token: string): Promise<string> => {
    const verified = await gate.verify(token);
    return verified.allowed ? (verified.auth.jti ?? "") : "";
  };
  const ttl = async (family: string): Promise<number> => redis.ttl(`${prefix}${family}`);

  it("show them every token, in sets of jti", async () => {
    const tokens = await gate.tokens.issue({ subject: "alice", org: "acme" });
    const jti = await jtiOf(tokens.accessToken);
    expect(await other.tokensOf("alice"))
      .to.include(jti)
      .and.have.length(2);
    expect(await other.tokensOfOrg("acme")).to.have.members(await other.tokensOf("alice"));
    for (const family of ["auth:user_tokens:alice", "auth:org_tokens:acme"])
      expect(await ttl(family)).to.be.within(14 * 86_400, 14 * 86_400 + 300);
    const refreshed = await gate.tokens.refresh(tokens.refreshToken);
    expect(await other.tokensOf("alice")).to.include.members([jti, await jtiOf(refreshed.accessToken)]);
    expect(await other.tokensOf("alice")).to.have.length(3);
    expect(await other.tokensOfOrg("acme")).to.have.members(await other.tokensOf("alice"));
  });

  it("end when those services revoke the tokens in the set, the refresh token included", async () => {
    const tokens = await gate.tokens.issue({ subject: "alice" });
    await other.revokeAll("alice");
    expect(await allowed(tokens.accessToken)).to.equal(false);
    const error = await rejectionOf(gate.tokens.refresh(tokens.refreshToken));
    expect(error).to.include({ code: "invalid_grant" });
  });

  it("leave them records that they read, for every token that ends", async () => {
    const tokens = await gate.tokens.issue({ subject: "alice", org: "acme" });
    const jti = await jtiOf(tokens.accessToken);
    await gate.sessions.revoke("alice", tokens.sessionId);
    expect(await other.isRevoked(jti)).to.equal(true);
    expect(await ttl(`auth:revoked:${jti}`)).to.be.within(1100, 1200);
    expect(await other.tokensOf("alice")).to.be.empty;
    expect(await other.tokensOfOrg("acme")).to.be.empty;
  });

  for (const [how, withEnd] of [
    ["without an end", false],
    ["with an end", true],
  ] as const) {
    it(`end tokens that they track in a set ${how}`, async () => {
      const foreign = await signToken({ sub: "alice", jti: "foreign-1" });
      await (withEnd ? other.trackWithEnd("alice", "foreign-1") : other.track("alice", "foreign-1"));
      const mine = await gate.tokens.issue({ subject: "alice" });
      expect(await ttl("auth:user_tokens:alice")).to.be.above(14 * 86_400 - 10);
      const verified = await gate.verify(mine.accessToken);
      expect(await allowed(foreign)).to.equal(true);
      await gate.sessions.revokeOthers(verified.allowed ? verified.auth : undefined);
      expect(await allowed(foreign)).to.equal(false);
      expect(await other.isRevoked("foreign-1")).to.equal(true);
      expect(await allowed(mine.accessToken)).to.equal(true);
      expect(await other.tokensOf("alice"))
        .to.include(await jtiOf(mine.accessToken))
        .and.have.length(2);
      await gate.sessions.revokeAll("alice");
      expect(await other.tokensOf("alice")).to.be.empty;
    });
  }

  it("spare the token that ends all others, also a token of another service", async () => {
    const theirs = await signToken({ sub: "alice", sid: "kept elsewhere", jti: "theirs" });
    for (const jti of ["theirs", "foreign"]) await other.track("alice", jti);
    const mine = await gate.tokens.issue({ subject: "alice" });
    const verified = await gate.verify(theirs);
    expect(await gate.sessions.revokeOthers(verified.allowed ? verified.auth : undefined)).to.equal(1);
    expect(await Promise.all([theirs, mine.accessToken].map(allowed))).to.deep.equal([true, false]);
    expect(await other.tokensOf("alice")).to.deep.equal(["theirs"]);
  });

  it("end untracked tokens by the cut-off of user, session and organisation", async () => {
    const iat = nowSeconds() - 5;
    const [bySubject, bySession, byOrg] = await Promise.all([
      signToken({ sub: "alice", iat }),
      signToken({ sub: "bob", iat, sid: "theirs" }),
      signToken({ sub: "carol", iat, org_id: "acme" }),
    ]);
    await gate.sessions.revokeAll("alice");
    const verified = await gate.verify(bySession);
    await gate.sessions.revoke(verified.allowed ? verified.auth : undefined);
    await gate.sessions.revokeGroup("acme");
    for (const token of [bySubject, bySession, byOrg]) expect(await allowed(token)).to.equal(false);
    expect(await allowed(await signToken({ sub: "bob", iat, sid: "theirs" }))).to.equal(false);
    expect(await allowed(await signToken({ sub: "bob", iat, sid: "another" }))).to.equal(true);
  });

  it("revoke the tracked tokens of an organisation", async () => {
    await other.trackOrg("acme", "org-1");
    await gate.sessions.revokeGroup("acme");
    expect(await other.isRevoked("org-1")).to.equal(true);
    expect(await other.tokensOfOrg("acme")).to.be.empty;
  });

  it("report a shared key that is not a set, and end the known sessions all the same", async () => {
    const tokens = await gate.tokens.issue({ subject: "alice" });
    await redis.set(`${prefix}auth:user_tokens:alice`, "no set", "EX", 60);
    const error = await rejectionOf(gate.tokens.issue({ subject: "alice" }));
    expect(error).to.include({ code: "store_unavailable", kind: "unreadable" });
    expect(await gate.sessions.revokeAll("alice")).to.equal(1);
    expect(await allowed(tokens.accessToken)).to.equal(false);
  });

  it("never keep a dead token in the set, nor drop a live one", async () => {
    const short = { signingKey: testSecret, issuer: testAuth.issuer, audience: testAuth.audience };
    const { accessToken } = await gate.tokens.issue({ subject: "alice" });
    // Expired long ago, as far as the record of expiries says; a second gate of the same service cleans up.
    const [side] = await redis.keys(`${prefix}portcullis:2:session-tokens:*`);
    await redis.zadd(side ?? "", nowSeconds() - 400, "dead", nowSeconds() - 100, "within the margin");
    await other.track("alice", "dead");
    await other.track("alice", "within the margin");
    await other.track("alice", "unknown");
    const second = createGate<unknown, object>(
      { redis: testRedisUrl(), prefix, tokens: short, deadline: 1000, logger: silentLogger },
      () => ({}),
    );
    try {
      await second.tokens.issue({ subject: "alice" });
    } finally {
      await second.close();
    }
    const members = await other.tokensOf("alice");
    expect(members).not.to.include("dead");
    expect(members).to.include.members([await jtiOf(accessToken), "within the margin", "unknown"]);
  });
});
