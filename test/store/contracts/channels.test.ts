import { startCluster, startProxy, startRedis, startSentinel } from "@portcullis/testkit";
import type { Proxy, RedisCluster, RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster, Redis } from "ioredis";
import { parseRedisUrl } from "../../../packages/core/src/store/redis/url.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { MemoryChannels } from "../../../packages/core/src/store/memory/channels.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { RedisChannels } from "../../../packages/core/src/store/redis/channels.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { Tracking } from "../../../packages/core/src/store/redis/tracking.js";
import { silentLogger } from "../../support/logger.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";
import { describeChannels } from "./channels.js";

const keys = new Keyspace("channels:", "test");

/** Channels of one process on this Redis, and what becomes of the messages. */
function open(redis: string | RedisLike, cleanUp: (() => unknown)[]) {
  const connection = connect({
    redis: typeof redis === "string" ? parseRedisUrl("redis", redis) : redis,
    deadlineMs: 1000,
    logger: silentLogger,
    scripts: [],
  });
  const tracking = new Tracking({ connection, logger: silentLogger, heartbeatMs: 20, proofTimeoutMs: 400 });
  const outcomes: string[] = [];
  const channels = new RedisChannels({
    connection,
    tracking,
    keys,
    deadlineMs: 1000,
    logger: silentLogger,
    observe: (outcome) => outcomes.push(outcome),
  });
  cleanUp.push(async () => {
    tracking.close();
    await connection.close();
  });
  return { channels, outcomes };
}

describe("channels", function () {
  this.timeout(60_000);
  const cleanUp: (() => unknown)[] = [];
  after(async () => {
    for (const clean of cleanUp.reverse()) await clean();
  });
  const pair = (redis: () => string | RedisLike) => () => ({
    one: open(redis(), cleanUp).channels,
    other: open(redis(), cleanUp).channels,
  });

  describeChannels("in process", () => {
    const channels = new MemoryChannels();
    return { one: channels, other: channels };
  });

  describe("on one Redis", () => {
    let server: RedisServer;
    before(async () => {
      server = await startRedis();
      cleanUp.push(() => server.stop());
    });
    describeChannels(
      "on Redis",
      pair(() => server.url),
    );
  });

  describe("under Sentinel", () => {
    let url: string;
    before(async () => {
      const sentinel = await startSentinel();
      cleanUp.push(() => sentinel.stop());
      const hosts = sentinel.sentinels.map(({ host, port }) => `${host}:${port}`);
      url = `redis+sentinel://${hosts.join(",")}/${sentinel.name}`;
    });
    describeChannels(
      "under Sentinel",
      pair(() => url),
    );
  });

  describe("on Redis Cluster", () => {
    let cluster: RedisCluster;
    before(async () => {
      cluster = await startCluster({ masters: 3 });
      cleanUp.push(() => cluster.stop());
    });
    describeChannels(
      "on Redis Cluster",
      pair(() => {
        const client = new Cluster([...cluster.seeds]);
        cleanUp.push(() => client.disconnect());
        return client;
      }),
    );
  });
});

describe("channels on a bad day", function () {
  this.timeout(30_000);
  let server: RedisServer;
  let proxy: Proxy;
  let admin: Redis;
  const cleanUp: (() => unknown)[] = [];

  before(async () => {
    server = await startRedis();
    proxy = await startProxy(server);
    admin = new Redis(server.url);
  });
  afterEach(async () => {
    proxy.thaw();
    for (const clean of cleanUp.splice(0).reverse()) await clean();
  });
  after(async () => {
    admin.disconnect();
    await proxy.close();
    await server.stop();
  });

  async function listen() {
    const { channels, outcomes } = open(proxy.url, cleanUp);
    const heard: string[] = [];
    const state = { gaps: 0 };
    channels.subscribe(
      "c",
      (message) => heard.push(message),
      () => (state.gaps += 1),
    );
    await until(() => state.gaps === 1 && channels.isAlive(400));
    return { channels, outcomes, heard, state };
  }

  it("ignore and count messages that no release of Portcullis has sent", async () => {
    const { channels, outcomes, heard } = await listen();
    const garbage = ["", "x", "1:", "1:short:1:x", "2:AAAAAAAAAAAA:1:x", "1:AAAAAAAAAAA*:1:x", "1:AAAAAAAAAAAA:-1:x"];
    const hostile = ["{}", "null", "\u0000", "1:AAAAAAAAAAAA:zzzzzzzzzzzzzz:x", "1:__proto__aaa:"];
    for (const text of [...garbage, ...hostile]) await admin.publish(keys.channel("c"), text);
    for (const bytes of [Buffer.from([0xff, 0xfe, 0]), Buffer.alloc(1000, 0xc0)]) {
      await admin.publish(keys.channel("c"), bytes);
    }
    await admin.publish(keys.channel("c"), "x".repeat(5_000_000));
    await channels.publish("c", "good");
    await until(() => heard.length > 0);
    expect(heard).to.deep.equal(["good"]);
    const counts = (outcome: string): number => outcomes.filter((one) => one === outcome).length;
    expect([counts("garbage"), counts("huge"), counts("own"), counts("heard")]).to.deep.equal([14, 1, 1, 0]);
  });

  it("survive a listener that throws", async () => {
    const { channels, heard } = await listen();
    channels.subscribe("c", () => {
      throw new Error("a bug of the listener's");
    });
    await channels.publish("c", "1");
    await channels.publish("c", "2");
    await until(() => heard.length === 2);
  });

  it("say after a reset that messages may be missing, and go on", async () => {
    const { channels, heard, state } = await listen();
    proxy.reset();
    await until(() => state.gaps >= 2 && channels.isAlive(400));
    // The other connection may still be away, and a late reconnection of it makes the listening one anew.
    await until(async () => {
      await channels.publish("c", "again").catch(() => undefined);
      return heard.includes("again");
    });
  });

  it("notice a subscriber that is only half open, and hear again on another connection", async () => {
    const { channels, state } = await listen();
    proxy.freeze();
    await until(() => !channels.isAlive(60_000));
    proxy.thaw();
    await until(() => state.gaps >= 2 && channels.isAlive(400));
  });

  it("reject messages that cannot be published, within the deadline", async () => {
    const { channels } = await listen();
    server.pause();
    try {
      const fault = await rejectionOf(channels.publish("c", "x"));
      expect(fault).to.be.instanceOf(StoreFault).and.to.include({ status: 503 });
    } finally {
      server.resume();
    }
  });
});
