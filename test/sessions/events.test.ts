import { createGate } from "@portcullis/core/adapter";
import type { EndedSessions, Gate } from "@portcullis/core";
import { testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { cleanUp } from "../support/clean-up.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { until } from "../support/until.js";

describe("news of ended sessions", function () {
  // Tokens are issued in the second after a cut-off, several times.
  this.timeout(60_000);
  let prefix: string;
  beforeEach(() => {
    prefix = freshPrefix();
  });

  function openGate(redis = testRedisUrl()): Gate<unknown, object> {
    const tokens = {
      signingKey: testSecret,
      issuer: testIssuer,
      audience: "shop",
      maxSessions: 2,
      overlap: 0,
    } as const;
    const gate = createGate<unknown, object>(
      { redis, prefix, tokens, deadline: 1000, logger: silentLogger },
      () => ({}),
    );
    cleanUp(() => gate.close());
    return gate;
  }

  /** What a gate hears, once it listens. */
  async function listen(gate: Gate<unknown, object>): Promise<EndedSessions[]> {
    const heard: EndedSessions[] = [];
    let listening = false;
    gate.sessions.onRevoked(
      (ended) => heard.push(ended),
      () => (listening = true),
    );
    await until(() => listening);
    return heard;
  }

  for (const [where, redis] of [
    ["in one process", () => "memory"],
    ["in another process", testRedisUrl],
  ] as const) {
    it(`names the user and the sessions, ${where}`, async () => {
      const gate = openGate(redis());
      const heard = await listen(where === "in one process" ? gate : openGate(redis()));
      const authOf = async (token: string) => {
        const verified = await gate.verify(token);
        if (!verified.allowed) throw new Error(verified.cause);
        return verified.auth;
      };
      const issue = async (subject: string, org?: string) => {
        const tokens = await gate.tokens.issue({ subject, org });
        return { tokens, auth: await authOf(tokens.accessToken) };
      };
      const [a, b] = [await issue("alice"), await issue("alice")];
      const [bob, carol, dave] = [await issue("bob"), await issue("carol", "acme"), await issue("dave")];
      const everybody = [a, b, bob, carol, dave];
      const concerned = (ended: EndedSessions | undefined) =>
        everybody
          .map(({ auth }) => ended?.concerns(auth))
          .map((is, index) => (is === true ? index : -1))
          .filter((i) => i >= 0);
      let count = 0;
      async function next(reason: string, whom: readonly number[]): Promise<void> {
        await until(() => heard.length > count);
        const ended = heard[count];
        count += 1;
        expect(ended).to.include({ reason });
        expect(concerned(ended)).to.deep.equal(whom);
      }

      await gate.sessions.revoke("alice", a.tokens.sessionId);
      await next("revoked", [0]);
      await issue("alice");
      await issue("alice");
      await next("evicted", [1]);
      await gate.sessions.revokeAll("bob");
      await next("all", [2]);
      expect(heard[count - 1]?.concerns((await issue("bob")).auth)).to.equal(false);
      await gate.sessions.revokeGroup("acme");
      await next("group", [3]);
      await gate.tokens.refresh(dave.tokens.refreshToken);
      await gate.tokens.refresh(dave.tokens.refreshToken).catch(() => undefined);
      await next("reused", [4]);
      await gate.revocations.revoke(dave.auth);
      await next("token", [4]);
    });
  }

  it("is not sent to a removed listener, and a listener that throws affects no other", async () => {
    const gate = openGate("memory");
    gate.sessions.onRevoked(() => {
      throw new Error("a listener of the application's");
    });
    const heard: string[] = [];
    const stop = gate.sessions.onRevoked(({ reason }) => heard.push(reason));
    await gate.sessions.revokeAll("alice");
    stop();
    await gate.sessions.revokeAll("alice");
    expect(heard).to.deep.equal(["all"]);
  });

  it("ignores messages in an unknown form", async () => {
    const heard = await listen(openGate());
    const redis = new Redis(testRedisUrl());
    cleanUp(() => redis.disconnect());
    const [channel] = (await redis.pubsub("CHANNELS", `${prefix}*sessions*`)) as string[];
    for (const message of [
      "",
      "{}",
      "null",
      "[]",
      '{"reason":"all","principal":{}}',
      '{"reason":"nonsense"}',
      "x".repeat(70_000),
    ])
      for (const text of [message, `1:aaaaaaaaaaaa:1:${message}`]) await redis.publish(channel ?? "", text);
    await openGate().sessions.revokeAll("alice");
    await until(() => heard.length > 0);
    expect(heard.map(({ reason, principal }) => [reason, principal])).to.deep.equal([["all", "alice"]]);
  });
});
