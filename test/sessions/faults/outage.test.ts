import { createGate } from "@portcullis/core/adapter";
import type { Gate, PortcullisOptions } from "@portcullis/core";
import { findFreePort, startCluster, startProxy, startRedis, testIssuer, testSecret } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { adapters } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { form, send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { operate } from "../../support/redis.js";
import { isRejected, rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";

const tokens = { signingKey: testSecret, issuer: testIssuer, audience: "shop" } as const;

function openGate(options: PortcullisOptions): Gate<unknown, object> {
  const gate = createGate<unknown, object>({ tokens, deadline: 500, logger: silentLogger, ...options }, () => ({}));
  cleanUp(() => gate.close());
  return gate;
}

describe("sessions while Redis has a bad day", function () {
  this.timeout(30_000);
  let server: RedisServer;

  beforeEach(async () => {
    server = await startRedis();
    cleanUp(() => server.stop());
  });

  /** What must say 503: nothing here claims a success that Redis has not recorded. */
  async function expectRefusals(gate: Gate<unknown, object>, refreshToken: string, sessionId: string): Promise<void> {
    const calls = [
      gate.tokens.issue({ subject: "alice" }),
      gate.tokens.refresh(refreshToken),
      gate.sessions.list("alice"),
      gate.sessions.revoke("alice", sessionId),
      gate.sessions.revokeAll("alice"),
      gate.sessions.revokeGroup("acme"),
    ];
    for (const error of await Promise.all(calls.map(rejectionOf)))
      expect(error).to.include({ code: "store_unavailable", status: 503 });
  }

  it("answers 503 to everything while it is stopped", async () => {
    const gate = openGate({ redis: server.url });
    const { refreshToken, sessionId } = await gate.tokens.issue({ subject: "alice" });
    server.pause();
    await expectRefusals(gate, refreshToken, sessionId);
    server.resume();
  });

  it("answers 503 while it is away, and the old refresh token is good afterwards", async () => {
    const durable = await startRedis({
      port: await findFreePort(),
      config: { appendonly: "yes", appendfsync: "always" },
    });
    cleanUp(() => durable.stop());
    const gate = openGate({ redis: durable.url });
    const { refreshToken, sessionId } = await gate.tokens.issue({ subject: "alice" });
    await durable.kill();
    await expectRefusals(gate, refreshToken, sessionId);
    await durable.restart();
    await until(async () => !(await isRejected(gate.sessions.list("bob"))));
    const refreshed = await gate.tokens.refresh(refreshToken);
    expect(refreshed.sessionId).to.equal(sessionId);
    expect((await gate.verify(refreshed.accessToken)).allowed).to.equal(true);
  });

  it("lets a client refresh again after it was stopped, as if nothing had happened", async () => {
    const gate = openGate({ redis: server.url });
    const { refreshToken, sessionId } = await gate.tokens.issue({ subject: "alice" });
    server.pause();
    expect(await rejectionOf(gate.tokens.refresh(refreshToken))).to.include({ code: "store_unavailable" });
    server.resume();
    await until(async () => !(await isRejected(gate.sessions.list("bob"))));
    const refreshed = await gate.tokens.refresh(refreshToken);
    expect(refreshed.sessionId).to.equal(sessionId);
    await gate.tokens.refresh(refreshed.refreshToken);
  });

  it("counts no session whose sign-in was answered 503 since a reply was lost", async () => {
    const proxy = await startProxy(server);
    cleanUp(() => proxy.close());
    const gate = openGate({ redis: proxy.url, tokens: { ...tokens, maxSessions: 1, onLimit: "refuse" } });
    await gate.sessions.list("alice");
    proxy.cutAfter('"createdAt"');
    expect(await rejectionOf(gate.tokens.issue({ subject: "alice" }))).to.include({ code: "store_unavailable" });
    expect(proxy.cuts).to.equal(1);
    proxy.cutAfter("");
    await until(async () => !(await isRejected(gate.tokens.issue({ subject: "alice" }))));
    expect(await gate.sessions.list("alice")).to.have.length(1);
    expect(await rejectionOf(gate.tokens.issue({ subject: "alice" }))).to.include({ status: 409 });
  });

  it("in a Cluster finishes the session end that it began when a refresh token was used again", async () => {
    const cluster = await startCluster();
    cleanUp(() => cluster.stop());
    const said: object[] = [];
    const gate = openGate({
      redis: { cluster: cluster.seeds },
      deadline: 5000,
      logger: { debug: () => undefined, warn: (fields) => void said.push(fields) },
    });
    const first = await gate.tokens.issue({ subject: "alice" });
    const access = [first.accessToken];
    let last = first.refreshToken;
    for (let round = 0; round < 8; round += 1) {
      const next = await gate.tokens.refresh(last);
      access.push(next.accessToken);
      last = next.refreshToken;
    }
    // All nodes but that of her sessions refuse to write, as they do without a replica.
    const operators = cluster.nodes.map(({ url }) => operate(url));
    const keys = await Promise.all(operators.map((operator) => operator.keys("*session-records*")));
    const others = operators.filter((_, index) => keys[index]?.length === 0);
    expect(others).to.have.length.above(0);
    for (const other of others) await other.config("SET", "min-replicas-to-write", "1");
    expect(await rejectionOf(gate.tokens.refresh(first.refreshToken))).to.include({ code: "store_unavailable" });
    for (const other of others) await other.config("SET", "min-replicas-to-write", "0");
    expect(await rejectionOf(gate.tokens.refresh(first.refreshToken))).to.include({ code: "invalid_grant" });
    expect(said).to.deep.include({ code: "refresh_reused" });
    for (const accessToken of access) expect((await gate.verify(accessToken)).allowed).to.equal(false);
  });

  const troubles: readonly [string, [string, ...string[]]][] = [
    ["full", ["CONFIG", "SET", "maxmemory", "1"]],
    ["a replica of nobody", ["REPLICAOF", "127.0.0.1", "1"]],
  ];
  for (const [what, command] of troubles) {
    it(`claims no success while it is ${what}`, async () => {
      const gate = openGate({ redis: server.url });
      const { refreshToken, sessionId } = await gate.tokens.issue({ subject: "alice", org: "acme" });
      const redis = new Redis(server.url);
      cleanUp(() => redis.disconnect());
      await redis.call(...command);
      for (const call of [
        () => gate.tokens.issue({ subject: "alice" }),
        () => gate.tokens.refresh(refreshToken),
        () => gate.sessions.revoke("alice", sessionId),
        () => gate.sessions.revokeAll("alice"),
      ]) {
        expect(await rejectionOf(call())).to.include({ code: "store_unavailable", status: 503 });
      }
      if (what === "full") await redis.config("SET", "maxmemory", "0");
      else await redis.call("REPLICAOF", "NO", "ONE");
      await until(async () => !(await isRejected(gate.sessions.revoke("nobody", "none"))));
      const refreshed = await gate.tokens.refresh(refreshToken);
      expect(await gate.sessions.revoke("alice", refreshed.sessionId)).to.equal(true);
      expect((await gate.verify(refreshed.accessToken)).allowed).to.equal(false);
    });
  }

  it("treats a session that Redis has lost as one that is over", async () => {
    const gate = openGate({ redis: server.url });
    const { refreshToken } = await gate.tokens.issue({ subject: "alice" });
    const redis = new Redis(server.url);
    cleanUp(() => redis.disconnect());
    await redis.flushall();
    expect(await rejectionOf(gate.tokens.refresh(refreshToken))).to.include({ code: "invalid_grant" });
  });

  for (const adapter of adapters) {
    it(`revokes the access tokens of a session that Redis has lost by its refresh token, on ${adapter.name}`, async () => {
      const app = await adapter.start({
        options: { redis: server.url, tokens, deadline: 1000, logger: silentLogger },
        use: (gate) => [gate.routes.revoke()],
        routes: {},
      });
      cleanUp(() => app.close());
      const { accessToken, refreshToken } = await app.gate.tokens.issue({ subject: "alice" });
      await operate(server.url).flushall();
      expect((await app.gate.verify(accessToken)).allowed).to.equal(true);
      expect((await form(`${app.url}/revoke`, { token: refreshToken })).status).to.equal(200);
      expect((await app.gate.verify(accessToken)).allowed).to.equal(false);
    });

    it(`tells the clients of ${adapter.name}`, async () => {
      const app = await adapter.start({
        options: { redis: server.url, tokens, deadline: 500, logger: silentLogger },
        use: () => [],
        routes: {
          "POST /login": async (_, gate) => (await gate.tokens.issue({ subject: "alice" })).response,
          "POST /refresh": async (_, gate) => (await gate.tokens.refresh("none.of.ours")).response,
          "POST /logout": async (_, gate) => ({ ended: await gate.sessions.revokeAll("alice") }),
        },
      });
      cleanUp(() => app.close());
      const post = async (path: string) => send(`${app.url}${path}`, { method: "POST" });
      expect((await post("/login")).status).to.equal(200);
      const refused = await post("/refresh");
      expect(refused.status).to.equal(400);
      expect(refused.headers).to.include({ "cache-control": "no-store" });
      server.pause();
      for (const path of ["/login", "/logout"]) {
        const answer = await post(path);
        expect(answer.status, path).to.equal(503);
        expect(answer.headers, path).to.include({ "retry-after": "1" });
      }
      server.resume();
    });
  }
});
