import { setTimeout as sleep } from "node:timers/promises";
import { startCluster } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster, Redis } from "ioredis";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { MemoryChannels } from "../../../packages/core/src/store/memory/channels.js";
import { MemoryEventLog } from "../../../packages/core/src/store/memory/event-log.js";
import { headMs } from "../../../packages/core/src/store/ports/event-log.js";
import { RedisChannels } from "../../../packages/core/src/store/redis/channels.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import { RedisEventLog } from "../../../packages/core/src/store/redis/event-log.js";
import { scripts } from "../../../packages/core/src/store/redis/scripts/all.js";
import { Tracking } from "../../../packages/core/src/store/redis/tracking.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import type { OpenedEventLog } from "./event-log.js";
import { describeEventLog, newPlace, readAll } from "./event-log.js";

describe("event logs", function () {
  this.timeout(60_000);
  const keys = new Keyspace(freshPrefix(), "test");
  const cleanUp: (() => unknown)[] = [];
  after(async () => {
    for (const clean of cleanUp.reverse()) await clean();
  });

  const opened = new Map<RedisLike, OpenedEventLog>();

  /** The same for each client. */
  function openOn(client: RedisLike): OpenedEventLog {
    const known = opened.get(client);
    if (known !== undefined) return known;
    const [deadlineMs, logger] = [2000, silentLogger];
    const connection = connect({ redis: client, deadlineMs, logger, scripts });
    const tracking = new Tracking({ connection, logger, heartbeatMs: 20 });
    cleanUp.push(() => tracking.close());
    const channels = new RedisChannels({ connection, tracking, keys, deadlineMs, logger });
    const log = new RedisEventLog({ connection, channels, deadlineMs });
    opened.set(client, { log, channels, pass: (ms) => sleep(ms) });
    return openOn(client);
  }

  describe("in process", () => {
    let now = 1000;
    const pass = (ms: number): Promise<void> => Promise.resolve(void (now += ms));
    const channels = new MemoryChannels();
    describeEventLog(
      "the in-process log",
      () => ({ log: new MemoryEventLog({ channels, now: () => now }), channels, pass }),
      keys,
    );

    it("is bounded in its size as in its number, and says which messages are gone", async () => {
      const log = new MemoryEventLog({ channels, characters: 1000 });
      const place = newPlace(keys);
      const first = await log.append(place, "0".repeat(100));
      for (let index = 1; index <= 20; index += 1) await log.append(place, `${index} `.repeat(50).slice(0, 100));
      const { bodies, gaps } = await readAll(log, place, first);
      expect([bodies.length, gaps]).to.deep.equal([10, ["trimmed"]]);
    });
  });

  describe("on Redis", () => {
    let client: Redis;
    before(() => {
      client = new Redis(testRedisUrl());
      cleanUp.push(() => client.disconnect());
    });
    describeEventLog("the Redis log", () => openOn(client), keys);

    it("gives every key an end", async () => {
      const { log } = openOn(client);
      const place = newPlace(keys, { maxAgeMs: 5000 });
      await log.append(place, "1");
      expect(await client.pttl(place.key)).to.be.within(1000, 5000);
      expect(await client.pttl(place.headKey)).to.be.within(headMs - 60_000, headMs);
      const looked = newPlace(keys, { maxAgeMs: 5000 });
      await log.read(looked, undefined);
      expect(await client.pttl(looked.key)).to.be.within(1000, 5000);
      expect(await client.pttl(looked.headKey)).to.be.within(headMs - 60_000, headMs);
    });

    it("goes on with higher ids after its clock was set back, and after its stream has ended", async () => {
      const { log } = openOn(client);
      const place = newPlace(keys);
      const tag = "0123456789ab";
      const ahead = { ms: Date.now() + 3_600_000, number: 7, tag };
      await client.set(place.headKey, `${ahead.ms}-7-${tag} ${ahead.ms}`, "PX", 60_000);
      const first = await log.append(place, "1");
      expect([first.ms, first.number]).to.deep.equal([ahead.ms, 8]);
      const second = await log.append(place, "2");
      expect([second.ms, second.number]).to.deep.equal([ahead.ms, 9]);
      // Its head was lost, and the stream was not.
      await client.set(place.headKey, `${ahead.ms}-3-${tag} ${ahead.ms}`, "PX", 60_000);
      const third = await log.append(place, "3");
      expect([third.ms, third.number]).to.deep.equal([ahead.ms, 10]);
      expect((await readAll(log, place, first)).bodies).to.deep.equal(["2", "3"]);
    });

    it("passes over entries that no release has written, and takes a head that is none for no head", async () => {
      const { log } = openOn(client);
      const place = newPlace(keys);
      const first = await log.append(place, "1");
      for (let index = 0; index < 300; index += 1) await client.xadd(place.key, "*", "foreign", "x".repeat(100));
      const { bodies, gaps } = await readAll(log, place, first);
      expect([new Set(bodies), bodies.length, gaps]).to.deep.equal([new Set([undefined]), 300, []]);
      await client.set(place.headKey, "nonsense", "PX", 60_000);
      await log.append(place, "2");
      const all = await readAll(log, place, first);
      expect([all.bodies.at(-1), all.gaps]).to.deep.equal(["2", []]);
    });

    it("rejects with a StoreFault for keys of another type, and writes nothing then", async () => {
      const { log } = openOn(client);
      const [stream, head] = [newPlace(keys), newPlace(keys)];
      await client.set(stream.key, "poison", "PX", 60_000);
      await client.lpush(head.headKey, "poison");
      await client.pexpire(head.headKey, 60_000);
      const id = { ms: 1, number: 1, tag: "0123456789ab" };
      for (const place of [stream, head]) {
        for (const call of [log.append(place, "1"), log.read(place, undefined), log.read(place, id)])
          expect(await rejectionOf(call)).to.include({ name: "StoreFault", kind: "unreadable" });
      }
      expect(await client.exists(stream.headKey, head.key)).to.equal(0);
    });
  });

  describe("on Redis, with a client that prefixes keys", () => {
    let client: Redis;
    before(() => {
      client = new Redis(testRedisUrl(), { keyPrefix: freshPrefix() });
      cleanUp.push(() => client.disconnect());
    });
    describeEventLog("the Redis log", () => openOn(client), keys);
  });

  describe("on Redis Cluster", () => {
    let client: Cluster;
    before(async () => {
      const cluster = await startCluster({ masters: 3 });
      cleanUp.push(() => cluster.stop());
      client = new Cluster([...cluster.seeds]);
      cleanUp.push(() => client.disconnect());
    });
    describeEventLog("the Redis log", () => openOn(client), keys);
  });
});
