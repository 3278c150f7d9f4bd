import { signToken, startRedis } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import { freshPrefix } from "../../support/redis.js";
import { until } from "../../support/until.js";
import { connected, next, startSockets, user } from "../support/sockets.js";
import type { SocketApp } from "../support/sockets.js";

describe("Socket.IO while the Redis of the gate fails", function () {
  this.timeout(30_000);
  let redis: RedisServer;

  beforeEach(async () => {
    redis = await startRedis();
  });

  afterEach(async () => {
    await redis.stop();
  });

  async function startTwo(): Promise<[SocketApp, SocketApp]> {
    const prefix = freshPrefix();
    const start = async (): Promise<SocketApp> =>
      startSockets({
        gate: { redis: redis.url, prefix, deadline: 100 },
        secure: { limits: [{ limit: { name: "events", per: "user", limit: 1000, window: "1m" } }] },
        server: { connectionStateRecovery: {} },
      });
    return [await start(), await start()];
  }

  for (const [what, fail, mend] of [
    ["stands still", () => redis.pause(), () => redis.resume()],
    ["is down", () => redis.kill(), () => redis.restart()],
  ] as const) {
    it(`keeps its sockets and delivers within the process while Redis ${what}, and to the others again afterwards`, async () => {
      const [a, b] = await startTwo();
      for (const { io } of [a, b])
        io.on("connection", (socket) =>
          socket.on("echo", (text: string, reply: (text: string) => void) => reply(text)),
        );
      const clients = [await a.join(await user()), await b.join(await user())] as const;
      const heard: string[][] = clients.map(() => []);
      clients.forEach((client, index) => client.on("news", (text: string) => heard[index]?.push(text)));
      await until(() => {
        a.io.emit("news", "before");
        return heard.every((one) => one.includes("before"));
      });

      await fail();
      const usage = process.cpuUsage();
      const since = performance.now();
      await until(() => {
        a.io.emit("news", "during");
        return heard[0]?.includes("during") === true;
      });
      expect(clients.map(({ connected: isOpen }) => isOpen)).to.deep.equal([true, true]);
      expect(await clients[0].timeout(5000).emitWithAck("echo", "still")).to.equal("still");
      // New sockets are refused, since nobody knows whether their tokens are revoked.
      const refusal = await a.refusal(await user());
      expect([refusal.code, refusal.status]).to.deep.equal(["store_unavailable", 503]);
      expect(refusal.retryAfter).to.be.a("number");
      // Questions to other nodes fail; the process goes on.
      await a.io.fetchSockets().catch(() => undefined);
      a.io.serverSideEmit("ping");
      clients[1].io.engine.close();
      await new Promise((resolve) => setTimeout(resolve, 1000));
      // An outage is no busy loop.
      const { user: spent } = process.cpuUsage(usage);
      expect(spent / 1000).to.be.below(0.6 * (performance.now() - since));

      await mend();
      await until(async () => {
        clients[1].connect();
        return connected(clients[1]).then(
          () => true,
          () => false,
        );
      });
      await until(() => {
        a.io.emit("news", "after");
        return heard.every((one) => one.includes("after"));
      });
      const end = next(clients[0], "portcullis:end");
      await until(async () =>
        b.gate.revocations.revokeSubject("alice").then(
          () => true,
          () => false,
        ),
      );
      expect(await end).to.deep.equal({ reason: "session_ended" });
    });
  }

  it("rejects broadcasts with acknowledgements and questions to other nodes during an outage, and leaves no other rejection", async () => {
    const { io } = (await startTwo())[0];
    await redis.kill();
    const unhandled: unknown[] = [];
    const collect = (error: unknown): void => void unhandled.push(error);
    const others = process.listeners("unhandledRejection");
    process.removeAllListeners("unhandledRejection");
    process.on("unhandledRejection", collect);
    try {
      const failed = async (call: Promise<unknown>): Promise<boolean> => call.then(() => false).catch(() => true);
      const calls = [io.timeout(100).emitWithAck("ask"), io.serverSideEmitWithAck("ask"), io.fetchSockets()];
      expect(await Promise.all(calls.map(failed))).to.deep.equal([true, true, true]);
      await new Promise((resolve) => setImmediate(resolve));
    } finally {
      process.off("unhandledRejection", collect);
      for (const other of others) process.on("unhandledRejection", other);
    }
    expect(unhandled).to.deep.equal([]);
  });

  it("starts without Redis, and links its nodes when Redis comes", async () => {
    await redis.kill();
    const [a, b] = await startTwo();
    expect((await a.refusal({ token: await signToken() })).code).to.equal("store_unavailable");
    await redis.restart();
    const clients = [await join(a), await join(b)];
    let heard = 0;
    clients.forEach((client) => client.once("news", () => (heard += 1)));
    await until(() => {
      b.io.emit("news", "x");
      return heard === 2;
    });
  });

  async function join(app: SocketApp): Promise<Awaited<ReturnType<SocketApp["join"]>>> {
    let client = app.open(await user());
    await until(async () => {
      client = app.open(await user());
      return connected(client).then(
        () => true,
        () => false,
      );
    });
    return client;
  }
});
