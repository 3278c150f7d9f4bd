import { expect } from "chai";
import { Redis } from "ioredis";
import { nowSeconds, signToken, testAuth } from "@portcullis/testkit";
import { adapters } from "../../support/app.js";
import type { RunningApp } from "../../support/app.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { issuerDigest } from "../../support/issuer-digest.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";

describe("the keys shared with other services", () => {
  let redis: Redis;
  let app: RunningApp;
  let prefix: string;

  beforeEach(async () => {
    redis = new Redis(testRedisUrl());
    prefix = freshPrefix();
    app = await adapters[0]!.start({
      options: { redis: testRedisUrl(), prefix, auth: testAuth, deadline: 1000, logger: silentLogger },
      routes: { "GET /me": ({ auth }) => auth?.subject },
    });
  });
  afterEach(async () => {
    await app.close();
    redis.disconnect();
  });

  it("have the form that those services read: the literal jti, the text revoked, an expiry after that of the token", async () => {
    const expiresAt = nowSeconds() + 120;
    for (const jti of ["plain", "0f8fad5b-d9cb-469f-a165-70867728950e", "{x}:*", "caf\u00e9"]) {
      await app.gate.revocations.revoke({ jti, expiresAt });
      const key = `${prefix}auth:revoked:${jti}`;
      expect(await redis.type(key)).to.equal("string");
      expect(await redis.get(key)).to.equal("revoked");
      expect(await redis.expiretime(key)).to.equal(expiresAt + 300);
    }
  });

  it("hold cut-offs in unix seconds, by Redis' clock, for the longest token life and the margin", async () => {
    const cutoff = await app.gate.revocations.revokeSubject("alice");
    const [seconds] = await redis.time();
    expect(cutoff).to.be.within(Number(seconds) - 5, Number(seconds));
    expect(await redis.get(`${prefix}auth:cutoff:alice`)).to.equal(String(cutoff));
    expect(await redis.ttl(`${prefix}auth:cutoff:alice`)).to.be.within(30 * 86_400 + 295, 30 * 86_400 + 305);
  });

  it("are honoured as other services write them, whatever the value or its end", async () => {
    const writes: [string, () => Promise<unknown>][] = [
      ["one", () => redis.set(`${prefix}auth:revoked:one`, "revoked", "EX", 60)],
      ["two", () => redis.set(`${prefix}auth:revoked:two`, "1")],
      ["three", () => redis.sadd(`${prefix}auth:revoked:three`, "x")],
    ];
    for (const [jti, write] of writes) {
      const token = await signToken({ jti });
      expect((await send(`${app.url}/me`, { token })).status).to.equal(200);
      await write();
      expect((await send(`${app.url}/me`, { token })).status).to.equal(401);
    }
  });

  it("end every token by a cut-off that is as late as can be written", async () => {
    const token = await signToken({ sub: "late" });
    for (const cutoff of [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER - 1, Date.now()]) {
      await redis.set(`${prefix}auth:cutoff:late`, cutoff);
      expect((await send(`${app.url}/me`, { token })).status, String(cutoff)).to.equal(401);
    }
    await redis.del(`${prefix}auth:cutoff:late`);
  });

  it("refuse with 503, never 200, where a cut-off cannot be read", async () => {
    const token = await signToken({ sub: "odd" });
    for (const poison of [
      ...["yesterday", "nan", "inf", "-inf", "", " ", "-1", "1e999", "1e9", "0x7fffffff", "1.5", " 1", "1 ", "+1"].map(
        (text) => () => redis.set(`${prefix}auth:cutoff:odd`, text),
      ),
      () => redis.set(`${prefix}auth:cutoff:odd`, "99999999999999999999"),
      () => redis.sadd(`${prefix}auth:cutoff:odd`, "1"),
      () => redis.rpush(`${prefix}auth:cutoff:odd`, "1"),
    ]) {
      await redis.del(`${prefix}auth:cutoff:odd`);
      await poison();
      expect((await send(`${app.url}/me`, { token })).status).to.equal(503);
    }
    await redis.del(`${prefix}auth:cutoff:odd`);
    expect((await send(`${app.url}/me`, { token })).status).to.equal(200);
  });

  it("move a cut-off that cannot be read to now, so that logging out everywhere works and signing in again does", async () => {
    const key = `${prefix}auth:cutoff:odd`;
    const token = await signToken({ sub: "odd", iat: nowSeconds() - 10 });
    for (const poison of [() => redis.set(key, "nan"), () => redis.rpush(key, "1")]) {
      await redis.del(key);
      await poison();
      const cutoff = await app.gate.revocations.revokeSubject("odd");
      expect(await redis.get(key)).to.equal(String(cutoff));
      expect((await send(`${app.url}/me`, { token })).status).to.equal(401);
    }
  });

  it("keep a longer life that a cut-off already has", async () => {
    const key = `${prefix}auth:cutoff:alice`;
    await redis.set(key, "5", "EX", 90 * 86_400);
    await app.gate.revocations.revokeSubject("alice");
    expect(await redis.ttl(key)).to.be.within(90 * 86_400 - 60, 90 * 86_400);
  });

  it("never lose an end that was there, nor keep one that was not", async () => {
    const key = `${prefix}auth:revoked:j`;
    await redis.set(key, "revoked");
    await app.gate.revocations.revoke({ jti: "j", expiresAt: nowSeconds() + 60 });
    expect(await redis.ttl(key)).to.be.within(355, 360);
    await app.gate.revocations.revoke({ jti: "j", expiresAt: nowSeconds() + 10 });
    expect(await redis.ttl(key)).to.be.within(355, 360);
  });

  it("need nothing for a token that is long dead", async () => {
    await app.gate.revocations.revoke({ jti: "dead", expiresAt: nowSeconds() - 301 });
    expect(await redis.exists(`${prefix}auth:revoked:dead`)).to.equal(0);
    await app.gate.revocations.revoke({ jti: "dying", expiresAt: nowSeconds() - 299 });
    expect(await redis.exists(`${prefix}auth:revoked:dying`)).to.equal(1);
  });

  it("all start with the prefix, and all have an end", async () => {
    await send(`${app.url}/me`, { token: await signToken({ jti: undefined }) });
    await app.gate.revocations.revoke({ token: await signToken({ jti: undefined }), expiresAt: nowSeconds() + 60 });
    await app.gate.revocations.revoke({ jti: "x".repeat(600), expiresAt: nowSeconds() + 60 });
    const keys = await redis.keys(`${prefix}*`);
    // The keys by which the gate looks at its Redis come and go when they like.
    const records = keys.filter((key) => !/portcullis:2:(marker:|shared-issuer)|:examination:/.test(key));
    expect(records.map((key) => key.replace(/[0-9a-f]{64}$/, "<sha256>").slice(prefix.length)).sort()).to.deep.equal([
      `portcullis:2:revoked:input:${issuerDigest()}:<sha256>`,
      `portcullis:2:revoked:jti:${issuerDigest()}:~<sha256>`,
    ]);
    for (const key of keys) expect(await redis.ttl(key)).to.be.greaterThan(0);
  });
});
