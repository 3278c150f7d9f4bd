import { connect as connectTo, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { startCluster, startRedis, startProxy } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster, Redis } from "ioredis";
import { parseRedisUrl } from "../../../packages/core/src/store/redis/url.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { Tracking } from "../../../packages/core/src/store/redis/tracking.js";
import { silentLogger } from "../../support/logger.js";
import { until } from "../../support/until.js";

describe("tracking of keys", function () {
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

  function open(redis: string | RedisLike = `redis://127.0.0.1:${proxy.port}`) {
    const connection = connect({
      redis: typeof redis === "string" ? parseRedisUrl("redis", redis) : redis,
      deadlineMs: 1000,
      logger: silentLogger,
      scripts: [],
    });
    const tracking = new Tracking({ connection, logger: silentLogger, heartbeatMs: 20, proofTimeoutMs: 400 });
    const heard: string[] = [];
    const messages: string[] = [];
    let flushes = 0;
    for (const prefix of ["a:", "b:"]) {
      tracking.track({ prefix, invalidate: (key) => heard.push(key), flush: () => (flushes += 1) });
    }
    tracking.subscribe("channel", { receive: (message) => messages.push(message.toString()), gap: () => undefined });
    cleanUp.push(async () => {
      tracking.close();
      await connection.close();
    });
    return { tracking, heard, messages, flushes: () => flushes };
  }

  it("tells several parts of the same prefix, also one that comes later, and makes no new connection for it", async () => {
    const { tracking, heard } = open();
    expect(await tracking.ready(5000)).to.equal(true);
    const connections = proxy.connections;
    const also: string[] = [];
    tracking.track({ prefix: "a:", invalidate: (key) => also.push(key), flush: () => undefined });
    await admin.set("a:1", "x");
    await until(() => also.length > 0);
    expect([heard, also]).to.deep.equal([["a:1"], ["a:1"]]);
    expect(proxy.connections).to.equal(connections);
    proxy.reset();
    await until(() => !tracking.isAlive(50));
    expect(await tracking.ready(5000)).to.equal(true);
    await until(async () => {
      await admin.set("a:2", "x");
      return also.includes("a:2");
    });
  });

  it("receives messages where Redis refuses to tell of changes, and proves nothing about keys", async () => {
    await admin.call("ACL", "SETUSER", "untold", "on", ">untold", "~*", "&*", "+@all", "-client|tracking");
    const { tracking, messages, heard } = open(`redis://untold:untold@127.0.0.1:${proxy.port}`);
    await until(async () => {
      await admin.publish("channel", "m");
      return messages.length > 0;
    });
    await admin.set("a:1", "x");
    expect(await tracking.ready(200)).to.equal(false);
    expect([heard, tracking.isAlive(60_000)]).to.deep.equal([[], false]);
    // A dead connection is still found out, and made anew.
    proxy.reset();
    await until(async () => {
      await admin.publish("channel", "anew");
      return messages.includes("anew");
    });
  });

  it("receives every change under its prefixes, from any client, and no other", async () => {
    const { tracking, heard, messages } = open();
    expect(await tracking.ready(5000)).to.equal(true);
    await admin.mset("a:1", "1", "c:1", "1", "b:{x}", "1");
    await admin.set("a:short", "1", "PX", 20);
    await admin.del("a:1");
    await admin.publish("channel", "hello");
    await until(() => heard.filter((key) => key === "a:short").length === 2 && messages.length === 1);
    expect(heard.filter((key) => key !== "a:short").sort()).to.deep.equal(["a:1", "a:1", "b:{x}"]);
  });

  it("flushes when it begins to listen, and when everything is deleted", async () => {
    const { tracking, flushes } = open();
    await tracking.ready(5000);
    expect(flushes()).to.equal(2);
    await admin.set("a:1", "1");
    await admin.flushall();
    await until(() => flushes() === 4);
  });

  it("is not alive while reset, flushes when it listens again, and hears as before", async () => {
    const { tracking, heard, flushes } = open();
    await tracking.ready(5000);
    proxy.reset();
    await until(() => !tracking.isAlive(2000));
    await until(() => tracking.isAlive(2000));
    expect(flushes()).to.be.at.least(4);
    await admin.set("a:2", "1");
    await until(() => heard.includes("a:2"));
  });

  it("makes another connection when its peer takes one and stays silent from the start", async () => {
    const sockets: Socket[] = [];
    let silent = 0;
    const relay = createServer((socket) => {
      sockets.push(socket.on("error", () => undefined));
      // The first is not the one that listens.
      if (sockets.length > 1 && silent < 2) {
        silent += 1;
        socket.resume();
        return;
      }
      const upstream = connectTo({ host: server.host, port: server.port }).on("error", () => undefined);
      sockets.push(upstream);
      socket.pipe(upstream).pipe(socket);
    });
    await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
    const { tracking, heard } = open(`redis://127.0.0.1:${(relay.address() as AddressInfo).port}`);
    cleanUp.unshift(async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => relay.close(resolve));
    });
    expect(await tracking.ready(20_000)).to.equal(true);
    expect(silent).to.equal(2);
    await admin.set("a:after silence", "1");
    await until(() => heard.includes("a:after silence"));
  });

  it("is not alive for longer than its last proof while frozen, and makes a new connection afterwards", async () => {
    const { tracking, heard } = open();
    await tracking.ready(5000);
    proxy.freeze();
    await until(() => !tracking.isAlive(200));
    await until(() => !tracking.isAlive(2000));
    proxy.thaw();
    await until(() => tracking.isAlive(200));
    await admin.set("a:3", "1");
    await until(() => heard.includes("a:3"));
  });

  it("takes prefixes and channels also when it listens already, and lets go of channels", async () => {
    const { tracking, heard, messages } = open();
    await tracking.ready(5000);
    const late: string[] = [];
    let gaps = 0;
    const stop = tracking.subscribe("late", {
      receive: (message) => late.push(message.toString()),
      gap: () => (gaps += 1),
    });
    await until(() => gaps === 1);
    await admin.publish("late", "1");
    await until(() => late.length === 1);
    let flushed = false;
    tracking.track({ prefix: "c:", invalidate: (key) => late.push(key), flush: () => (flushed = true) });
    await until(() => flushed && gaps === 2);
    await admin.mset("c:1", "1", "a:9", "1");
    await admin.publish("late", "2");
    await until(() => late.length === 3 && heard.includes("a:9"));
    expect([...late].sort()).to.deep.equal(["1", "2", "c:1"]);
    stop();
    await until(async () => ((await admin.pubsub("NUMSUB", "late")) as [string, number])[1] === 0);
    await admin.publish("channel", "still");
    await until(() => messages.includes("still"));
  });

  it("makes one new connection, however many reasons there are for it at once", async () => {
    const warnings: Error[] = [];
    const note = (warning: Error): unknown => warnings.push(warning);
    process.on("warning", note);
    cleanUp.push(() => process.off("warning", note));
    const { tracking, heard } = open();
    expect(await tracking.ready(5000)).to.equal(true);
    for (let index = 0; index < 30; index += 1)
      tracking.track({ prefix: `c${index}:`, invalidate: (key) => heard.push(key), flush: () => undefined });
    await until(async () => {
      await admin.set("c29:key", "1");
      return heard.includes("c29:key");
    });
    expect(warnings.map(({ message }) => message)).to.deep.equal([]);
  });

  it("does not connect before somebody wants to hear something", async () => {
    const connection = connect({
      redis: parseRedisUrl("redis", server.url),
      deadlineMs: 1000,
      logger: silentLogger,
      scripts: [],
    });
    cleanUp.push(() => connection.close());
    const tracking = new Tracking({ connection, logger: silentLogger });
    cleanUp.push(() => tracking.close());
    await until(() => connection.isUp());
    expect(await admin.client("LIST")).not.to.include("portcullis-tracking");
    tracking.subscribe("channel", { receive: () => undefined, gap: () => undefined });
    await until(async () => String(await admin.client("LIST")).includes("portcullis-tracking"));
  });

  it("notices a stopped server, and reports it to its waiters", async () => {
    const { tracking } = open(server.url);
    await tracking.ready(5000);
    server.pause();
    await until(() => !tracking.isAlive(400));
    expect(await tracking.ready(50)).to.equal(false);
    server.resume();
    await until(() => tracking.isAlive(100));
  });

  it("starts before its server, and listens when that is there", async () => {
    const late = await startRedis();
    cleanUp.push(() => late.stop());
    await late.kill();
    const { tracking } = open(late.url);
    expect(await tracking.ready(50)).to.equal(false);
    await late.restart();
    await until(() => tracking.isAlive(2000));
  });

  it("tracks behind a client of the user's own", async () => {
    const client = new Redis(server.url);
    cleanUp.push(() => client.disconnect());
    const { tracking, heard } = open(client);
    await tracking.ready(5000);
    await client.call("SET", "a:1", "1");
    await until(() => heard.includes("a:1"));
  });

  it("hears every master of a cluster, and is alive only if it does", async () => {
    const cluster = await startCluster({ masters: 3 });
    cleanUp.push(() => cluster.stop());
    const client = new Cluster([...cluster.seeds]);
    cleanUp.push(() => client.disconnect());
    const { tracking, heard, messages } = open(client);
    await until(() => tracking.isAlive(2000));
    const keys = Array.from({ length: 30 }, (_, index) => `a:${index}`);
    for (const key of keys) await client.set(key, "1");
    await until(() => keys.every((key) => heard.includes(key)));
    await client.publish("channel", "hello");
    await until(() => messages.length > 0);
  });
});
