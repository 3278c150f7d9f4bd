import { nowSeconds, signToken } from "@portcullis/testkit";
import { expect } from "chai";
import type { Socket as ClientSocket } from "socket.io-client";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";
import { connected, next, startSockets, user } from "../support/sockets.js";
import type { SocketApp } from "../support/sockets.js";

/** What a client keeps for a recovery. */
interface Recoverable {
  _pid?: string;
  _lastOffset?: string;
}

/** A client that was disconnected, and missed a message to its room. */
interface Away {
  readonly client: ClientSocket;
  readonly id: string | undefined;
  readonly heard: unknown[];
}

for (const name of ["in process", "on Redis, at another node"] as const) {
  describe(`connection state recovery of Socket.IO ${name}`, () => {
    const isShared = name !== "in process";
    let home: SocketApp;
    let other: SocketApp;

    beforeEach(async () => {
      const start = async (prefix: string): Promise<SocketApp> => {
        const app = await startSockets({
          gate: { redis: isShared ? testRedisUrl() : "memory", prefix },
          server: { connectionStateRecovery: { skipMiddlewares: true } },
        });
        app.io.on("connection", (socket) => {
          if (socket.recovered) return;
          void socket.join("orders");
          socket.data.nickname = "al";
        });
        return app;
      };
      const prefix = freshPrefix();
      home = await start(prefix);
      other = isShared ? await start(prefix) : home;
    });

    /** Connects, gets an offset, and loses the connection without a word. */
    async function lose(claims: Record<string, unknown> = {}): Promise<Away> {
      const client = await home.join(await user(claims));
      const heard: unknown[] = [];
      client.on("order", (order) => heard.push(order));
      await until(() => {
        home.io.to("orders").emit("order", "first");
        return heard.length > 0;
      });
      await until(() => (client as unknown as Recoverable)._lastOffset !== undefined);
      heard.length = 0;
      const { id } = client;
      client.io.engine.close();
      await until(() => home.io.sockets.sockets.size === 0);
      home.io.to("orders").emit("order", "missed");
      // Written when it is there.
      await new Promise((resolve) => setTimeout(resolve, 50));
      heard.length = 0;
      Object.assign(client.io, { uri: other.url });
      return { client, id, heard };
    }

    it("gives a client of the same user and session its rooms, its data and the missed messages", async () => {
      const { client, id, heard } = await lose({ sid: "session" });
      client.auth = await user({ sid: "session" });
      client.connect();
      await connected(client);
      expect(client.recovered).to.equal(true);
      expect(client.id).to.equal(id);
      await until(() => heard.includes("missed"));
      const socket = other.io.sockets.sockets.get(id ?? "");
      expect(socket?.rooms).to.include("orders").and.include("user:alice");
      expect(socket?.data.nickname).to.equal("al");
      expect(socket?.data.auth.subject).to.equal("alice");
      expect(Object.keys(socket?.data as object)).to.deep.equal(["nickname"]);
    });

    it("brings back no revoked session: the client is refused and hears nothing", async () => {
      const { client, heard } = await lose({ jti: "gone" });
      await home.gate.revocations.revoke({ jti: "gone", expiresAt: nowSeconds() + 300 });
      const packets = packetsOf(client);
      client.auth = await user({ jti: "gone" });
      client.connect();
      const error = await next<Error & { data: { code: string } }>(client, "connect_error");
      expect(error.data.code).to.equal("token_invalid");
      // Nor with a good token of another user, or without one.
      client.auth = {};
      client.connect();
      expect((await next<typeof error>(client, "connect_error")).data.code).to.equal("credentials_required");
      expect(heard).to.deep.equal([]);
      expect(packets.join()).not.to.contain("missed");
    });

    for (const [what, claims] of [
      ["another user", { sub: "mallory", sid: "session" }],
      ["another session of the user", { sid: "later" }],
      ["another organisation", { sid: "session", org_id: "globex" }],
    ] as const) {
      it(`gives nothing of it to ${what} who has the secret identifier, and a new socket instead`, async () => {
        const { client, id, heard } = await lose({ sid: "session" });
        const { _pid: pid, _lastOffset: offset } = client as unknown as Recoverable;
        const thief = other.open({ ...(await user(claims)), pid, offset });
        thief.on("order", (order) => heard.push(order));
        const packets = packetsOf(thief);
        await connected(thief);
        expect(thief.id).not.to.equal(id);
        expect(thief.recovered).to.equal(false);
        const socket = other.io.sockets.sockets.get(thief.id ?? "");
        await until(() => socket?.rooms.has("orders") === true);
        if ("sub" in claims) expect([...(socket?.rooms ?? [])]).not.to.include("user:alice");
        expect(other.io.sockets.sockets.size).to.equal(1);
        const hello = next(thief, "hello");
        socket?.emit("hello", "x");
        await hello;
        expect(heard).to.deep.equal([]);
        expect(packets.join()).to.contain("hello").and.not.contain("missed");
        thief.disconnect();
        await until(() => other.io.sockets.sockets.size === 0 && other.gate.connections.open === 0);
        expect(pending(other)).to.equal(0);
      });
    }

    it("gives a state to one client only", async () => {
      const { client, id } = await lose({ sid: "session" });
      const { _pid: pid, _lastOffset: offset } = client as unknown as Recoverable;
      const auth = { ...(await user({ sid: "session" })), pid, offset };
      const ids = [other.open(auth), other.open(auth)].map(async (one) => {
        await connected(one);
        return one.id;
      });
      const [first, second] = await Promise.all(ids);
      expect(first === id && second === id).to.equal(false);
      expect(other.io.sockets.sockets.size).to.equal(2);
    });

    it("takes any value for the identifier and the offset", async () => {
      const token = await signToken();
      const offsets = ["0-0", "-", "+", "x".repeat(100_000), "a\r\nb"];
      const pids = ["x", "../..", "a\u0000b", "*", "{1}", "x".repeat(500_000), 7, {}, null];
      for (const [index, pid] of pids.entries()) {
        const client = home.open({ token, pid, offset: offsets[index % offsets.length] });
        await connected(client);
        expect(client.recovered).to.equal(false);
        client.disconnect();
      }
    });
  });
}

/** Sockets that Socket.IO believes to be connecting. */
function pending({ io }: SocketApp): number {
  return (io.sockets as unknown as { _preConnectSockets: Map<string, unknown> })._preConnectSockets.size;
}

/** Everything that arrives for a client, also what it does not show before it is connected. */
function packetsOf(client: ClientSocket): string[] {
  const packets: string[] = [];
  (client.io as unknown as { on(event: "packet", listener: (packet: unknown) => void): void }).on(
    "packet",
    (packet) => {
      packets.push(JSON.stringify(packet));
    },
  );
  return packets;
}
