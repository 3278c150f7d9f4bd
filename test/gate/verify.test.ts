import { IncomingMessage, createServer, request } from "node:http";
import { Socket } from "node:net";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import type { Verification } from "@portcullis/core";
import { portcullis } from "@portcullis/express";
import type { ExpressGate } from "@portcullis/express";
import { expect } from "chai";
import { accessTokenHash, createDpopClient, signToken, testAuth } from "@portcullis/testkit";
import { send } from "../support/http.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { rejectionOf } from "../support/rejection.js";

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

    it("refuses a value that is neither a token nor a request, whatever it is: there are no credentials", async () => {
      for (const [what, value] of odd) {
        const verdict = await gate.verify(value as string);
        expect(verdict.allowed, what).to.equal(false);
        if (!verdict.allowed) expect([verdict.status, verdict.problem.code], what).to.deep.equal(noCredentials);
      }
    });

    it("decides about incomplete requests, such as those of mocks and socket libraries", async () => {
      const authorization = `Bearer ${await signToken()}`;
      const whole = new IncomingMessage(new Socket());
      const parts: Record<string, unknown> = {
        "headers alone": { headers: { authorization } },
        "a method and a socket of odd kinds": { headers: { authorization }, method: 5, url: null, socket: "none" },
        "a socket without events": { headers: { authorization }, socket: { remoteAddress: "192.0.2.1" } },
        "a message": Object.assign(whole, { headers: { authorization } }),
        "a message without a socket": Object.assign(Object.create(whole) as object, { socket: undefined }),
      };
      for (const [what, request] of Object.entries(parts)) {
        const verdict = await gate.verify(request as IncomingMessage);
        expect(verdict.allowed && verdict.auth.subject, what).to.equal("alice");
      }
      const cookie = `session=${await signToken()}`;
      const foreign = await gate.verify({ headers: { cookie }, method: "POST" } as IncomingMessage);
      expect(!foreign.allowed && foreign.problem.code).to.equal("origin_refused");
    });

    it("names the correct argument if it gets a promise or a web request, which only the application can have made", async () => {
      for (const mistake of [Promise.resolve("x"), new Request("http://localhost"), new Headers()]) {
        const error: unknown = await rejectionOf(gate.verify(mistake as never));
        expect(error)
          .to.be.instanceOf(TypeError)
          .with.property("message")
          .that.matches(/^portcullis: verify\(\) /);
      }
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

const noCredentials = [401, "credentials_required"];

/** Values that a client can send in the place of a token, and worse ones. */
const odd: readonly (readonly [what: string, value: unknown])[] = [
  ["undefined", undefined],
  ["null", null],
  ["an empty text", ""],
  ["an object", {}],
  ["a list", []],
  ["a list of text", ["a.b.c"]],
  ["a number", 5],
  ["NaN", Number.NaN],
  ["a big integer", 5n],
  ["a truth value", true],
  ["a symbol", Symbol("token")],
  ["a function", () => "a.b.c"],
  ["a Buffer", Buffer.from("a.b.c")],
  ["a message without headers", Object.assign(new IncomingMessage(new Socket()), { headers: undefined })],
  ["headers of text", { headers: "authorization" }],
  ["headers of odd kinds", { headers: { authorization: 5, cookie: {}, "x-token": [5], dpop: null } }],
  ["headers by another way", { headers: JSON.parse('{"__proto__":{"authorization":"Bearer a.b.c"}}') as unknown }],
  ["a text object", Object("a.b.c")],
  ["an object without a prototype", Object.create(null)],
  [
    "an object with getters that throw",
    Object.defineProperty({}, "headers", {
      get() {
        throw new Error("no headers");
      },
    }),
  ],
  [
    "headers with getters that throw",
    {
      headers: {
        get authorization() {
          throw new Error("no field");
        },
      },
    },
  ],
  [
    "a Proxy that throws",
    new Proxy(
      {},
      {
        get() {
          throw new Error("no property");
        },
      },
    ),
  ],
];

it("verify() refuses a request that a function in auth.tokenFrom cannot read, and reports it once", async () => {
  const warnings: unknown[] = [];
  const logger = { debug: () => undefined, warn: (_fields: object, message: string) => void warnings.push(message) };
  const gate = portcullis({
    ...{ redis: "memory", logger },
    auth: { ...testAuth, tokenFrom: (req) => (req.query as { token: string }).token },
  });
  for (let count = 0; count < 2; count += 1) {
    const verdict = await gate.verify({ headers: {} } as IncomingMessage);
    expect(!verdict.allowed && verdict.problem.code).to.equal("credentials_required");
  }
  expect(warnings)
    .to.have.length(1)
    .and.to.match(/auth\.tokenFrom failed for a value that was passed to verify/);
  const bug: unknown = await rejectionOf(gate.verify(new IncomingMessage(new Socket())));
  expect(bug).to.be.instanceOf(TypeError);
  await gate.close();
});

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

it("verify() names the missing option without auth", async () => {
  const gate = portcullis({ redis: "memory" });
  const error: unknown = await rejectionOf(gate.verify("x"));
  expect(error).to.be.instanceOf(TypeError);
  await gate.close();
});
