import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import { RedisLeaseSource } from "../../../packages/core/src/store/redis/leases.js";
import { LeasedStore } from "../../../packages/core/src/limits/leases/leased-store.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { RedisCacheStore } from "../../../packages/core/src/store/redis/cache.js";
import { RedisChannels } from "../../../packages/core/src/store/redis/channels.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import { RedisDecisionStore } from "../../../packages/core/src/store/redis/decisions.js";
import { RedisEventLog } from "../../../packages/core/src/store/redis/event-log.js";
import { GiveBacks } from "../../../packages/core/src/store/redis/give-backs.js";
import { RedisIdempotencyStore } from "../../../packages/core/src/store/redis/idempotency.js";
import { RedisLimitOverrides } from "../../../packages/core/src/store/redis/limit-overrides.js";
import { RedisLoginStore } from "../../../packages/core/src/store/redis/logins.js";
import { RedisOneTimeStore } from "../../../packages/core/src/store/redis/one-time.js";
import { RedisSessionStore } from "../../../packages/core/src/store/redis/sessions.js";
import { Tracking } from "../../../packages/core/src/store/redis/tracking.js";
import { Telemetry } from "../../../packages/core/src/telemetry/telemetry.js";
import { describeOneTimeStore } from "../../coordination/contracts/one-time-store.js";
import { describeEventLog } from "../../realtime/contracts/event-log.js";
import { openGate } from "../../support/fake-gate.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { StrictRedis } from "../support/strict-client.js";
import { describeCacheStore } from "./cache-store.js";
import { describeSecurityStore } from "./decision-store.js";
import { describeIdempotencyStore } from "./idempotency-store.js";
import { describeQuotaRecords } from "./limit-overrides.js";
import { describeLoginStore } from "./login-store.js";
import { describeSessionStore } from "./session-store.js";
import { describeQuotaStore } from "./usage-corrections.js";

const deadlineMs = 2000;
const logger = silentLogger;

/** Every contract on a server that refuses keys that a script does not name among its KEYS. */
for (const keyPrefix of ["", "app:"]) {
  const suffix = keyPrefix === "" ? "" : ", with a key prefix of the client";
  describe(`a server that refuses undeclared keys${suffix}`, function () {
    this.timeout(60_000);
    const keys = new Keyspace(freshPrefix(), "test");
    const list = `${freshPrefix()}undeclared`;
    let client: StrictRedis;
    let connection: Connection;
    let tracking: Tracking;
    let channels: RedisChannels;

    before(() => {
      client = new StrictRedis(testRedisUrl(), list, { keyPrefix });
      connection = connect({ redis: client, deadlineMs, logger, scripts: [] });
      tracking = new Tracking({ connection, logger, heartbeatMs: 20 });
      channels = new RedisChannels({ connection, tracking, keys, deadlineMs, logger });
    });
    after(async () => {
      const undeclared = await client.readUndeclared();
      tracking.close();
      client.disconnect();
      // A script may have ignored the refusal.
      expect(undeclared).to.deep.equal([]);
    });

    const decisions = (): RedisDecisionStore =>
      new RedisDecisionStore({ connection, deadlineMs, clockToleranceMs: 5000 });

    describeSessionStore("the Redis store", () => ({
      store: new RedisSessionStore({ connection, deadlineMs, marginSeconds: 300, longestSeconds: 2_592_000 }),
      revocationStore: decisions(),
    }));
    // Other names with a prefix are made in the same way.
    if (keyPrefix !== "") return;

    describeOneTimeStore(
      "the Redis store of one-time values",
      () => ({ store: new RedisOneTimeStore({ connection, deadlineMs }), pass: (ms) => sleep(ms) }),
      keys,
    );
    describeSecurityStore("the Redis store", decisions);
    describeQuotaStore("the Redis store", decisions);
    describeSecurityStore("a store that leases", () => {
      const inner = decisions();
      const source = new RedisLeaseSource(connection, inner.giveBacks, () => true);
      const store = new LeasedStore({ store: inner, source, gatherMs: 1 });
      return {
        ask: (question) => store.ask(question),
        revoke: (key, expiresAt) => inner.revoke(key, expiresAt),
        cutOff: (key, ttlSeconds, at) => inner.cutOff(key, ttlSeconds, at),
      };
    });
    describeLoginStore("the Redis store", () => {
      const giveBacks = new GiveBacks({
        ...{ connection, telemetry: new Telemetry(), logger },
        memoryKey: (tag, process) => keys.giveBacks(tag, process),
        isWell: () => true,
        mayCall: () => true,
      });
      return new RedisLoginStore({ connection, deadlineMs, giveBacks });
    });
    describeQuotaRecords("the Redis store", (own) => ({
      records: new RedisLimitOverrides({ connection, deadlineMs, rulesKey: own.limitOverrides() }),
      count: (key) => client.call("INCR", key),
      counted: async (key) => Number((await client.call("GET", key)) ?? 0),
      close: () => undefined,
    }));
    describeCacheStore(
      "the Redis store",
      () => new RedisCacheStore({ connection, channels, deadlineMs }),
      () => channels,
    );
    describeIdempotencyStore(
      "the Redis store",
      () => new RedisIdempotencyStore({ connection, channels, deadlineMs, telemetry: new Telemetry() }),
    );
    describeEventLog(
      "the log in Redis",
      () => ({ log: new RedisEventLog({ connection, channels, deadlineMs }), channels, pass: (ms) => sleep(ms) }),
      keys,
    );

    it("has locks that are taken, extended, waited for, withdrawn and given back", async () => {
      const options = { redis: client, prefix: freshPrefix(), service: "locks", deadline: 1000 };
      const [one, other] = [openGate(options), openGate(options)];
      const lock = await one.locks.acquire(["a", "b"]);
      await lock.extend("30s");
      expect(await other.locks.tryAcquire("b")).to.equal(undefined);
      const waiting = other.locks.acquire(["a", "b"], { wait: "10s" });
      expect(await lock.release()).to.equal(true);
      expect(await (await waiting).release()).to.equal(true);
    });
  });
}
