import { once } from "node:events";
import type { EventEmitter } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { makeCertificates, startCluster, startProxy, startRedis } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import { closeSilent } from "../../../packages/core/src/store/redis/silent-connections.js";
import type { RedisPlace } from "../../../packages/core/src/store/redis/topology.js";
import { cleanUp } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";

/** Milliseconds that a connection may be silent, with this deadline. */
const [deadlineMs, limitMs] = [100, 1000];
/** Much longer. */
const generousMs = 10 * limitMs;

const place: Omit<RedisPlace, "addresses"> = {
  ...{
    topology: "standalone",
    path: undefined,
    masterName: undefined,
    username: undefined,
    password: undefined,
    db: 0,
  },
  ...{ sentinelUsername: undefined, sentinelPassword: undefined, tls: undefined, family: undefined, natMap: undefined },
};

function open(ports: readonly number[], rest: Partial<RedisPlace> = {}): Connection {
  const addresses = ports.map((port) => ({ host: "127.0.0.1", port }));
  const redis = { ...place, addresses, ...rest };
  const connection = connect({ redis, deadlineMs, logger: silentLogger, scripts: [] });
  cleanUp(() => connection.close());
  return connection;
}

async function startServer(): Promise<RedisServer> {
  const server = await startRedis();
  cleanUp(() => server.stop());
  return server;
}

async function startWay(port: number): Promise<Proxy> {
  const proxy = await startProxy({ port });
  cleanUp(() => proxy.close());
  return proxy;
}

const emitterOf = ({ client }: Connection): EventEmitter => client as unknown as EventEmitter;

describe("a connection to Redis", function () {
  this.timeout(60_000);

  it("is closed when it is silent while a reply is pending, and made anew; and not while it is idle", async () => {
    const proxy = await startWay((await startServer()).port);
    const connection = open([proxy.port]);
    await until(() => connection.isUp());
    let closed = 0;
    emitterOf(connection).on("close", () => (closed += 1));
    proxy.freeze();
    await sleep(1.2 * limitMs);
    expect(closed).to.equal(0);
    const sentAt = performance.now();
    expect(await rejectionOf(connection.client.call("PING"))).to.be.instanceOf(Error);
    expect(performance.now() - sentAt).to.be.within(2 * deadlineMs, generousMs);
    expect(closed).to.equal(1);
    proxy.thaw();
    await until(() => connection.isUp());
    expect(await connection.client.call("PING")).to.equal("PONG");
  });

  it("is closed when it is silent while it is set up", async () => {
    const proxy = await startWay((await startServer()).port);
    proxy.freeze();
    const connection = open([proxy.port], { password: "of nobody" });
    await once(emitterOf(connection), "connect");
    const connectedAt = performance.now();
    await new Promise<unknown>((resolve) => emitterOf(connection).on("close", resolve));
    expect(performance.now() - connectedAt).to.be.lessThan(generousMs);
  });

  it("stays open while replies come, however many are pending", async () => {
    const server = await startServer();
    const connection = open([server.port]);
    await until(() => connection.isUp());
    let closed = 0;
    emitterOf(connection).on("close", () => (closed += 1));
    const end = performance.now() + 1.2 * limitMs;
    let calls: Promise<unknown>[] = [];
    while (performance.now() < end) {
      calls = Array.from({ length: 20 }, async () => connection.client.call("PING"));
      await calls[0];
    }
    await Promise.all(calls);
    expect(closed).to.equal(0);
  });

  it("stays open while this process stands still, and its replies are read then", async () => {
    const server = await startServer();
    const connection = open([server.port]);
    await until(() => connection.isUp());
    const reply = connection.client.call("PING");
    await new Promise(setImmediate);
    const end = performance.now() + 1.2 * limitMs;
    while (performance.now() < end);
    expect(await reply).to.equal("PONG");
  });

  it("with TLS is closed too", async () => {
    const tls = makeCertificates();
    const server = await startRedis({ tls });
    cleanUp(() => server.stop());
    const connection = open([server.tlsPort ?? 0], { tls: { ca: tls.ca, ...tls.client, servername: "localhost" } });
    await until(() => connection.isUp());
    server.pause();
    cleanUp(() => server.resume());
    const sentAt = performance.now();
    expect(await rejectionOf(connection.client.call("PING"))).to.be.instanceOf(Error);
    expect(performance.now() - sentAt).to.be.within(2 * deadlineMs, generousMs);
  });

  it("to a node of a Cluster is closed too", async () => {
    const proxies: Proxy[] = [];
    const cluster = await startCluster({
      announce: async ({ port }) => {
        const proxy = await startWay(port);
        proxies.push(proxy);
        return proxy.port;
      },
    });
    cleanUp(() => cluster.stop());
    const connection = open(
      proxies.map(({ port }) => port),
      { topology: "cluster" },
    );
    await until(() => connection.hasConnected());
    expect(await connection.client.call("GET", "a")).to.equal(null);
    for (const proxy of proxies) proxy.freeze();
    const sentAt = performance.now();
    expect(await rejectionOf(connection.client.call("GET", "a"))).to.be.instanceOf(Error);
    expect(performance.now() - sentAt).to.be.within(2 * deadlineMs, generousMs);
    for (const proxy of proxies) proxy.thaw();
    await until(async () =>
      connection.client.call("GET", "a").then(
        (value) => value === null,
        () => false,
      ),
    );
  });

  it("has ioredis' own timeout where a version of it does not show what is pending", async () => {
    const options: { socketTimeout?: number } = {};
    const stop = closeSilent({ options, stream: { destroyed: false, bytesRead: 1 } }, 50);
    await until(() => options.socketTimeout === 50);
    stop();
  });
});
