import { createGate } from "@portcullis/core/adapter";
import type { PortcullisOptions } from "@portcullis/core";
import { testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { rejectionOf } from "../support/rejection.js";
import type { Outcome } from "./support/issuer-process.js";
import type { Issuer } from "./support/issuers.js";
import { startIssuer } from "./support/issuers.js";
import { rounds } from "../support/soak.js";

/** Calls at once, half of them in each process. */
const calls = 60;
/** Sessions of one user: fewer than come at once. */
const most = 40;

describe("two processes that issue tokens", function () {
  this.timeout(rounds * 30_000);
  const prefix = freshPrefix();
  const options = (): PortcullisOptions => ({
    redis: testRedisUrl(),
    prefix,
    deadline: 5000,
    tokens: { signingKey: testSecret, issuer: testIssuer, audience: "shop", maxSessions: most, onLimit: "refuse" },
  });
  let issuers: readonly [Issuer, Issuer];
  let gate: ReturnType<typeof createGate<unknown, object>>;
  let redis: Redis;

  before(async () => {
    issuers = await Promise.all([startIssuer(options()), startIssuer(options())]);
    gate = createGate<unknown, object>({ ...options(), logger: silentLogger }, () => ({}));
    redis = new Redis(testRedisUrl());
  });

  after(async () => {
    redis.disconnect();
    await Promise.all([...issuers.map((issuer) => issuer.close()), gate.close()]);
  });

  async function both(order: (process: number) => Parameters<Issuer["obey"]>[0]): Promise<Outcome[]> {
    return (await Promise.all(issuers.map((issuer, index) => issuer.obey(order(index))))).flat();
  }

  async function isAccepted({ accessToken = "" }: Outcome): Promise<boolean> {
    return (await gate.verify(accessToken)).allowed;
  }

  const all = async (outcomes: readonly Outcome[]): Promise<boolean[]> => Promise.all(outcomes.map(isAccepted));

  for (let round = 1; round <= rounds; round += 1) {
    it(`give one refresh token one successor, and end the session at its next use (round ${round})`, async () => {
      const subject = `refresher ${round}`;
      const first = await gate.tokens.issue({ subject });
      const outcomes = await both(() => ({ call: "refresh", token: first.refreshToken, times: calls / 2 }));
      expect(outcomes.map(({ ok }) => ok)).to.deep.equal(outcomes.map(() => true));
      expect(new Set(outcomes.map(({ refreshToken }) => refreshToken)).size).to.equal(1);
      expect(await all(outcomes)).not.to.include(false);

      // All at once use the successor, and one the token before it: whatever comes first, one chain is left, or none.
      const token = outcomes[0]?.refreshToken ?? "";
      const second = await both((index) => ({
        call: "refresh",
        token: index === 0 ? token : first.refreshToken,
        times: calls / 2,
      }));
      const successors = second.filter(({ ok, refreshToken }) => ok && refreshToken !== token);
      expect(new Set(successors.map(({ refreshToken }) => refreshToken)).size).to.be.at.most(1);
      const error = await rejectionOf(gate.tokens.refresh(first.refreshToken));
      expect(error).to.have.property("code", "invalid_grant");
      expect(await gate.sessions.list(subject)).to.be.empty;
      expect(await all([...outcomes, ...second.filter(({ ok }) => ok)])).not.to.include(true);
    });

    it(`never exceed the maximum number of sessions of a user (round ${round})`, async () => {
      const subject = `collector ${round}`;
      const outcomes = await both(() => ({ call: "issue", request: { subject }, times: calls / 2 }));
      expect(outcomes.filter(({ ok }) => ok)).to.have.length(most);
      expect(new Set(outcomes.filter(({ ok }) => !ok).map(({ code }) => code))).to.deep.equal(
        new Set(["session_limit"]),
      );
      expect(await gate.sessions.list(subject)).to.have.length(most);
      const shared = `${prefix}auth:user_tokens:${subject}`;
      // Of each session the access and the refresh token.
      expect(await redis.scard(shared)).to.equal(2 * most);
      expect(await redis.ttl(shared)).to.be.above(14 * 86_400 - 60);
    });

    it(`end a sign-in that races "log out everywhere" as a whole, or not at all (round ${round})`, async () => {
      const subject = `racer ${round}`;
      const unlimited = { subject } as const;
      const [outcomes] = await Promise.all([
        both(() => ({ call: "issue", request: unlimited, times: calls / 2 })),
        issuers[0].obey({ call: "revokeAll", subject }),
        issuers[1].obey({ call: "revokeAll", subject }),
      ]);
      const issued = outcomes.filter(({ ok }) => ok);
      const alive = new Set((await gate.sessions.list(subject)).map(({ id }) => id));
      for (const outcome of issued)
        expect(await isAccepted(outcome), "a token works as long as its session is listed").to.equal(
          alive.has(outcome.sessionId ?? ""),
        );
      await gate.sessions.revokeAll(subject);
      expect(await all(issued)).not.to.include(true);
      const again = await gate.tokens.issue({ subject });
      expect(await isAccepted({ ok: true, accessToken: again.accessToken })).to.equal(true);
    });
  }

  it("leave no key without an end", async () => {
    const keys = await redis.keys(`${prefix}*`);
    expect(keys).not.to.be.empty;
    for (const key of keys) expect(await redis.pttl(key), key).to.be.above(0);
  });
});
