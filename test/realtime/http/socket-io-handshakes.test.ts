import { once } from "node:events";
import { nowSeconds, signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { connect as connectTcp } from "node:net";
import { allAdapters } from "../../support/app.js";
import { testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";
import { next, startSockets, user } from "../support/sockets.js";
import type { ClientOptions, SocketApp } from "../support/sockets.js";

const origin = "https://shop.example.com";
const cookies = { ...testAuth, tokenFrom: [{ cookie: "access", origins: [origin] }, "header"] } as const;

/** Both transports, each alone. */
const transports: readonly ClientOptions[] = [{ transports: ["websocket"] }, { transports: ["polling"] }];

for (const [index, adapter] of allAdapters.entries()) {
  const redis = index % 2 === 0 ? "memory" : undefined;

  describe(`a handshake of Socket.IO on ${adapter.name} ${redis === undefined ? "on Redis" : "in process"}`, () => {
    async function start(auth: object = testAuth): Promise<SocketApp> {
      return startSockets({ adapter, gate: { redis: redis ?? testRedisUrl(), auth: auth as never } });
    }

    it("is accepted with a token in auth, in Authorization, or in a cookie from an allowed origin, by both transports", async () => {
      const app = await start(cookies);
      const subjects: unknown[] = [];
      app.io.on("connection", ({ data }) => subjects.push(data.auth.subject));
      const token = await signToken();
      for (const transport of transports) {
        await app.join({ token }, transport);
        await app.join({}, { ...transport, extraHeaders: { authorization: `Bearer ${token}` } });
        await app.join({}, { ...transport, extraHeaders: { cookie: `access=${token}`, origin } });
      }
      expect(subjects).to.deep.equal(Array.from({ length: 6 }, () => "alice"));
    });

    it("is refused with the problem in err.data, and nothing crashes, for hostile values", async () => {
      const app = await start(cookies);
      const valid = await signToken();
      const late = await signToken({ exp: nowSeconds() - 60 });
      const revoked = await signToken({ jti: "revoked" });
      await app.gate.revocations.revoke({ jti: "revoked", expiresAt: nowSeconds() + 300 });
      const hostile: [object, ClientOptions, string, number][] = [
        [{}, {}, "credentials_required", 401],
        [{ token: "" }, {}, "credentials_required", 401],
        [{ token: null }, {}, "credentials_required", 401],
        [{ token: {} }, {}, "token_invalid", 401],
        [{ token: [valid] }, {}, "token_invalid", 401],
        [{ token: 7 }, {}, "token_invalid", 401],
        [{ token: true }, {}, "token_invalid", 401],
        [{ token: "a\u0000b\r\nx: y" }, {}, "token_invalid", 401],
        [{ token: `${valid}\u0000` }, {}, "token_invalid", 401],
        [{ token: `${valid}, Bearer ${late}` }, {}, "token_invalid", 401],
        [{ token: "x".repeat(900_000) }, {}, "token_too_large", 401],
        [{ token: late }, {}, "token_invalid", 401],
        [{ token: revoked }, {}, "token_invalid", 401],
        [{ token: "none" }, { extraHeaders: { authorization: `Bearer ${valid}` } }, "token_invalid", 401],
        [{}, { extraHeaders: { cookie: `access=${valid}`, origin: "https://evil.example" } }, "origin_refused", 403],
        [{}, { extraHeaders: { cookie: `access=${valid}` } }, "origin_refused", 403],
        [JSON.parse('{"__proto__":{"token":"x"}}') as object, {}, "credentials_required", 401],
      ];
      for (const [index, [auth, options, code, status]] of hostile.entries()) {
        const refusal = await app.refusal(auth, { ...transports[index % 2], ...options });
        expect([index, refusal.code, refusal.status]).to.deep.equal([index, code, status]);
        expect(refusal.detail).to.be.a("string");
        expect(JSON.stringify(refusal)).not.to.contain(valid.slice(0, 20));
      }
      expect(app.io.sockets.sockets.size).to.equal(0);
      await until(() => app.gate.connections.open === 0);
      await app.join({ token: valid });
    });
  });
}

describe("Socket.IO before a socket exists", () => {
  it("refuses an address that connects too often, over HTTP, with the status and the reason", async () => {
    const app = await startSockets({ secure: { handshakes: { name: "hands", per: "ip", limit: 2, window: "1m" } } });
    const auth = await user();
    const clients = [await app.join(auth, transports[0]), await app.join(auth, transports[1])];
    const error = await new Promise<{ description: unknown }>((resolve) => {
      app.open(auth, transports[1]).once("connect_error", (one) => resolve(one as never));
    });
    expect(error.description).to.equal(429);
    const polled = await fetch(`${app.url}/socket.io/?EIO=4&transport=polling`);
    expect(polled.status).to.equal(429);
    expect(polled.headers.get("retry-after")).to.match(/^\d+$/);
    expect(await polled.json()).to.include({ code: "quota_exceeded", status: 429 });
    const answer = await rawUpgrade(app.url);
    expect(answer).to.match(/^HTTP\/1\.1 429 /);
    expect(answer).to.match(/\r\nRetry-After: \d+\r\n/i);
    expect(answer).to.contain('"code":"quota_exceeded"');
    // Requests of a connection are not counted.
    for (const client of clients) expect(client.connected).to.equal(true);
    for (let turn = 0; turn < 5; turn += 1) app.io.emit("turn", turn);
    await new Promise((resolve) => clients[1]!.on("turn", (turn) => turn === 4 && resolve(undefined)));
  });

  it("makes no session for a client that resets its connection, whose address nobody can count", async () => {
    const app = await startSockets();
    for (let turn = 0; turn < 20; turn += 1) {
      const socket = connectTcp(Number(new URL(app.url).port), "127.0.0.1");
      socket.on("error", () => undefined);
      await once(socket, "connect");
      socket.write("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n", () =>
        socket.resetAndDestroy(),
      );
      await once(socket, "close");
    }
    await app.join(await user(), transports[1]);
    expect(app.io.engine.clientsCount).to.equal(1);
  });

  for (const thrown of [undefined, null, false, 0, ""])
    it(`makes no session where the function of the address throws ${JSON.stringify(thrown)}`, async () => {
      const app = await startSockets({
        secure: {
          address: () => {
            throw thrown;
          },
        },
      });
      const polled = await fetch(`${app.url}/socket.io/?EIO=4&transport=polling`);
      expect(polled.status).to.be.at.least(400);
      expect(app.io.engine.clientsCount).to.equal(0);
      expect(await rawUpgrade(app.url)).not.to.match(/^HTTP\/1\.1 101 /);
      expect(app.io.engine.clientsCount).to.equal(0);
    });

  it("counts by the address that the application finds", async () => {
    const app = await startSockets({
      secure: {
        handshakes: { name: "hands", per: "ip", limit: 1, window: "1m" },
        address: ({ headers }) => String(headers["x-forwarded-for"]),
      },
    });
    const auth = await user();
    await app.join(auth, { ...transports[1], extraHeaders: { "x-forwarded-for": "192.0.2.1" } });
    await app.join(auth, { ...transports[1], extraHeaders: { "x-forwarded-for": "192.0.2.2" } });
    const client = app.open(auth, { ...transports[1], extraHeaders: { "x-forwarded-for": "192.0.2.1" } });
    const error = await new Promise<{ description: unknown }>((resolve) => {
      client.once("connect_error", (one) => resolve(one as never));
    });
    expect(error.description).to.equal(429);
  });

  it("counts a handshake by the limits of the gate, and says so in err.data", async () => {
    const app = await startSockets({ gate: { limits: [{ name: "user", per: "user", limit: 1, window: "1m" }] } });
    await app.join(await user());
    const refusal = await app.refusal(await user());
    expect(refusal).to.include({ code: "quota_exceeded", status: 429 });
    expect(refusal.retryAfter).to.be.within(1, 60);
    await app.join(await user({ sub: "bob" }));
  });

  it("closes a connection whose handshakes are refused again and again", async () => {
    const app = await startSockets();
    app.io.of("/other");
    const first = await app.join(await user(), transports[0]);
    const client = first.io.socket("/other", { auth: { token: "none" } });
    let refusals = 0;
    client.on("connect_error", () => {
      refusals += 1;
      client.connect();
    });
    client.connect();
    await next(first, "disconnect");
    client.disconnect();
    expect(refusals).to.be.within(5, 6);
  });
});

/** Sends a WebSocket handshake by hand, and resolves to the answer. */
async function rawUpgrade(url: string): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connectTcp(Number(port), hostname);
  const lines = ["GET /socket.io/?EIO=4&transport=websocket HTTP/1.1", `Host: ${hostname}`, "Upgrade: websocket"];
  lines.push("Connection: Upgrade", "Sec-WebSocket-Version: 13", `Sec-WebSocket-Key: ${"A".repeat(22)}==`);
  socket.write(`${lines.join("\r\n")}\r\n\r\n`);
  let text = "";
  for await (const chunk of socket) text += String(chunk);
  return text;
}
