import { createGate } from "@portcullis/core/adapter";
import type { EndedSessions, Gate, IssuedTokens } from "@portcullis/core";
import { startRedis, testIssuer, testSecret } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import type { Redis } from "ioredis";
import { IssuerScope } from "../../../packages/core/src/auth/issuer-scope.js";
import { CutoffRules } from "../../../packages/core/src/revocation/cutoffs.js";
import { createLogout } from "../../../packages/core/src/sessions/logout.js";
import type { SessionEnd } from "../../../packages/core/src/sessions/events.js";
import { SessionEvents } from "../../../packages/core/src/sessions/events.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { MemoryChannels } from "../../../packages/core/src/store/memory/channels.js";
import type { RevocationStore } from "../../../packages/core/src/store/ports/revocation.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import type { SessionStore } from "../../../packages/core/src/store/ports/sessions.js";
import { cleanUp } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { operate } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";

type AnyGate = Gate<unknown, object>;

const everything = ["~*"];
/** Cut-offs and revocations can be written, and what a session is cannot. */
const cutoffsOnly = ["~auth:cutoff:*", "~auth:revoked:*", "~portcullis:2:cutoff:*", "~portcullis:2:session-records:*"];

describe("an ending of sessions of which Redis has done only a part", function () {
  this.timeout(30_000);
  let server: RedisServer;
  let admin: Redis;
  before(async () => {
    server = await startRedis();
  });
  after(() => server.stop());

  beforeEach(async () => {
    admin = operate(server.url);
    await admin.flushall();
    await allow(everything);
  });

  /** From now on the gate's user may do this. */
  async function allow(rules: readonly string[]): Promise<void> {
    await admin.call("ACL", "SETUSER", "gate", "on", ">password", "allchannels", "+@all", "resetkeys", ...rules);
  }

  function openGate(user: string): AnyGate {
    const tokens = { signingKey: testSecret, issuer: testIssuer, audience: "shop", overlap: 0 } as const;
    const redis = `redis://${user}127.0.0.1:${server.port}`;
    const gate = createGate<unknown, object>({ redis, tokens, deadline: 1000, logger: silentLogger }, () => ({}));
    cleanUp(() => gate.close());
    return gate;
  }

  async function authOf(gate: AnyGate, { accessToken }: IssuedTokens) {
    const verified = await gate.verify(accessToken);
    if (!verified.allowed) throw new Error(verified.cause);
    return verified.auth;
  }

  const cases: readonly {
    readonly name: string;
    readonly may: readonly string[];
    /** What a user does with a session of hers, of which there is another. */
    readonly end: (gate: AnyGate, own: IssuedTokens, other: IssuedTokens) => Promise<unknown>;
    readonly dead: readonly ("own" | "other")[];
  }[] = [
    { name: "revokeAll", may: cutoffsOnly, end: (gate) => gate.sessions.revokeAll("alice"), dead: ["own", "other"] },
    { name: "revokeGroup", may: cutoffsOnly, end: (gate) => gate.sessions.revokeGroup("acme"), dead: ["own", "other"] },
    {
      name: "revokeOthers",
      may: cutoffsOnly,
      end: async (gate, own) => gate.sessions.revokeOthers(await authOf(openGate(""), own)),
      dead: ["other"],
    },
    {
      name: "revoke of a session",
      may: cutoffsOnly,
      end: (gate, _own, { sessionId }) => gate.sessions.revoke("alice", sessionId),
      dead: ["other"],
    },
    {
      name: "the second use of a refresh token",
      // The script that writes a cut-off needs TTL, the one that ends the session does not.
      may: ["~*", "-ttl"],
      end: async (gate, _own, { refreshToken }) => gate.tokens.refresh(refreshToken),
      dead: ["other"],
    },
  ];
  for (const { name, may, end, dead } of cases) {
    it(`is published to every process as far as it is done, though ${name} is rejected`, async () => {
      const [gate, witness] = [openGate("gate:password@"), openGate("")];
      const heard: EndedSessions[] = [];
      let listening = false;
      witness.sessions.onRevoked(
        (ended) => heard.push(ended),
        () => (listening = true),
      );
      await until(() => listening);
      const own = await gate.tokens.issue({ subject: "alice", org: "acme" });
      const other = await gate.tokens.issue({ subject: "alice", org: "acme" });
      const auths = { own: await authOf(gate, own), other: await authOf(gate, other) };
      if (name.includes("refresh")) await gate.tokens.refresh(other.refreshToken);
      await allow(may);
      const error = await rejectionOf(end(gate, own, other));
      expect(error).to.be.instanceOf(StoreFault);
      await until(() => heard.length > 0);
      const concerned = (["own", "other"] as const).filter((one) => heard.some((ended) => ended.concerns(auths[one])));
      expect(concerned).to.deep.equal(dead);
      for (const one of concerned) expect(await witness.revocations.isRevoked(auths[one])).to.equal(true);
      // Called again when Redis is well, it does the rest.
      await allow(everything);
      if (!name.includes("refresh")) await end(gate, own, other);
      expect((await witness.sessions.list("alice")).length).to.equal(2 - dead.length);
    });
  }

  for (const sessionId of ["s", undefined]) {
    it(`is published also if a provider logs out ${sessionId === undefined ? "a user" : "a session"}`, async () => {
      const heard: SessionEnd[] = [];
      const issuers = new IssuerScope({ known: [testIssuer] });
      const news = new SessionEvents(new MemoryChannels(), issuers, silentLogger);
      news.subscribe((ending) => heard.push(ending));
      const revocationStore: Partial<RevocationStore> = { cutOff: () => Promise.resolve(1000) };
      const store: Partial<SessionStore> = { end: () => Promise.reject(new StoreFault("timeout")) };
      const ending = createLogout({
        ...{ events: news, keys: new Keyspace("", "test", { issuers }), issuers },
        revocationStore: revocationStore as RevocationStore,
        health: { state: () => ({ kind: "memory", status: "up", findings: [] }) },
        store: store as SessionStore,
        cutoffs: new CutoffRules({
          ...{ maxLifetimeSeconds: 60, marginSeconds: 0, cutoffMarginSeconds: 0, ownIssuer: undefined },
        }),
        ...{ toleranceSeconds: 0, tokens: undefined, now: Date.now },
      });
      const logout = ending.logOut({ issuer: testIssuer, principal: "alice", sessionId, issuedAt: 1000 });
      expect(await rejectionOf(logout)).to.be.instanceOf(StoreFault);
      expect(heard.map(({ reason }) => reason)).to.deep.equal([sessionId === undefined ? "all" : "revoked"]);
    });
  }
});
