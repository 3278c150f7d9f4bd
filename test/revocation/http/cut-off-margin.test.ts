import { expect } from "chai";
import type { EndedSessions } from "@portcullis/core";
import { nowSeconds, signToken, testAuth } from "@portcullis/testkit";
import { Redis } from "ioredis";
import type { AnyGate, AnyOptions, RunningApp } from "../../support/app.js";
import { adapters } from "../../support/app.js";
import { cleanUpInTest } from "../../support/clean-up.js";
import { commonRoutes, describeOnEveryFramework } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { issuerDigest } from "../../support/issuer-digest.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";

const inMargin = "the token is revoked: it was issued within revocation.cutoffMargin after a cut-off";
/** Accepts tokens that say they are issued up to a minute from now. */
const lenient = { auth: { ...testAuth, clockTolerance: "60s" }, revocation: { cutoffMargin: "10s" } } as const;

async function status({ url }: RunningApp, token: string): Promise<number | undefined> {
  return (await send(`${url}/me`, { token })).status;
}

async function causeOf(gate: AnyGate, token: string): Promise<string | undefined> {
  const verdict = await gate.verify(token);
  return verdict.allowed ? undefined : verdict.cause;
}

describeOnEveryFramework("a token of an issuer whose clock is ahead", (start) => {
  const ahead = (claims: object = {}, seconds = 4): Promise<string> =>
    signToken({ sub: "alice", sid: "s1", org_id: "acme", iat: nowSeconds() + seconds, ...claims });

  for (const [what, end] of [
    ["revokeSubject", (gate: AnyGate) => gate.revocations.revokeSubject("alice")],
    ["revokeAll", (gate: AnyGate) => gate.sessions.revokeAll("alice")],
    ["revokeGroup", (gate: AnyGate) => gate.sessions.revokeGroup("acme")],
  ] as const) {
    it(`is ended by ${what}() like any other, for good`, async () => {
      const app = await start();
      const [token, other] = [await ahead(), await signToken({ sub: "bob", org_id: "other" })];
      expect(await status(app, token)).to.equal(200);
      await end(app.gate);
      expect(await status(app, token)).to.equal(401);
      expect(await causeOf(app.gate, token)).to.equal(inMargin);
      expect(await status(app, other)).to.equal(200);
    });
  }

  it("is ended with its session, by whichever of its tokens asks", async () => {
    const app = await start(
      {},
      { routes: { ...commonRoutes, "POST /end": ({ auth }, gate) => gate.sessions.revoke(auth) } },
    );
    const [token, other] = [await ahead(), await ahead({ sid: "s2" })];
    const asking = await signToken({ sub: "alice", sid: "s1" });
    expect((await send(`${app.url}/end`, { method: "POST", token: asking })).status).to.equal(200);
    expect([await status(app, token), await status(app, other)]).to.deep.equal([401, 200]);
  });

  it("is revoked for isRevoked() and for listeners of sessions.onRevoked() too", async () => {
    const { gate } = await start(lenient);
    const heard: EndedSessions[] = [];
    cleanUpInTest(gate.sessions.onRevoked((ended) => heard.push(ended)));
    const verdict = await gate.verify(await ahead());
    if (!verdict.allowed) throw new Error("refused before");
    const cutoff = await gate.revocations.revokeSubject("alice");
    expect(await gate.revocations.isRevoked(verdict.auth)).to.equal(true);
    expect(await gate.revocations.isRevoked({ ...verdict.auth, issuedAt: cutoff + 10.9 })).to.equal(true);
    expect(await gate.revocations.isRevoked({ ...verdict.auth, issuedAt: cutoff + 11 })).to.equal(false);
    expect(
      heard.map((ended) => [cutoff + 10, cutoff + 11].map((issuedAt) => ended.concerns({ ...verdict.auth, issuedAt }))),
    ).to.deep.equal([[true, false]]);
  });

  it("is refused within the margin and accepted after it, also of a sign-in that came later", async () => {
    const app = await start(lenient);
    const cutoff = await app.gate.revocations.revokeSubject("alice");
    const at = (iat: number): Promise<string> => signToken({ sub: "alice", iat });
    const [before, within, after] = [await at(cutoff), await at(cutoff + 10), await at(cutoff + 11)];
    expect([await status(app, before), await status(app, within), await status(app, after)]).to.deep.equal([
      401, 401, 200,
    ]);
    expect(await causeOf(app.gate, before)).to.equal("the token is revoked");
    expect(await causeOf(app.gate, within)).to.equal(inMargin);
  });

  it("is accepted from the next second on where no margin is wanted", async () => {
    const app = await start({ revocation: { cutoffMargin: 0 } });
    const cutoff = await app.gate.revocations.revokeSubject("alice");
    const next = await signToken({ sub: "alice", iat: cutoff + 1 });
    expect(await status(app, next)).to.equal(200);
  });

  it("needs no margin where the gate issues it itself, from the store's clock: a sign-in right after works", async () => {
    const app = await start({ ...own, revocation: { cutoffMargin: "1h" } });
    const first = await app.gate.tokens.issue({ subject: "alice" });
    await app.gate.sessions.revokeAll("alice");
    const second = await app.gate.tokens.issue({ subject: "alice" });
    expect([await status(app, first.accessToken), await status(app, second.accessToken)]).to.deep.equal([401, 200]);
    const refreshed = await app.gate.tokens.refresh(second.refreshToken);
    expect(await status(app, refreshed.accessToken)).to.equal(200);
  });
});

