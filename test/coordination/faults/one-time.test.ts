import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { startCluster, startProxy, startRedis } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { RedisOneTimeStore } from "../../../packages/core/src/store/redis/one-time.js";
import { consumeOneTimeScript, issueOneTimeScript } from "../../../packages/core/src/store/redis/scripts/one-time.js";
import { openFlaky } from "../../store/support/flaky-connection.js";
import { cleanUp } from "../../support/clean-up.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";
import type { FakeGate } from "../../support/fake-gate.js";
import { forkScript } from "../../support/fork.js";
import { freshPrefix, operate, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import { rounds } from "../../support/soak.js";
import { until } from "../../support/until.js";
import { newConsumption, newValue } from "../contracts/one-time-store.js";
import type { OneTimeCommand } from "../support/one-time-worker.js";

const script = new URL("../support/one-time-worker.ts", import.meta.url);

async function run(child: ChildProcess, command: OneTimeCommand): Promise<unknown> {
  child.send(command);
  const [{ value, error }] = (await once(child, "message")) as [{ value?: unknown; error?: string }];
  if (error !== undefined) throw new Error(error);
  return value;
}

describe("100 consumers of one value in 4 processes", function () {
  this.timeout(60_000);
  const backends = {
    "one Redis": () => Promise.resolve({ url: testRedisUrl(), stop: () => Promise.resolve() }),
    "a Cluster": async () => {
      const { seeds, stop } = await startCluster({ masters: 3 });
      return { url: `redis+cluster://${seeds.map(({ host, port }) => `${host}:${port}`).join(",")}`, stop };
    },
  };
  for (const [where, start] of Object.entries(backends)) {
    it(`get its data once, on ${where}`, async () => {
      const { url, stop } = await start();
      cleanUp(stop);
      const prefix = freshPrefix();
      const children = Array.from({ length: 4 }, () => forkScript(script));
      cleanUp(() => children.forEach((child) => child.kill("SIGKILL")));
      const gate = openGate({ redis: url, prefix, service: "one-time", deadline: 5000 });
      await Promise.all(children.map((child) => run(child, { op: "open", url, prefix })));
      for (let round = 0; round < 5 * rounds; round += 1) {
        const subject = round % 2 === 0 ? "alice" : undefined;
        const { token } = await gate.oneTime.issue("confirm", { round }, { ttl: "1m", subject });
        const found = await Promise.all(children.map((child) => run(child, { op: "consume", token, count: 25 })));
        // Messages between processes are JSON, which has no undefined.
        expect(found.flat()).to.deep.equal([{ data: { round }, ...(subject === undefined ? {} : { subject }) }]);
        expect(await gate.oneTime.consume("confirm", token)).to.equal(undefined);
      }
    });
  }
});

describe("one-time values while Redis is down", function () {
  this.timeout(30_000);

  /** Every method rejects by this kind of fault: a token is never called wrong. */
  async function expectFaults({ oneTime }: FakeGate, token: string, fault: object): Promise<void> {
    const calls = [
      () => oneTime.issue("confirm", null, { ttl: "1m", subject: "alice" }),
      () => oneTime.consume("confirm", token),
      () => oneTime.peek("confirm", token),
      () => oneTime.revoke("confirm", "alice"),
    ];
    for (const call of calls)
      expect(await rejectionOf(call())).to.include({ name: "StoreFault", status: 503, ...fault });
  }

  it("are refused by 503, are good again afterwards, and a wrong form is undefined all the time", async () => {
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const gate = openGate({ redis: redis.url, service: "one-time", deadline: 100 });
    await until(() =>
      gate.oneTime.peek("confirm", "x".repeat(44)).then(
        () => true,
        () => false,
      ),
    );
    const { token } = await gate.oneTime.issue("confirm", "data", { ttl: "10m" });
    const unasked = await gate.oneTime.issue("confirm", "never asked", { ttl: "10m" });
    const { token: revoked } = await gate.oneTime.issue("confirm", null, { ttl: "10m", subject: "alice" });
    redis.pause();
    await expectFaults(gate, token, {});
    await expectFaults(gate, token, {});
    expect(gate.breakers.find(({ name }) => name === "redis.one-time")?.state).to.equal("open");
    expect(await gate.oneTime.consume("confirm", "a token of no such form")).to.equal(undefined);
    redis.resume();
    await until(() =>
      gate.oneTime.peek("confirm", unasked.token).then(
        (value) => value !== undefined,
        () => false,
      ),
    );
    expect(await gate.oneTime.consume("confirm", unasked.token)).to.deep.equal({
      data: "never asked",
      subject: undefined,
    });
    // After 503 Redis may have consumed or revoked the value, or not; nobody gets it twice.
    for (const one of [token, revoked]) {
      await gate.oneTime.consume("confirm", one);
      expect(await gate.oneTime.consume("confirm", one)).to.equal(undefined);
    }
  });

  it("are refused by 503 by a server that takes no writes, and are not consumed", async () => {
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const operator = operate(redis.url);
    const gate = openGate({ redis: redis.url, service: "one-time", deadline: 1000 });
    const { token } = await gate.oneTime.issue("confirm", "data", { ttl: "10m" });
    await operator.config("SET", "maxmemory", "1");
    const refused = { kind: "refused", reply: "OOM" };
    expect(await rejectionOf(gate.oneTime.consume("confirm", token))).to.include(refused);
    expect(await rejectionOf(gate.oneTime.issue("confirm", 1, { ttl: "1m", subject: "bob" }))).to.include(refused);
    await operator.config("SET", "maxmemory", "0");
    expect(await operator.keys("*:one-time:*:bob:*")).to.deep.equal([]);
    expect(await gate.oneTime.consume("confirm", token)).to.deep.equal({ data: "data", subject: undefined });
  });

  it("are not called worth nothing by a server that takes no writes and does not have them", async () => {
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const operator = operate(redis.url);
    const gate = openGate({ redis: redis.url, service: "one-time", deadline: 1000 });
    await gate.oneTime.issue("confirm", "data", { ttl: "10m" });
    for (const [command, begin, end, reply] of [
      ["REPLICAOF", ["127.0.0.1", "1"], ["NO", "ONE"], "READONLY"],
      ["CONFIG", ["SET", "maxmemory", "1"], ["SET", "maxmemory", "0"], "OOM"],
    ] as const) {
      await operator.call(command, ...begin);
      const refused = { name: "StoreFault", status: 503, kind: "refused", reply };
      expect(await rejectionOf(gate.oneTime.consume("confirm", "x".repeat(44)))).to.include(refused);
      await operator.call(command, ...end);
      expect(await gate.oneTime.consume("confirm", "x".repeat(44))).to.equal(undefined);
    }
  });

  it("make the store degraded while their circuit breaker is open", async () => {
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const gate = openGate({ redis: redis.url, service: "one-time", deadline: 100 });
    await gate.oneTime.issue("confirm", "data", { ttl: "10m" });
    redis.pause();
    for (let call = 0; call < 5; call += 1) await rejectionOf(gate.oneTime.peek("confirm", "x".repeat(44)));
    expect(gate.health().store.findings).to.include("one-time values fail");
    expect(gate.health().status).to.not.equal("up");
    redis.resume();
  });

  for (const command of ["get", "set", "del", "zrange"]) {
    it(`stay with their subject where a script may not call ${command}: none is lost to its revocation`, async () => {
      const redis = await startRedis();
      cleanUp(() => redis.stop());
      const operator = operate(redis.url);
      const gate = openGate({ redis: redis.url, service: "one-time", deadline: 1000 });
      const { oneTime } = gate;
      const tokens: string[] = [];
      const issue = async (): Promise<void> => {
        tokens.push((await oneTime.issue("confirm", null, { ttl: "1m", subject: "alice" })).token);
      };
      for (let at = 0; at < 10; at += 1) await issue();
      await operator.call("ACL", "SETUSER", "default", `-${command}`);
      const refused = { name: "StoreFault", status: 503, kind: "refused", reply: "NOPERM" };
      if (command !== "set") expect(await rejectionOf(oneTime.revoke("confirm", "alice"))).to.include(refused);
      if (command !== "del") expect(await rejectionOf(issue())).to.include(refused);
      else await issue();
      await operator.call("ACL", "SETUSER", "default", `+${command}`);
      expect(await oneTime.revoke("confirm", "alice")).to.equal(tokens.length);
      for (const token of tokens) expect(await oneTime.peek("confirm", token)).to.equal(undefined);
    });
  }

  it("stay with their subject while their slot moves to another node of a Cluster", async () => {
    const { nodes, seeds, stop } = await startCluster({ masters: 2 });
    cleanUp(stop);
    const url = `redis+cluster://${seeds.map(({ host, port }) => `${host}:${port}`).join(",")}`;
    const { oneTime } = openGate({ redis: url, service: "one-time", deadline: 2000 });
    const tokens: string[] = [];
    for (let at = 0; at < 6; at += 1)
      tokens.push((await oneTime.issue("confirm", null, { ttl: "1m", subject: "alice" })).token);
    const operators = nodes.map((node) => operate(node.url));
    const found = await Promise.all(operators.map((operator) => operator.keys("*:one-time:one-time:*")));
    const from = found.findIndex((keys) => keys.length > 0);
    const [source, target] = [operators[from], operators[1 - from]];
    const port = nodes[1 - from]?.port;
    if (source === undefined || target === undefined || port === undefined) throw new Error("no node has the values");
    const slot = String(await source.call("CLUSTER", "KEYSLOT", found[from]?.[0] ?? ""));
    const targetId = String(await target.call("CLUSTER", "MYID"));
    const move = async (key: string): Promise<unknown> => source.call("MIGRATE", "127.0.0.1", port, key, 0, 5000);
    await target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", String(await source.call("CLUSTER", "MYID")));
    await source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", targetId);
    const values = found.flat().filter((key) => !key.includes("alice"));
    for (const key of values.slice(3)) await move(key);

    const fault = await rejectionOf(oneTime.revoke("confirm", "alice"));
    expect(fault).to.include({ name: "StoreFault", status: 503, kind: "refused" });
    // The client of a Cluster repeats the call at both nodes, and tells the last reply.
    expect((fault as { reply?: unknown }).reply).to.be.oneOf(["TRYAGAIN", "MOVED"]);
    for (const token of tokens) expect(await oneTime.peek("confirm", token)).to.not.equal(undefined);
    for (const key of found.flat()) await move(key);
    for (const operator of [target, source]) await operator.call("CLUSTER", "SETSLOT", slot, "NODE", targetId);
    expect(await oneTime.revoke("confirm", "alice")).to.equal(6);
  });

  it("do not harm requests: the guard answers as ever, and the process is not ready only once it has used them", async () => {
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const started = (): FakeGate => openGate({ redis: redis.url, service: "one-time", deadline: 100 });
    const [user, other] = [started(), started()];
    await user.oneTime.issue("confirm", 1, { ttl: "1m" });
    await until(() => [user, other].every((gate) => gate.health().store.status === "up"));
    expect(await readiness(user)).to.equal(200);
    await redis.stop();
    await until(() => [user, other].every((gate) => gate.health().store.status === "down"));
    expect([await readiness(user), await readiness(other)]).to.deep.equal([503, 200]);
  });
});

describe("a reply that is lost", function () {
  this.timeout(30_000);

  it("is asked for again: the consumer gets the data, and no other does", async () => {
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const proxy = await startProxy(redis);
    cleanUp(() => proxy.close());
    const gate = openGate({ redis: proxy.url, service: "one-time", deadline: 2000 });
    const operator = operate(redis.url);
    await until(async () => {
      const known = (await operator.script("EXISTS", consumeOneTimeScript.sha1, issueOneTimeScript.sha1)) as number[];
      return known.every((one) => one === 1);
    });
    for (let round = 1; round <= 3; round += 1) {
      const { token } = await gate.oneTime.issue("confirm", round, { ttl: "1m" });
      proxy.cutAfter(consumeOneTimeScript.sha1);
      expect(await gate.oneTime.consume("confirm", token)).to.deep.equal({ data: round, subject: undefined });
      expect(proxy.cuts).to.equal(round);
      expect(await gate.oneTime.consume("confirm", token)).to.equal(undefined);
      expect(gate.breakers.find(({ name }) => name === "redis.one-time")?.state).to.equal("closed");
    }
  });

  describe("or a request that is lost,", () => {
    let client: Redis;
    const keys = new Keyspace(freshPrefix(), "test");
    before(() => (client = new Redis(testRedisUrl())));
    after(() => client.disconnect());

    for (const fates of [["lose request"], ["lose reply"], ["lose reply", "lose request", "lose reply"]] as const)
      it(`gives the data once (${fates.join(", ")})`, async () => {
        const flaky = openFlaky(client);
        const store = new RedisOneTimeStore({ connection: flaky.connection, deadlineMs: 1000 });
        const value = newValue(keys);
        await store.issue(value);
        flaky.fates = [...fates];
        expect(await store.consume(value.key, newConsumption())).to.equal("content");
        expect(await store.consume(value.key, newConsumption())).to.equal(undefined);
      });

    it("is a fault after two deadlines, and the value is consumed by nobody but it", async () => {
      const flaky = openFlaky(client);
      const store = new RedisOneTimeStore({ connection: flaky.connection, deadlineMs: 50 });
      const value = newValue(keys);
      await store.issue(value);
      flaky.fates = Array.from({ length: 1000 }, () => "lose reply");
      const consumption = newConsumption();
      expect(await rejectionOf(store.consume(value.key, consumption))).to.include({ name: "StoreFault" });
      flaky.fates = [];
      expect(await store.consume(value.key, newConsumption())).to.equal(undefined);
      expect(await store.consume(value.key, consumption)).to.equal("content");
    });

    it("is not asked for again where nothing was sent, or Redis refused", async () => {
      const flaky = openFlaky(client);
      const store = new RedisOneTimeStore({ connection: flaky.connection, deadlineMs: 1000 });
      const value = newValue(keys);
      await store.issue(value);
      const sent = flaky.sent.length;
      flaky.up = false;
      flaky.fates = ["lose request"];
      expect(await rejectionOf(store.consume(value.key, newConsumption()))).to.include({ kind: "unreachable" });
      flaky.up = true;
      flaky.fates = ["answer an error"];
      expect(await rejectionOf(store.consume(value.key, newConsumption()))).to.include({ kind: "refused" });
      expect(flaky.sent.length - sent).to.equal(2);
    });
  });

  it("of an issue leaves a value that nobody has a token of, and that its subject can revoke", async () => {
    const client = new Redis(testRedisUrl());
    cleanUp(() => client.disconnect());
    const flaky = openFlaky(client);
    const store = new RedisOneTimeStore({ connection: flaky.connection, deadlineMs: 1000 });
    const value = newValue(new Keyspace(freshPrefix(), "test"), { subject: "alice" });
    flaky.fates = ["lose reply"];
    expect(await rejectionOf(store.issue(value))).to.include({ name: "StoreFault" });
    expect(await store.revoke(value.subjectKey ?? "")).to.equal(1);
  });
});

describe("a value whose gate has crashed", () => {
  it("is good for every other process", async () => {
    const prefix = freshPrefix();
    const options = { redis: testRedisUrl(), prefix, service: "one-time", deadline: 2000 };
    const first = openGate(options);
    const { token } = await first.oneTime.issue("confirm", { a: 1 }, { ttl: "1m", subject: "alice" });
    await first.close();
    expect(await openGate(options).oneTime.consume("confirm", token)).to.deep.equal({
      data: { a: 1 },
      subject: "alice",
    });
  });

  it("belongs to its service alone", async () => {
    const options = { redis: testRedisUrl(), prefix: freshPrefix(), deadline: 2000 };
    const [orders, invoices] = ["orders", "invoices"].map((service) => openGate({ ...options, service }));
    const issued = await orders?.oneTime.issue("confirm", 1, { ttl: "1m", subject: "alice" });
    expect(await invoices?.oneTime.consume("confirm", issued?.token)).to.equal(undefined);
    expect(await invoices?.oneTime.revoke("confirm", "alice")).to.equal(0);
    expect(await orders?.oneTime.consume("confirm", issued?.token)).to.deep.equal({ data: 1, subject: "alice" });
  });
});

/** The status of `/readyz`. */
async function readiness(gate: FakeGate): Promise<number> {
  const verdict = await gate.routes.health().check(fakeExchange({ url: "/readyz" }));
  return verdict.allowed ? 0 : verdict.status;
}
