import { once } from "node:events";
import type { ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { nowSeconds, signToken, startCluster, startProxy, startRedis, testAuth } from "@portcullis/testkit";
import type { RedisServer, RedisServerOptions } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster } from "ioredis";
import { cleanUp } from "../../support/clean-up.js";
import { admit, openGate } from "../../support/fake-gate.js";
import type { FakeGate, FakeOptions } from "../../support/fake-gate.js";
import { forkScript } from "../../support/fork.js";
import { freshPrefix, operate, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";
import type { ConnectionReport } from "../support/connection-worker.js";
import { connect, openIssuer, signIn, watch } from "../support/connections.js";
import type { Watched } from "../support/connections.js";

/** Far above a second, the promise, for a machine under load; far below the life of the tokens. */
const patienceMs = 8000;
const worker = new URL("../support/connection-worker.ts", import.meta.url);

describe("open connections and other processes", function () {
  this.timeout(60_000);

  it("end when another service writes the record or the cut-off alone, with SET and no message", async () => {
    const prefix = freshPrefix();
    const gate = openGate({ redis: testRedisUrl(), prefix, auth: testAuth, deadline: 2000 });
    await endByRawRecords(gate, prefix, operate(testRedisUrl()));
  });

  it("end in a Cluster when another service writes the record or the cut-off alone", async () => {
    const { seeds, stop } = await startCluster({ masters: 3 });
    cleanUp(stop);
    const operator = new Cluster([...seeds]);
    operator.on("error", () => undefined);
    cleanUp(() => operator.disconnect());
    const gate = openGate({ redis: { cluster: seeds }, prefix: "c:", auth: testAuth, deadline: 2000 });
    await endByRawRecords(gate, "c:", operator);
    // Many keys of many hash slots, without any message.
    const [first, ...others] = await Promise.all(
      Array.from({ length: 100 }, (_, n) => connect(gate, { sub: `user ${n}` })),
    );
    if (first === undefined) throw new Error("no connection");
    await operator.set(`c:auth:revoked:${first.connection.auth.jti}`, "1");
    expect(await first.ended).to.equal("revoked");
    expect(others.every(({ reasons }) => reasons.length === 0)).to.equal(true);
  });

  it("end when another process ends the session, the user's sessions or the organisation, or revokes the token", async () => {
    const options: FakeOptions = { redis: testRedisUrl(), prefix: freshPrefix() };
    const [own, other] = [openIssuer(options), openIssuer(options)];
    const session = watch(own, await signIn(own));
    const user = watch(own, await signIn(own, "bob"));
    const group = watch(own, await signIn(own, "carol", "acme"));
    const token = watch(own, await signIn(own, "dora"));
    const stays = watch(own, await signIn(own, "eve"));
    const { auth } = session.connection;
    await other.sessions.revoke(auth, auth.sessionId ?? "");
    await other.sessions.revokeAll("bob");
    await other.sessions.revokeGroup("acme");
    await other.revocations.revoke(token.connection.auth);
    expect(await Promise.all([session.ended, user.ended, group.ended, token.ended])).to.deep.equal([
      ...["session_ended", "session_ended", "session_ended", "revoked"],
    ]);
    expect(stays.reasons).to.deep.equal([]);
  });

  it("end for 300 of 1,000 connections of another process within a second each, and the others stay", async () => {
    const prefix = freshPrefix();
    const gate = openGate({ redis: testRedisUrl(), prefix, auth: testAuth, deadline: 2000 });
    const jtis = Array.from({ length: 1000 }, (_, index) => `j${index}`);
    const process = await startWorker(testRedisUrl(), prefix, await Promise.all(jtis.map((jti) => signToken({ jti }))));
    const revokedAt = new Map<string, number>();
    for (const jti of jtis.slice(0, 300)) {
      revokedAt.set(jti, Date.now());
      await gate.revocations.revoke({ jti, expiresAt: nowSeconds() + 60 });
    }
    await until(() => process.ended.size >= 300);
    const delays = [...process.ended].map(([jti, { at }]) => at - (revokedAt.get(jti) ?? Number.NaN));
    delays.sort((a, b) => a - b);
    expect(delays[296], `p99 of ${delays.join(" ")}`).to.be.below(1000);
    await sleep(600);
    expect(process.ended.size).to.equal(300);
  });

  it("end as soon as a process goes on that stood still while the token was revoked, and while one expired", async () => {
    const prefix = freshPrefix();
    const exp = nowSeconds() + 3;
    const tokens = [await signToken({ jti: "revoked" }), await signToken({ jti: "expired", exp, sub: "bob" })];
    const process = await startWorker(testRedisUrl(), prefix, [
      ...tokens,
      await signToken({ jti: "good", sub: "carol" }),
    ]);
    process.child.kill("SIGSTOP");
    await operate(testRedisUrl()).set(`${prefix}auth:revoked:revoked`, "1");
    await until(() => Date.now() > exp * 1000);
    const resumedAt = Date.now();
    process.child.kill("SIGCONT");
    await until(() => process.ended.size === 2);
    for (const { at } of process.ended.values()) expect(at - resumedAt).to.be.below(patienceMs);
    expect([...process.ended.keys()].sort()).to.deep.equal(["expired", "revoked"]);
  });
});

describe("open connections and faults of Redis", function () {
  this.timeout(60_000);

  const refusals: Record<string, string> = {
    "to tell of changed keys": "-client|tracking",
    "to subscribe": "-subscribe",
    "to publish and to tell of changed keys": "-publish -client|tracking",
    "to connect a second time": "-client",
  };
  for (const [what, rules] of Object.entries(refusals)) {
    it(`end by the questions alone if Redis refuses ${what}`, async () => {
      const redis = await start();
      const operator = operate(redis.url);
      await operator.call("ACL", "SETUSER", "app", "on", ">app", "~*", "&*", "+@all", ...rules.split(" "));
      const gate = openGate({ ...on(redis), redis: redis.url.replace("//", "//app:app@") });
      await endByRawRecords(gate, "", operator);
      const other = openGate(on(redis));
      const one = await connect(gate, { sub: "frank" });
      await other.revocations.revokeSubject("frank");
      expect(await one.ended).to.equal("session_ended");
      expect((await gate.examine()).map(({ code }) => code)).to.include("tracking_refused");
      expect((await other.examine()).map(({ code }) => code)).not.to.include("tracking_refused");
    });
  }

  it("still get messages if Redis refuses to tell of changed keys", async () => {
    const redis = await start();
    const operator = operate(redis.url);
    await operator.call("ACL", "SETUSER", "app", "on", ">app", "~*", "&*", "+@all", "-client|tracking");
    const gate = openIssuer({ redis: redis.url.replace("//", "//app:app@"), connections: { checkEvery: "10s" } });
    const one = watch(gate, await signIn(gate));
    await until(
      async () =>
        Number(((await operator.call("PUBSUB", "NUMSUB", "portcullis:2:channel:sessions")) as string[])[1]) > 0,
    );
    const other = openIssuer({ redis: redis.url });
    const startedAt = performance.now();
    await other.sessions.revokeAll("alice");
    expect(await one.ended).to.equal("session_ended");
    expect(performance.now() - startedAt).to.be.below(patienceMs);
  });

  it("end if the listening connection is dead, and nothing comes of it", async () => {
    const redis = await start();
    const proxy = await startProxy(redis);
    cleanUp(() => proxy.close());
    const gate = openGate({ ...on(redis), redis: proxy.url });
    const operator = operate(redis.url);
    const one = await connect(gate);
    await until(async () => (await listeners(operator)).length > 0);
    const killer = setInterval(() => void killListeners(operator).catch(() => undefined), 5);
    try {
      await operator.set(`auth:revoked:${one.connection.auth.jti}`, "1");
      expect(await one.ended).to.equal("revoked");
    } finally {
      clearInterval(killer);
    }
  });

  it("stay while Redis stands still, say so, and end when it goes on", async () => {
    const redis = await start();
    const gate = openGate({ ...on(redis), deadline: 50 });
    const changes: boolean[] = [];
    const forget = gate.connections.onDegraded((isDegraded) => changes.push(isDegraded));
    const [one, stays] = [await admitted(gate), await admitted(gate, "bob")];
    const operator = operate(redis.url);
    await operator.ping();
    redis.pause();
    // It will run first thing.
    const written = operator.set(`auth:revoked:${one.connection.auth.jti}`, "1");
    await until(() => gate.connections.isDegraded);
    expect(gate.health().store.findings).to.include("open connections cannot be checked");
    expect([one.reasons, stays.reasons, changes]).to.deep.equal([[], [], [true]]);
    redis.resume();
    await written;
    expect(await one.ended).to.equal("revoked");
    await until(() => !gate.connections.isDegraded);
    expect([stays.reasons, changes]).to.deep.equal([[], [true, false]]);
    expect(gate.health().store.findings).not.to.include("open connections cannot be checked");
    forget();
  });

  it("end within a second of the connection to a restarted Redis that kept its data", async () => {
    const redis = await start({ config: { appendonly: "yes", appendfsync: "always" } });
    const proxy = await startProxy(redis);
    cleanUp(() => proxy.close());
    const gate = openGate({ ...on(redis), redis: proxy.url });
    const [one, stays] = [await admitted(gate), await admitted(gate, "bob")];
    proxy.mode = "refuse";
    proxy.reset();
    const operator = operate(redis.url);
    await operator.set(`auth:revoked:${one.connection.auth.jti}`, "1");
    await redis.kill();
    await redis.restart();
    await until(() => gate.connections.isDegraded);
    expect(one.reasons).to.deep.equal([]);
    proxy.mode = "pass";
    await until(() => !gate.health().store.findings.includes("not connected"));
    const connectedAt = performance.now();
    expect(await one.ended).to.equal("revoked");
    expect(performance.now() - connectedAt).to.be.below(patienceMs);
    await until(() => !gate.connections.isDegraded);
    expect(stays.reasons).to.deep.equal([]);
  });

  it("stay when Redis has lost all its data, and end with what is recorded then", async () => {
    const redis = await start();
    const gate = openGate(on(redis));
    const one = await admitted(gate);
    await redis.kill();
    await until(() => gate.connections.isDegraded);
    await redis.restart();
    await until(() => !gate.connections.isDegraded);
    expect(one.reasons).to.deep.equal([]);
    await operate(redis.url).set(`auth:cutoff:alice`, String(nowSeconds()));
    expect(await one.ended).to.equal("session_ended");
  });

  it("end in this process although Redis is gone before anybody can be asked", async () => {
    const redis = await start();
    const gate = openIssuer({ redis: redis.url, connections: { checkEvery: "10s" } });
    const one = watch(gate, await signIn(gate));
    await gate.sessions.revokeAll("alice");
    expect(one.reasons).to.deep.equal(["session_ended"]);
  });

  it("stay with a cut-off that nobody can read, and say so; a revocation beside it counts", async () => {
    const redis = await start();
    const gate = openGate(on(redis));
    const one = await admitted(gate);
    const operator = operate(redis.url);
    for (const write of [
      async () => operator.set("auth:cutoff:alice", "yesterday"),
      async () => operator.set("auth:cutoff:alice", "12345678901234567890"),
      async () => operator.hset("auth:cutoff:alice", "at", "1"),
    ]) {
      await operator.del("auth:cutoff:alice");
      await until(() => !gate.connections.isDegraded);
      await write();
      await until(() => gate.connections.isDegraded);
      expect(one.reasons).to.deep.equal([]);
    }
    await operator.sadd(`auth:revoked:${one.connection.auth.jti}`, "any type");
    expect(await one.ended).to.equal("revoked");
  });

  it("are asked about at once when the tracking begins anew, and in the same way with kept answers of requests", async () => {
    const redis = await start();
    const gate = openGate({ ...on(redis), revocation: { check: "tracked" }, connections: { checkEvery: "10s" } });
    const operator = operate(redis.url);
    const one = await admitted(gate);
    await until(async () => (await listeners(operator)).length > 0);
    await operator.set(`auth:revoked:${one.connection.auth.jti}`, "1");
    expect(await one.ended).to.equal("revoked");
    const two = await admitted(gate, "bob");
    await killListeners(operator);
    expect(two.reasons).to.deep.equal([]);
    await operator.set("auth:cutoff:bob", String(nowSeconds()));
    expect(await two.ended).to.equal("session_ended");
  });

  async function start(options: RedisServerOptions = {}): Promise<RedisServer> {
    const redis = await startRedis(options);
    cleanUp(() => redis.stop());
    return redis;
  }

  function on(redis: RedisServer): FakeOptions {
    return { redis: redis.url, auth: testAuth, deadline: 2000 };
  }
});

/** A connection that is watched and has been asked about. */
async function admitted(gate: FakeGate, sub = "alice"): Promise<Watched> {
  const one = watch(gate, await admit(gate, await signToken({ sub })));
  await sleep(100);
  return one;
}

interface RawWriter {
  set(key: string, value: string): Promise<unknown>;
}

/** Writes what a service of another kind writes, with a TTL or without, and expects the connections to end for it. */
async function endByRawRecords(gate: FakeGate, prefix: string, writer: RawWriter): Promise<void> {
  const [token, user, stays] = [
    await connect(gate),
    await connect(gate, { sub: "bob" }),
    await connect(gate, { sub: "carol", iat: nowSeconds() }),
  ];
  const startedAt = performance.now();
  await writer.set(`${prefix}auth:revoked:${token.connection.auth.jti}`, "revoked by .NET");
  await writer.set(`${prefix}auth:cutoff:bob`, String(nowSeconds()));
  await writer.set(`${prefix}auth:cutoff:carol`, String(nowSeconds() - 600));
  await writer.set(`${prefix}auth:revoked:somebody-else`, "1");
  expect(await token.ended).to.equal("revoked");
  expect(await user.ended).to.equal("session_ended");
  expect(performance.now() - startedAt).to.be.below(patienceMs);
  expect(stays.reasons).to.deep.equal([]);
  stays.connection.end();
}

async function listeners(operator: ReturnType<typeof operate>): Promise<string[]> {
  const list = (await operator.call("CLIENT", "LIST")) as string;
  return [...list.matchAll(/id=(\d+) [^\n]*name=portcullis-tracking [^\n]*sub=[1-9]/g)].map(([, id = ""]) => id);
}

async function killListeners(operator: ReturnType<typeof operate>): Promise<void> {
  const list = (await operator.call("CLIENT", "LIST")) as string;
  for (const [, id = ""] of list.matchAll(/id=(\d+) [^\n]*name=portcullis-tracking/g))
    await operator.call("CLIENT", "KILL", "ID", id);
}

interface Worker {
  readonly child: ChildProcess;
  readonly ended: ReadonlyMap<string, { readonly reason: string; readonly at: number }>;
}

/** A process with one open connection for each token. */
async function startWorker(url: string, prefix: string, tokens: readonly string[]): Promise<Worker> {
  const child = forkScript(worker);
  cleanUp(() => void child.kill("SIGKILL"));
  const ended = new Map<string, { reason: string; at: number }>();
  child.on("message", (report: ConnectionReport) => {
    if (report.type === "ended") ended.set(report.jti, report);
  });
  child.send({ op: "open", url, prefix, tokens });
  const [report] = (await once(child, "message")) as [ConnectionReport];
  if (report.type !== "watching") throw new Error("a connection has ended already");
  return { child, ended };
}
