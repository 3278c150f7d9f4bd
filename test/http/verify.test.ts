import { createServer, request } from "node:http";
import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import type { Verification } from "@portcullis/core";
import { portcullis } from "@portcullis/express";
import type { ExpressGate } from "@portcullis/express";
import { expect } from "chai";
import { accessTokenHash, createDpopClient, signToken, testAuth } from "@portcullis/testkit";
import { send } from "../support/http.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";

for (const [name, redis] of [
  ["in process", () => "memory"],
  ["on Redis", testRedisUrl],
] as const) {
  describe(`verify() outside middleware, ${name}`, () => {
    let gate: ExpressGate;
    beforeEach(() => {
      gate = portcullis({
        redis: redis(),
        prefix: freshPrefix(),
        deadline: 1000,
        auth: { ...testAuth, tokenFrom: ["header", { cookie: "session" }] },
      });
    });
    afterEach(() => gate.close());

    it("decides about a token as the guard does", async () => {
      const token = await signToken({ sub: "alice" });
      const good = await gate.verify(token);
      expect(good.allowed && good.auth.subject).to.equal("alice");
      for (const bad of ["", "nonsense", `${token}x`, await signToken({ exp: 1 }), `${token} ${token}`]) {
        const verdict = await gate.verify(bad);
        expect(verdict.allowed).to.equal(false);
        if (!verdict.allowed) expect(verdict.status).to.equal(401);
      }
      if (good.allowed) await gate.revocations.revoke(good.auth);
      expect((await gate.verify(token)).allowed).to.equal(false);
    });

    it("decides about the request of a socket, from whatever source the gate reads", async () => {
      const verdicts: Verification[] = [];
      const answer = async (message: IncomingMessage) => void verdicts.push(await gate.verify(message));
      const server = createServer((req, res) => void answer(req).finally(() => res.end()));
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const token = await signToken();
      await send(url, { token });
      await send(url, { headers: { cookie: `session=${token}` } });
      await send(url);
      await send(url, { token, headers: { cookie: `session=${token}` } });
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      expect(verdicts.map((verdict) => (verdict.allowed ? verdict.auth.subject : verdict.status))).to.deep.equal([
        "alice",
        "alice",
        401,
        400,
      ]);
    });

    it("decides about the handshake of a WebSocket: its token, its origin, its proof", async () => {
      const client = await createDpopClient();
      const own = portcullis({
        redis: redis(),
        prefix: freshPrefix(),
        deadline: 1000,
        publicUrl: "https://api.example.com",
        auth: { ...testAuth, dpop: true, tokenFrom: ["header", { cookie: "session" }] },
      });
      const server = createServer();
      server.on("upgrade", (message: IncomingMessage, socket: Duplex) => {
        void own.verify(message).then((verdict) => {
          const status = verdict.allowed ? "101 Switching Protocols" : `${verdict.status} Refused`;
          socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`);
        });
      });
      try {
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        const { port } = server.address() as AddressInfo;
        const token = await signToken();
        const bound = await signToken({ cnf: { jkt: client.thumbprint } });
        const proof = await client.proof({
          htm: "GET",
          htu: "https://api.example.com/socket",
          ath: accessTokenHash(bound),
        });
        const handshakes: [Record<string, string>, number][] = [
          [{ authorization: `Bearer ${token}` }, 101],
          [{}, 401],
          [{ authorization: `Bearer ${token}x` }, 401],
          [{ cookie: `session=${token}` }, 403],
          [{ cookie: `session=${token}`, origin: "https://evil.example" }, 403],
          [{ cookie: `session=${token}`, origin: "https://api.example.com" }, 101],
          [{ cookie: `session=${token}`, "sec-fetch-site": "same-origin" }, 101],
          [{ authorization: `Bearer ${bound}` }, 401],
          [{ authorization: `DPoP ${bound}`, dpop: proof }, 101],
          [{ authorization: `DPoP ${bound}`, dpop: proof }, 401],
        ];
        for (const [headers, status] of handshakes)
          expect(await handshake(port, headers), JSON.stringify(headers).slice(0, 80)).to.equal(status);
      } finally {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
        await own.close();
      }
    });
  });
}

/** The status of the answer to a WebSocket handshake. */
function handshake(port: number, headers: Record<string, string>): Promise<number> {
  return new Promise((resolve, reject) => {
    const upgrade = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13" };
    const outgoing = request({ port, path: "/socket", headers: { ...upgrade, ...headers } });
    outgoing.on("upgrade", ({ statusCode = 0 }, socket) => {
      socket.destroy();
      resolve(statusCode);
    });
    outgoing.on("response", (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    outgoing.on("error", reject).end();
  });
}

it("verify() says what is missing without auth", async () => {
  const gate = portcullis({ redis: "memory" });
  const error: unknown = await gate.verify("x").catch((reason: unknown) => reason);
  expect(error).to.be.instanceOf(TypeError);
  await gate.close();
});
