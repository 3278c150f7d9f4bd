import { once } from "node:events";
import { createServer } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";
import { portcullis } from "@portcullis/koa";
import { accessTokenHash, createDpopClient, signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import Koa from "koa";
import { adapters } from "../support/app.js";
import { cleanUpInTest } from "../support/clean-up.js";
import { describeOnEveryGate } from "../support/every-gate.js";
import { silentLogger } from "../support/logger.js";
import { exchangeRaw, statusOf } from "../support/raw.js";

const publicUrl = "https://api.test";

function get(lines: readonly string[]): string {
  return ["GET /me HTTP/1.1", "Host: api.test", "Connection: close", ...lines, "", ""].join("\r\n");
}

async function ask(url: string, lines: readonly string[]): Promise<string> {
  const answer = await exchangeRaw(url, get(lines));
  return `${statusOf(answer)} ${/"code":"(\w+)"/.exec(answer)?.[1] ?? ""}`.trim();
}

describeOnEveryGate("a header that identifies, on several lines", (start) => {
  let alice: string;
  let bob: string;
  before(async () => {
    [alice, bob] = await Promise.all([signToken({ sub: "alice" }), signToken({ sub: "bob" })]);
  });

  it("is refused if two lines of Authorization carry different tokens", async () => {
    const { url } = await start();
    const [first, second] = [`Authorization: Bearer ${alice}`, `authorization: Bearer ${bob}`];
    expect(await ask(url, [first])).to.equal("200");
    expect(await ask(url, [first, second])).to.equal("400 request_invalid");
    expect(await ask(url, [second, first])).to.equal("400 request_invalid");
    expect(await ask(url, [first, "X-A: b", first, second])).to.equal("400 request_invalid");
    expect(await ask(url, [first, "Authorization: Basic YTpi"])).to.equal("400 request_invalid");
    expect(await ask(url, ["Authorization: Basic YTpi", first])).to.equal("400 request_invalid");
    expect(await ask(url, [first, first])).to.equal("200");
    expect(await ask(url, [first, `AUTHORIZATION:   bearer ${alice}`])).to.equal("200");
  });

  it("is refused if two cookies, two proofs or two lines of a header of the application's differ", async () => {
    const { url } = await start({ auth: { ...testAuth, tokenFrom: { cookie: "t" } } });
    expect(await ask(url, [`Cookie: t=${alice}`, "Cookie: a=b"])).to.equal("200");
    expect(await ask(url, [`Cookie: t=${alice}`, `Cookie: t=${bob}`])).to.equal("400 request_invalid");
    const own = await start({ auth: { ...testAuth, tokenFrom: (raw) => raw.headers["x-token"]?.toString() } });
    expect(await ask(own.url, [`X-Token: ${alice}`])).to.equal("200");
    expect(await ask(own.url, [`X-Token: ${alice}`, `X-Token: ${bob}`])).to.equal("401 token_invalid");
    const first = await start({
      auth: { ...testAuth, tokenFrom: (raw) => raw.headers.authorization?.toString().slice("Bearer ".length) },
    });
    expect(await ask(first.url, [`Authorization: Bearer ${alice}`])).to.equal("200");
    const both = [`Authorization: Bearer ${alice}`, `Authorization: Bearer ${bob}`];
    expect(await ask(first.url, both)).to.equal("400 request_invalid");
    const client = await createDpopClient();
    const bound = await start({ publicUrl, auth: { ...testAuth, dpop: true } });
    const token = await signToken({ cnf: { jkt: client.thumbprint } });
    const prove = () => client.proof({ htm: "GET", htu: `${publicUrl}/me`, ath: accessTokenHash(token) });
    const presented = `Authorization: DPoP ${token}`;
    expect(await ask(bound.url, [presented, `DPoP: ${await prove()}`])).to.equal("200");
    const proofs = [`DPoP: ${await prove()}`, `DPoP: ${await prove()}`];
    expect(await ask(bound.url, [presented, ...proofs])).to.equal("401 dpop_proof_invalid");
    expect(await ask(bound.url, [presented, `Authorization: Bearer ${token}`, `DPoP: ${await prove()}`])).to.equal(
      "400 request_invalid",
    );
  });
});

for (const adapter of adapters) {
  describe(`clients of the revocation endpoint on ${adapter.name}`, () => {
    it("are not known by two lines of Authorization that differ", async () => {
      const { url } = await adapter.start({
        options: { redis: "memory", auth: testAuth, logger: silentLogger },
        use: (gate) => [gate.routes.revoke({ authenticateClient: (client) => client?.secret === "right" })],
        routes: {},
      });
      const revoke = async (lines: readonly string[]): Promise<number> => {
        const body = "token=a.b.c";
        const type = "Content-Type: application/x-www-form-urlencoded";
        const head = ["POST /revoke HTTP/1.1", "Host: a", "Connection: close", type, `Content-Length: ${body.length}`];
        return statusOf(await exchangeRaw(url, [...head, ...lines, "", body].join("\r\n")));
      };
      const basic = (secret: string) => `Authorization: Basic ${Buffer.from(`web:${secret}`).toString("base64")}`;
      expect(await revoke([basic("right")])).to.equal(200);
      expect(await revoke([basic("wrong")])).to.equal(401);
      expect(await revoke([basic("right"), basic("wrong")])).to.equal(400);
      expect(await revoke([basic("right"), basic("right")])).to.equal(200);
    });
  });
}

describe("two lines of Authorization with different tokens", () => {
  it("are refused by verify() of a message, also where Node joins them", async () => {
    const gate = portcullis({ redis: "memory", auth: testAuth, logger: silentLogger });
    cleanUpInTest(() => gate.close());
    for (const joinDuplicateHeaders of [false, true]) {
      const server = createServer({ joinDuplicateHeaders }, (req, res) => {
        void gate.verify(req).then((verdict) => res.writeHead(verdict.allowed ? 200 : verdict.status).end());
      }).listen(0, "127.0.0.1");
      cleanUpInTest(() => void server.close());
      await once(server, "listening");
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const [alice, bob] = await Promise.all([signToken(), signToken()]);
      expect(await ask(url, [`Authorization: Bearer ${alice}`])).to.equal("200");
      expect(await ask(url, [`Authorization: Bearer ${alice}`, `Authorization: Bearer ${alice}`])).to.equal("200");
      expect(await ask(url, [`Authorization: Bearer ${alice}`, `Authorization: Bearer ${bob}`])).to.equal("400");
    }
  });

  it("are refused over HTTP/2", async () => {
    const gate = portcullis({ redis: "memory", auth: testAuth, logger: silentLogger });
    cleanUpInTest(() => gate.close());
    const app = new Koa();
    app.use(gate.guard());
    app.use((ctx) => (ctx.body = ctx.auth?.subject));
    const handle = app.callback();
    const server = createHttp2Server((req, res) => void handle(req as never, res as never)).listen(0, "127.0.0.1");
    cleanUpInTest(() => void server.close());
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const [alice, bob] = await Promise.all([signToken(), signToken()]);

    async function statusFor(tokens: readonly string[]): Promise<number> {
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => undefined);
      socket.write(http2Request(tokens.map((token) => ["authorization", `Bearer ${token}`])));
      const [, res] = (await once(server, "request")) as [unknown, NodeJS.EventEmitter & { statusCode: number }];
      await once(res, "finish");
      socket.destroy();
      return res.statusCode;
    }

    expect(await statusFor([alice])).to.equal(200);
    expect(await statusFor([alice, alice])).to.equal(200);
    expect(await statusFor([alice, bob])).to.equal(400);
    expect(await statusFor([bob, alice])).to.equal(400);
  });
});

/** A connection's first bytes (RFC 9113 3.4) with one GET, whose header fields are literals without Huffman (RFC 7541 6.2.2). */
function http2Request(fields: readonly (readonly [string, string])[]): Buffer {
  const all = [[":method", "GET"], [":path", "/"], [":scheme", "http"], [":authority", "a"], ...fields] as const;
  const block = Buffer.concat(all.flatMap(([name = "", value = ""]) => [Buffer.of(0), literal(name), literal(value)]));
  const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  return Buffer.concat([preface, frame(4, 0, 0, Buffer.alloc(0)), frame(1, 0x5, 1, block)]);
}

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A string with its length as an integer of a prefix of 7 bits (RFC 7541 5.1). */
function literal(text: string): Buffer {
  const length: number[] = [];
  if (text.length < 127) length.push(text.length);
  else {
    length.push(127);
    let rest = text.length - 127;
    for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), Buffer.from(text)]);
}
