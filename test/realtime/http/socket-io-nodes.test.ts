import { signToken, startCluster, startRedis } from "@portcullis/testkit";
import type { RedisCluster } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster, Redis } from "ioredis";
import type { RemoteSocket } from "socket.io";
import { io as connect } from "socket.io-client";
import type { Socket as ClientSocket } from "socket.io-client";
import { cleanUp } from "../../support/clean-up.js";
import { freshPrefix, operate, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";
import { next, startSockets, user } from "../support/sockets.js";
import type { SocketApp, SocketAppOptions } from "../support/sockets.js";

type AnyRemote = RemoteSocket<Record<string, never>, unknown>;

/** Two servers that share a Redis, as two processes do. */
async function startTwo(
  redis: () => unknown = testRedisUrl,
  options: SocketAppOptions = {},
): Promise<[SocketApp, SocketApp]> {
  const prefix = freshPrefix();
  const start = async (): Promise<SocketApp> =>
    startSockets({ ...options, gate: { redis: redis() as string, prefix, service: "shop", ...options.gate } });
  const nodes: [SocketApp, SocketApp] = [await start(), await start()];
  await untilLinked(nodes);
  return nodes;
}

/** Resolves when every node hears the others. */
async function untilLinked(nodes: readonly SocketApp[]): Promise<void> {
  const probes = await Promise.all(nodes.map(async (node) => node.join(await user({ sub: "probe" }))));
  const heard = probes.map((probe) => {
    const from = new Set<number>();
    probe.on("probe", (node: number) => from.add(node));
    return from;
  });
  await until(async () => {
    nodes.forEach(({ io }, index) => io.to("user:probe").emit("probe", index));
    const counts = await Promise.all(nodes.map(({ io }) => io.of("/").adapter.serverCount()));
    return counts.every((count) => count === nodes.length) && heard.every(({ size }) => size === nodes.length);
  });
  for (const probe of probes) probe.disconnect();
  await until(() => nodes.every(({ io }) => io.sockets.sockets.size === 0));
}

describe("Socket.IO on several nodes with the Redis of the gate", () => {
  it("brings broadcasts to the rooms of a user on every node", async () => {
    const [a, b] = await startTwo();
    const clients = [await a.join(await user()), await b.join(await user()), await b.join(await user({ sub: "bob" }))];
    const heard: unknown[][] = clients.map(() => []);
    clients.forEach((client, index) => client.on("news", (data) => heard[index]?.push(data)));
    for (let index = 0; index < 20; index += 1) (index % 2 === 0 ? a : b).io.to("user:alice").emit("news", index);
    await until(() => heard[0]?.length === 20 && heard[1]?.length === 20);
    expect(heard[2]).to.deep.equal([]);
    for (const one of [heard[0], heard[1]]) expect(new Set(one)).to.have.property("size", 20);
  });

  it("disconnects the sockets of an ended session on every node within a second", async () => {
    const [a, b] = await startTwo();
    const token = await signToken({ sid: "session", org_id: "acme" });
    const clients = [await a.join({ token }), await b.join({ token }), await b.join(await user())];
    const reasons = clients.slice(0, 2).map((client) => next(client, "portcullis:end"));
    const since = performance.now();
    await a.gate.sessions.revokeGroup("acme");
    expect(await Promise.all(reasons)).to.deep.equal([{ reason: "session_ended" }, { reason: "session_ended" }]);
    expect(performance.now() - since).to.be.below(1000);
    expect(clients[2]?.connected).to.equal(true);
  });

  it("shows no token of a socket to another node, and leaves none in Redis", async () => {
    const [a, b] = await startTwo(undefined, { server: { connectionStateRecovery: {} } });
    const token = await signToken();
    const client = await b.join(
      { token },
      { extraHeaders: { cookie: "session=very-secret-cookie", "x-key": "very-secret-key" } },
    );
    b.io.on("connection", () => undefined);
    for (const socket of b.io.sockets.sockets.values()) socket.data.nickname = "al";
    const watcher = await watchMessages();
    const [remote] = (await a.io.fetchSockets()) as unknown as AnyRemote[];
    expect(remote?.rooms).to.include("user:alice");
    expect(remote?.data).to.deep.equal({ nickname: "al" });
    expect(remote?.handshake.headers).to.have.property("user-agent");
    const hello = next(client, "hello");
    a.io.emit("hello", "x");
    await hello;
    // A lost connection leaves a state for the recovery.
    client.io.engine.close();
    const redis = operate(testRedisUrl());
    let states: string[] = [];
    await until(async () => (states = await redis.keys("*socket.io:shop:*:states:*")).length > 0);
    const kept = await Promise.all(states.map((key) => redis.get(key)));
    const texts = [...watcher, ...kept.map((text) => Buffer.from(text ?? "", "base64").toString("latin1"))];
    texts.push(JSON.stringify(remote?.handshake), JSON.stringify(remote?.data));
    for (const text of texts) for (const secret of [token, "very-secret"]) expect(text).not.to.contain(secret);
    for (const key of [...states, ...(await redis.keys("*socket.io:shop:*:stream"))])
      expect(await redis.pttl(key), key).to.be.greaterThan(0);
  });

  it("keeps services on one Redis apart", async () => {
    const prefix = freshPrefix();
    const gate = { redis: testRedisUrl(), prefix };
    const a = await startSockets({ gate: { ...gate, service: "shop" } });
    const b = await startSockets({ gate: { ...gate, service: "bank" } });
    const clients = [await a.join(await user()), await b.join(await user())];
    const heard: unknown[] = [];
    clients.forEach((client) => client.on("news", (data) => heard.push(data)));
    await until(async () => {
      a.io.emit("news", "shop");
      b.io.emit("news", "bank");
      await new Promise((resolve) => setTimeout(resolve, 20));
      return heard.length > 8;
    });
    const other: unknown[] = [];
    clients[0]?.on("news", (data) => other.push(data));
    a.io.emit("news", "shop");
    await until(() => other.length > 0);
    expect(new Set(other)).to.deep.equal(new Set(["shop"]));
  });

  it("passes over entries of the stream that another program has added", async () => {
    const prefix = freshPrefix();
    const [a, b] = await startTwo(testRedisUrl, { gate: { prefix } });
    const client = await b.join(await user());
    let heard = 0;
    client.on("news", () => (heard += 1));
    const watcher = operate(testRedisUrl());
    const [stream] = await watcher.keys(`${prefix}*:stream`);
    for (const data of [[], ["data", "{}"], ["data", '{"packet":null,"opts":null}'], ["data", "x"]])
      await watcher.xadd(stream!, "*", "nsp", "/", "type", "3", "uid", "other", ...data);
    await until(() => {
      a.io.emit("news");
      return heard > 0;
    });
  });

  it("leaves no subscription of dynamic namespaces that are gone, and hears one that comes again", async () => {
    const nodes = await startTwo(testRedisUrl, { server: { cleanupEmptyChildNamespaces: true } });
    const [a, b] = nodes;
    for (const { io } of nodes) io.of(/^\/room-\d+$/);
    const watcher = operate(testRedisUrl());
    const channels = async (): Promise<number> => (await watcher.pubsub("CHANNELS", "*/room-*")).length;
    for (const { url } of nodes)
      for (let index = 0; index < 10; index += 1) {
        const stranger = connect(`${url}/room-${index}`, { reconnection: false, forceNew: true });
        await next(stranger, "connect_error");
        stranger.disconnect();
      }
    await until(async () => (await channels()) === 0);
    const clients = [];
    for (const { url } of nodes) {
      const client = connect(`${url}/room-1`, { auth: await user(), forceNew: true });
      cleanUp(() => client.disconnect());
      await next(client, "connect");
      clients.push(client);
    }
    let heard = 0;
    clients[1]?.on("news", () => (heard += 1));
    await until(() => {
      a.io.of("/room-1").emit("news");
      return heard > 0;
    });
    expect(await channels()).to.equal(3);
    await until(async () => (await b.io.of("/room-1").fetchSockets()).length === 2);
  });

  it("works with a client of ioredis that the application has made", async () => {
    const [a, b] = await startTwo(() => {
      const client = new Redis(testRedisUrl(), { keyPrefix: "own:", lazyConnect: false });
      cleanUp(() => client.disconnect());
      return client;
    });
    const client = await b.join(await user());
    const news = next(client, "news");
    a.io.to("user:alice").emit("news", 1);
    expect(await news).to.equal(1);
  });

  it("closes all its connections to Redis with the server, whichever is closed first", async () => {
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const operator = operate(redis.url);
    const count = async (): Promise<number> => {
      const list = String(await operator.client("LIST"));
      return list.split("\n").filter((line) => line.includes("portcullis-extension")).length;
    };
    const apps = [
      await startSockets({ gate: { redis: redis.url } }),
      await startSockets({ gate: { redis: redis.url } }),
    ];
    await until(async () => (await count()) === 6);
    await apps[0]?.io.close();
    await until(async () => (await count()) === 3);
    await apps[1]?.gate.close();
    await until(async () => (await count()) === 0);
  });

  it("opens no connection on a gate that guards no Socket.IO server, and none with the server's own adapter", async () => {
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const app = await startSockets({ gate: { redis: redis.url }, secure: { adapter: "own" } });
    await app.join(await user());
    expect(String(await operate(redis.url).client("LIST"))).not.to.contain("portcullis-extension");
  });
});

describe("Socket.IO on several nodes with a Redis Cluster", function () {
  this.timeout(30_000);
  let cluster: RedisCluster;

  before(async () => {
    cluster = await startCluster();
  });

  after(async () => {
    await cluster.stop();
  });

  it("brings broadcasts, questions between nodes and states for the recovery", async () => {
    const seeds = cluster.seeds.map(({ host, port }) => `${host}:${port}`);
    const [a, b] = await startTwo(() => `redis+cluster://${seeds.join(",")}`, {
      server: { connectionStateRecovery: {} },
    });
    const client = await b.join(await user(), { reconnection: true, reconnectionDelay: 10, forceNew: true });
    const news: Promise<unknown> = next(client, "news");
    a.io.to("user:alice").emit("news", 1);
    expect(await news).to.equal(1);
    expect(await a.io.fetchSockets()).to.have.length(1);
    await recovered(client);
  });

  it("works with a Cluster client that the application has made", async () => {
    const [a, b] = await startTwo(() => {
      const client = new Cluster([...cluster.seeds]);
      cleanUp(() => client.disconnect());
      return client;
    });
    const client = await b.join(await user());
    const news = next(client, "news");
    a.io.to("user:alice").emit("news", 1);
    expect(await news).to.equal(1);
  });
});

/** Breaks the connection of a client, and resolves when its state was recovered. */
async function recovered(client: ClientSocket): Promise<void> {
  const again = next(client, "connect");
  client.io.engine.close();
  await again;
  expect(client.recovered).to.equal(true);
}

/** All messages on all channels of the Redis from now on. */
async function watchMessages(): Promise<string[]> {
  const messages: string[] = [];
  const watcher = operate(testRedisUrl());
  await watcher.psubscribe("*");
  watcher.on("pmessageBuffer", (_pattern: unknown, _channel: unknown, message: Buffer) => {
    messages.push(message.toString("latin1"));
  });
  return messages;
}