const own = {
  auth: undefined,
  tokens: { signingKey: "k".repeat(32), issuer: "https://own.test", audience: "test-api" },
} satisfies Partial<AnyOptions>;

describe("a cut-off in Redis", () => {
  it("lives as long as the tokens that the margin adds", async () => {
    const [prefix, redis] = [freshPrefix(), new Redis(testRedisUrl())];
    cleanUpInTest(() => redis.disconnect());
    for (const [cutoffMargin, margin] of [
      [undefined, 5],
      [0, 0],
      ["90s", 90],
      [1500, 2],
    ] as const) {
      await redis.del(`${prefix}auth:cutoff:alice`);
      const app = await adapters[0]!.start({
        options: {
          ...{ redis: testRedisUrl(), prefix, logger: silentLogger, deadline: 1000, revocation: { cutoffMargin } },
          auth: { ...testAuth, maxLifetime: "1h" },
        },
        routes: commonRoutes,
      });
      const { gate } = app;
      const needed = 3600 + 300 + margin;
      await gate.revocations.revokeSubject("alice");
      expect(await redis.ttl(`${prefix}auth:cutoff:alice`)).to.be.within(needed - 10, needed);
      await gate.sessions.revokeGroup("acme");
      expect(await redis.ttl(`${prefix}portcullis:2:cutoff:org:${issuerDigest()}:acme`)).to.be.at.least(needed - 10);
      await app.close();
    }
  });

  it("revokes within the margin also where answers are kept in the process", async () => {
    const app = await adapters[0]!.start({
      options: {
        ...{ redis: testRedisUrl(), prefix: freshPrefix(), logger: silentLogger, deadline: 1000 },
        ...lenient,
        revocation: { ...lenient.revocation, check: "tracked" },
      },
      routes: commonRoutes,
    });
    const cutoff = await app.gate.revocations.revokeSubject("alice");
    const after = await signToken({ sub: "alice", iat: cutoff + 11 });
    const within = await signToken({ sub: "alice", iat: cutoff + 10 });
    for (let round = 0; round < 5; round += 1)
      expect([await status(app, after), await status(app, within)]).to.deep.equal([200, 401]);
    await app.gate.revocations.revokeSubject("alice");
    expect(await status(app, await signToken({ sub: "alice", iat: nowSeconds() + 4 }))).to.equal(401);
    await app.close();
  });

  it("has a margin that is a duration of at most an hour", async () => {
    for (const cutoffMargin of ["2h", -1, 1.5, Number.NaN, "soon", null, true]) {
      const started = rejectionOf(
        adapters[0]!.start({
          options: { redis: "memory", auth: testAuth, revocation: { cutoffMargin } as object },
          routes: {},
        }),
      );
      const error = await started;
      expect(error, String(cutoffMargin)).to.be.instanceOf(Error);
      expect((error as Error).message).to.match(/revocation\.cutoffMargin must/);
    }
  });
});
