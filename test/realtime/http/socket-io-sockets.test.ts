import { once } from "node:events";
import { nowSeconds, signToken } from "@portcullis/testkit";
import { expect } from "chai";
import { io as connect } from "socket.io-client";
import { WebSocket } from "ws";
import { cleanUp } from "../../support/clean-up.js";
import { testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";
import { connected, next, startSockets, user } from "../support/sockets.js";
import type { SocketApp, SocketAppOptions } from "../support/sockets.js";

const stores = [
  { name: "in process", redis: () => "memory" as const },
  { name: "on Redis", redis: testRedisUrl },
];

for (const { name, redis } of stores) {
  describe(`a socket of Socket.IO behind a gate ${name}`, () => {
    async function start(options: SocketAppOptions = {}): Promise<SocketApp> {
      return startSockets({ ...options, gate: { redis: redis(), ...options.gate } });
    }

    it("shows its user, and is in the rooms of the user and the organisation", async () => {
      const app = await start();
      const seen: { auth: { principal: string; claims: unknown }; rooms: Set<string>; id: string }[] = [];
      app.io.on("connection", ({ data, rooms, id }) => seen.push({ auth: data.auth, rooms, id }));
      const client = await app.join(await user({ org_id: "acme" }));
      const [one] = seen;
      expect(one?.auth.principal).to.equal("alice");
      expect(one?.rooms).to.deep.equal(new Set([one?.id, "user:alice", "org:acme"]));
      const told = next(client, "hello");
      app.io.to("org:acme").emit("hello", "acme");
      expect(await told).to.equal("acme");
    });

    it("is disconnected within a second when its token is revoked, and is told the reason first", async () => {
      const app = await start();
      const token = await signToken({ jti: "gone" });
      const client = await app.join({ token });
      const other = await app.join(await user());
      const reason = next(client, "portcullis:end");
      const end = next(client, "disconnect");
      const since = performance.now();
      await app.gate.revocations.revoke({ jti: "gone", expiresAt: nowSeconds() + 300 });
      expect(await reason).to.deep.equal({ reason: "revoked" });
      expect(await end).to.equal("io server disconnect");
      expect(performance.now() - since).to.be.below(1000);
      expect(other.connected).to.equal(true);
      expect((await app.refusal({ token })).code).to.equal("token_invalid");
      await until(() => app.gate.connections.open === 1);
    });

    it("is disconnected in every namespace when all sessions of the user end", async () => {
      const app = await start();
      app.io.of("/news");
      const first = await app.join(await user());
      const second = first.io.socket("/news", { auth: await user() });
      await connected(second);
      const bob = await app.join(await user({ sub: "bob" }));
      const reasons = [next(first, "portcullis:end"), next(second, "portcullis:end")];
      await app.gate.revocations.revokeSubject("alice");
      expect(await Promise.all(reasons)).to.deep.equal([{ reason: "session_ended" }, { reason: "session_ended" }]);
      await until(() => !first.connected && !second.connected && app.io.engine.clientsCount === 1);
      expect(bob.connected).to.equal(true);
    });

    it("is disconnected when its token expires", async () => {
      const app = await start();
      const client = await app.join(await user({ exp: nowSeconds() + 1 }), { transports: ["polling"] });
      expect(await next(client, "portcullis:end")).to.deep.equal({ reason: "expired" });
      await until(() => !client.connected);
    });

    it("goes on with a newer token of its user, in all namespaces and with new rooms, without reconnecting", async () => {
      const app = await start();
      app.io.of("/news");
      const exp = nowSeconds() + 2;
      const client = await app.join(await user({ exp, org_id: "acme" }));
      const news = client.io.socket("/news", { auth: await user({ exp }) });
      news.connect();
      await connected(news);
      const later = nowSeconds() + 300;
      const reply: unknown = await client.emitWithAck(
        "portcullis:authenticate",
        await user({ exp: later, org_id: "globex" }),
      );
      expect(reply).to.deep.equal({ ok: true, expiresAt: later });
      const [socket] = app.io.sockets.sockets.values();
      expect(socket?.data.auth.expiresAt).to.equal(later);
      expect(socket?.rooms).to.include("org:globex").and.not.include("org:acme");
      await new Promise((resolve) => setTimeout(resolve, exp * 1000 + 300 - Date.now()));
      expect([client.connected, news.connected]).to.deep.equal([true, true]);
    });

    it("refuses the token of another user, and values that are no tokens, and keeps its own", async () => {
      const app = await start();
      const client = await app.join(await user());
      const codes: string[] = [];
      const revoked = await signToken({ jti: "late" });
      await app.gate.revocations.revoke({ jti: "late", expiresAt: nowSeconds() + 300 });
      for (const data of [await user({ sub: "mallory" }), { token: revoked }, { token: {} }, undefined]) {
        const { error } = (await client.emitWithAck("portcullis:authenticate", data)) as { error: { code: string } };
        codes.push(error.code);
      }
      expect(codes).to.deep.equal(["token_invalid", "token_invalid", "token_invalid", "credentials_required"]);
      const [socket] = app.io.sockets.sockets.values();
      expect(socket?.data.auth.subject).to.equal("alice");
      expect(client.connected).to.equal(true);
      // Guessing on is cut.
      const { error } = (await client.emitWithAck("portcullis:authenticate", ["x"])) as { error: { code: string } };
      expect(error.code).to.equal("token_invalid");
      await until(() => !client.connected);
    });

    it("is limited in its events by policies of the gate, with the refusal as acknowledgement", async () => {
      const app = await start({
        gate: { limits: [{ name: "named", per: "user", limit: 100, window: "1m" }] },
        secure: {
          limits: [
            { limit: { name: "chat", per: "user", limit: 3, window: "1m" }, events: ["chat"] },
            { limit: "named", events: ["bulk"], cost: (_event, [items]) => (items as unknown[]).length },
          ],
        },
      });
      const heard: unknown[] = [];
      app.io.on("connection", (socket) => {
        socket.on("chat", (text: unknown, acknowledge?: (reply: string) => void) => {
          heard.push(text);
          acknowledge?.("heard");
        });
        socket.on("free", (text: unknown, acknowledge: (reply: string) => void) => acknowledge(`free ${String(text)}`));
        socket.on("bulk", (_items: unknown, acknowledge: (reply: string) => void) => acknowledge("bulk"));
      });
      const client = await app.join(await user());
      expect(await client.emitWithAck("chat", 1)).to.equal("heard");
      client.emit("chat", 2);
      client.emit("chat", 3);
      const refused = next<{ event: string; error: object }>(client, "portcullis:refused");
      client.emit("chat", 4);
      expect((await refused).event).to.equal("chat");
      const { error } = (await client.emitWithAck("chat", 5)) as { error: { retryAfter: number } };
      expect(error).to.include({ code: "quota_exceeded", status: 429 });
      expect(error.retryAfter).to.be.within(1, 60);
      expect(heard).to.deep.equal([1, 2, 3]);
      expect(await client.emitWithAck("free", 1)).to.equal("free 1");
      // The same user on another connection, and another user.
      const again = await app.join(await user());
      expect(await again.emitWithAck("chat", 6)).to.have.property("error");
      const bob = await app.join(await user({ sub: "bob" }));
      expect(await bob.emitWithAck("chat", 7)).to.equal("heard");
      // The join cost one.
      expect(await bob.emitWithAck("bulk", Array(90).fill(0))).to.equal("bulk");
      expect(await bob.emitWithAck("bulk", Array(90).fill(0))).to.have.nested.property("error.code", "quota_exceeded");
    });

    it("is limited in events whose name is a number, as in those whose name is its text", async () => {
      const limits = [
        { limit: { name: "five", per: "user" as const, limit: 2, window: "1m" as const }, events: ["5"] },
      ];
      const app = await start({ secure: { limits } });
      let heard = 0;
      app.io.on("connection", (socket) => socket.on("5", () => (heard += 1)));
      const client = await app.join(await user());
      const refused = next<{ event: string }>(client, "portcullis:refused");
      for (let turn = 0; turn < 4; turn += 1) client.emit(5 as never);
      expect((await refused).event).to.equal("5");
      expect(heard).to.equal(2);
    });

    it("handles its events in the order in which they came, limited or not", async () => {
      const app = await start({
        secure: { limits: [{ limit: { name: "some", per: "user", limit: 1000, window: "1m" }, events: ["limited"] }] },
      });
      const heard: number[] = [];
      app.io.on("connection", (socket) => {
        for (const event of ["limited", "free"]) socket.on(event, (index: number) => heard.push(index));
      });
      const client = await app.join(await user());
      for (let index = 0; index < 40; index += 1) client.emit(index % 3 === 0 ? "limited" : "free", index);
      await until(() => heard.length === 40);
      expect(heard).to.deep.equal(Array.from({ length: 40 }, (_, index) => index));
    });
  });
}

describe("secure()", () => {
  it("guards every namespace, before and after it is called, dynamic ones, and before other middleware", async () => {
    const seen: string[] = [];
    const note = (socket: { nsp: { name: string }; data: { auth?: { subject: string } } }, pass: () => void): void => {
      seen.push(`${socket.nsp.name} ${socket.data.auth?.subject ?? "nobody"}`);
      pass();
    };
    const app = await startSockets({
      before(io) {
        io.use(note);
        io.of("/early").use(note);
        io.of(/^\/room-\d+$/).use(note);
      },
    });
    app.io.of("/later").use(note);
    const auth = await user();
    for (const namespace of ["/", "/early", "/later", "/room-7"]) {
      const stranger = connect(app.url + namespace, { reconnection: false, forceNew: true });
      const error = await next<Error & { data: { code: string } }>(stranger, "connect_error");
      expect(error.data.code).to.equal("credentials_required");
      const client = connect(app.url + namespace, { auth, reconnection: false, forceNew: true });
      await connected(client);
      client.disconnect();
    }
    expect(seen).to.deep.equal(["/ alice", "/early alice", "/later alice", "/room-7 alice"]);
    await until(() => app.gate.connections.open === 0);
  });

  it("gives back the place of a socket that another middleware refuses", async () => {
    const app = await startSockets({ gate: { connections: { maxPerUser: 2 } } });
    app.io.use((_socket, pass) => pass(new Error("not today")));
    app.io.of("/open");
    for (let attempt = 0; attempt < 4; attempt += 1) {
      const client = app.open(await user());
      expect((await next<Error>(client, "connect_error")).message).to.equal("not today");
    }
    await until(() => app.gate.connections.open === 0);
  });

  it("refuses a user with too many connections, with a reason", async () => {
    const app = await startSockets({ gate: { connections: { maxPerUser: 2 } } });
    const auth = await user();
    const first = await app.join(auth);
    await app.join(auth);
    expect(await app.refusal(auth)).to.include({ code: "connection_limit", status: 429 });
    await app.join(await user({ sub: "bob" }));
    first.disconnect();
    await until(() => app.gate.connections.open === 2);
    await app.join(auth);
  });

  it("bounds the events of one socket that wait for Redis", async () => {
    const app = await startSockets({
      gate: { redis: testRedisUrl() },
      secure: { limits: [{ limit: { name: "slow", per: "user", limit: 10_000, window: "1m" } }] },
    });
    app.io.on("connection", (socket) => socket.on("x", () => undefined));
    const client = await app.join(await user(), { transports: ["websocket"] });
    let refused = 0;
    client.on("portcullis:refused", ({ error }: { error: { code: string } }) => {
      if (error.code === "concurrency_exceeded") refused += 1;
    });
    for (let index = 0; index < 2000; index += 1) client.emit("x", index);
    await until(() => refused > 0);
    expect(client.connected).to.equal(true);
  });

  it("cuts a client that reads none of the answers to its refused events", async () => {
    const app = await startSockets({
      secure: { limits: [{ limit: { name: "few", per: "user", limit: 1, window: "1m" } }] },
    });
    app.io.on("connection", (socket) => socket.on("x", () => undefined));
    const client = new WebSocket(`${app.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
    cleanUp(() => client.terminate());
    client.on("error", () => undefined);
    await once(client, "open");
    client.send(`40${JSON.stringify(await user())}`);
    await until(() => app.gate.connections.open === 1);
    client.pause();
    await until(() => {
      for (let index = 0; index < 1000; index += 1) client.send(index % 2 === 0 ? '42["x"]' : `42${index}["x"]`);
      return app.gate.connections.open === 0;
    });
    await until(() => app.io.engine.clientsCount === 0);
  });

  it("listens to a connection once, however many namespaces its client joins", async () => {
    const app = await startSockets();
    const first = await app.join(await user(), { transports: ["websocket"] });
    const [socket] = app.io.sockets.sockets.values();
    const before = socket?.conn.listenerCount("close");
    for (let index = 0; index < 12; index += 1) {
      app.io.of(`/room-${index}`);
      const other = first.io.socket(`/room-${index}`, { auth: await user() });
      await connected(other);
    }
    expect(app.gate.connections.open).to.equal(13);
    expect(socket?.conn.listenerCount("close")).to.equal(before);
    first.io.engine.close();
    await until(() => app.gate.connections.open === 0);
  });

  it("closes a connection that asks for very many namespaces at once", async () => {
    const app = await startSockets({ gate: { redis: testRedisUrl() } });
    app.io.of(/^\/room-\d+$/);
    const first = await app.join(await user());
    const auth = await user();
    for (let index = 0; index < 60; index += 1) first.io.socket(`/room-${index}`, { auth }).connect();
    await until(() => !first.connected);
    await until(() => app.gate.connections.open === 0);
  });

  it("drains: refuses new handshakes, and closes connections so that clients reconnect elsewhere", async () => {
    const app = await startSockets();
    const client = await app.join(await user());
    const reason = next(client, "portcullis:end");
    const end = next(client, "disconnect");
    await app.secured.drain(10);
    expect(await reason).to.deep.equal({ reason: "closed" });
    // Not "io server disconnect", after which clients stay away.
    expect(await end).to.be.oneOf(["transport close", "transport error"]);
    const answer = await fetch(`${app.url}/socket.io/?EIO=4&transport=polling`);
    expect(answer.status).to.equal(503);
    expect(answer.headers.get("retry-after")).to.match(/^\d+$/);
  });

  it("frees the port soon after close(), although a client reads nothing", async () => {
    const app = await startSockets();
    const client = new WebSocket(`${app.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
    cleanUp(() => client.terminate());
    client.on("error", () => undefined);
    await once(client, "open");
    client.send(`40${JSON.stringify(await user())}`);
    await until(() => app.gate.connections.open === 1);
    client.pause();
    await app.secured.close();
    // It waits for every connection.
    await app.io.close();
  });

  it("ends its sockets when the gate is closed", async () => {
    const app = await startSockets({ gate: { redis: testRedisUrl() } });
    const client = await app.join(await user());
    const reason = next(client, "portcullis:end");
    await app.gate.close();
    expect(await reason).to.deep.equal({ reason: "closed" });
    await until(() => !client.connected);
  });
});
