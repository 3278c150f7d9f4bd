import { signToken, startRedis, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { OneTimeService } from "../../../packages/core/src/coordination/one-time.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { MemoryOneTimeStore } from "../../../packages/core/src/store/memory/one-time.js";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import { RedisOneTimeStore } from "../../../packages/core/src/store/redis/one-time.js";
import { Telemetry } from "../../../packages/core/src/telemetry/telemetry.js";
import { cleanUp } from "../../support/clean-up.js";
import { admit, openGate } from "../../support/fake-gate.js";
import type { FakeGate, FakeOptions } from "../../support/fake-gate.js";
import { freshPrefix, operate, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";

const families = ["lock", "leader", "idempotency", "one-time"];

describe("a gate that uses nothing of coordination", function () {
  this.timeout(30_000);

  it("opens no connection, channel or timer for it, and writes no key of it", async () => {
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const operator = operate(redis.url);
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    const before = timers();
    const gate = openGate({ redis: redis.url, service: "unused", auth: testAuth, deadline: 2000 });
    await admit(gate, await signToken());
    await gate.examine();
    const clients = (await operator.call("CLIENT", "LIST", "TYPE", "normal")) as string;
    // One is the operator.
    expect(clients.trim().split("\n")).to.have.length(2);
    // The listening connection of the gate watches the markers of lost data and the keys of its caches, and no channel.
    const channels = (await operator.call("PUBSUB", "CHANNELS")) as string[];
    for (const family of families) {
      expect(channels.filter((name) => name.includes(family))).to.deep.equal([]);
      expect(await operator.keys(`*:${family}:*`)).to.deep.equal([]);
    }
    await gate.close();
    await until(() => timers() <= before);
  });

  it("makes stores that wait: they ask nothing, listen to nothing and have no timer before their first use", () => {
    const touched: string[] = [];
    const note =
      <T>(what: string, value: T) =>
      (): T => {
        touched.push(what);
        return value;
      };
    const connection: Connection = {
      client: { status: "ready", call: note("call", Promise.resolve(null)), on: note("on", 0), off: note("off", 0) },
      ...{ isCluster: false, unsafeOptions: [], hasConnected: () => true, isUp: () => true },
      ...{ onConnect: note("onConnect", () => undefined) },
      ...{ leaveReplica: () => undefined, close: () => Promise.resolve() },
    };
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    const before = timers();
    const stores = [new RedisOneTimeStore({ connection, deadlineMs: 50 }), new MemoryOneTimeStore()];
    const [keys, telemetry] = [new Keyspace("", "test"), new Telemetry()];
    for (const store of stores) new OneTimeService({ store, keys, telemetry, onUse: note("onUse", undefined) });
    expect([touched, timers() - before]).to.deep.equal([[], 0]);
  });

  it("has no finding about it", async () => {
    const gate = openGate({ redis: testRedisUrl(), prefix: freshPrefix(), cache: false, deadline: 2000 });
    const codes = (await gate.examine()).map(({ code }) => code);
    expect(codes).not.to.include("service_unnamed");
    for (const { message } of await gate.examine()) expect(message).not.to.match(/lock|one-time/);
  });
});

describe("a service without a name", () => {
  async function isNoted(options: FakeOptions, use: (gate: FakeGate) => Promise<unknown>): Promise<boolean> {
    const warnings: unknown[] = [];
    const logger = { debug: () => undefined, warn: (fields: object) => void warnings.push(fields) };
    const gate = openGate({ prefix: freshPrefix(), cache: false, deadline: 2000, logger, ...options });
    const before = (await gate.examine()).map(({ code }) => code);
    expect(before).not.to.include("service_unnamed");
    await use(gate);
    await use(gate);
    const found = (await gate.examine()).filter(({ code }) => code === "service_unnamed");
    const logged = warnings.filter((fields) => (fields as { code?: string }).code === "service_unnamed");
    expect(logged).to.have.length(found.length);
    if (found.length > 0) expect(found[0]?.message).to.include("one-time values");
    return found.length > 0;
  }

  it("is noted once when it first uses one-time values in Redis, and not in process, with a name, or with an audience", async () => {
    const use = ({ oneTime }: FakeGate): Promise<unknown> => oneTime.issue("confirm", 1, { ttl: "1m" });
    const redis = testRedisUrl();
    expect(await isNoted({ redis }, use)).to.equal(true);
    expect(await isNoted({ redis, service: "orders" }, use)).to.equal(false);
    expect(await isNoted({ redis, auth: testAuth }, use)).to.equal(false);
    expect(await isNoted({ redis: "memory" }, use)).to.equal(false);
  });
});
