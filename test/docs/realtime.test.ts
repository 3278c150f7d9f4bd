import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { join } from "node:path";
import { findFreePort, nowSeconds, signToken, startRedis, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { WebSocket } from "ws";
import { cleanUp } from "../support/clean-up.js";
import { operate } from "../support/redis.js";
import { until } from "../support/until.js";
import { root, snippetsOf } from "./documents.js";

const claims = { iss: "https://id.example.com", aud: "orders-api" };
const origin = "https://app.example.com";

interface Closed {
  readonly code: number;
  readonly reason: string;
}

interface Client {
  readonly socket: WebSocket;
  readonly closed: Promise<Closed>;
  /** Sends a message, and resolves to the next one that comes. */
  ask(message: unknown): Promise<unknown>;
}

describe("the recipe for ws in docs/realtime.md", function () {
  this.timeout(60_000);

  let url: string;
  let redisUrl: string;
  let stop: () => Promise<void>;

  before(async () => {
    const redis = await startRedis();
    redisUrl = redis.url;
    const directory = await mkdtemp(join(root, "test", ".tmp-ws-"));
    const [, recipe] = snippetsOf("docs/realtime.md").filter(({ code }) => code.includes("gate.connections.watch"));
    if (recipe === undefined) throw new Error("there is no recipe");
    const [file, port] = [join(directory, "ws.ts"), await findFreePort()];
    await writeFile(file, recipe.code);
    const child = spawn(process.execPath, ["--import", "tsx", "--conditions=@portcullis/source", file], {
      cwd: root,
      env: { ...process.env, NODE_ENV: undefined, REDIS_URL: redis.url, PORT: `${port}`, JWT_SECRET: testSecret },
      stdio: ["ignore", "inherit", "inherit"],
    });
    stop = async () => {
      child.kill("SIGKILL");
      await once(child, "exit");
      await rm(directory, { recursive: true, force: true });
      await redis.stop();
    };
    url = `ws://127.0.0.1:${port}/`;
    await until(async () => (await refusalOf({}).catch(() => undefined)) !== undefined);
  });

  after(() => stop());

  it("accepts a token of the header and of a cookie from the page's origin, and refuses every other handshake", async () => {
    const token = await signToken({ ...claims, sub: "alice" });
    const cookie = `__Host-token=${token}`;
    for (const headers of [{ authorization: `Bearer ${token}` }, { cookie, origin }]) {
      const client = await connect(headers);
      expect(await client.ask({ type: "hello" })).to.deep.equal({ type: "echo", user: "alice" });
      client.socket.close();
    }
    const expired = await signToken({ ...claims, exp: nowSeconds() - 60 });
    expect(await refusalOf({})).to.deep.equal([401, "credentials_required"]);
    expect(await refusalOf({ authorization: `Bearer ${expired}` })).to.deep.equal([401, "token_invalid"]);
    expect(await refusalOf({ cookie, origin: "https://evil.example" })).to.deep.equal([403, "origin_refused"]);
    expect(await refusalOf({ cookie })).to.deep.equal([403, "origin_refused"]);
  });

  it("holds no socket of a refused client that does not close its side", async () => {
    const { port, hostname } = new URL(url);
    const socket = createConnection({ port: Number(port), host: hostname, allowHalfOpen: true });
    cleanUp(() => socket.destroy());
    const reset = new Promise((resolve) => socket.once("error", resolve));
    socket.write(`GET / HTTP/1.1\r\nHost: ${hostname}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`);
    socket.resume();
    await once(socket, "end");
    // The system answers with a reset once no process has the socket.
    const sending = setInterval(() => socket.write("x"), 20);
    cleanUp(() => clearInterval(sending));
    expect(await reset)
      .to.have.property("code")
      .that.is.oneOf(["ECONNRESET", "EPIPE"]);
    expect(socket.bytesRead).to.be.above(0);
  });

  it("closes with 4401 and the reason when the token was revoked or expires, also if the client does not answer", async () => {
    const [revoked, expired, cut] = [
      await connectAs({ sub: "bob", jti: "b" }),
      await connectAs({ sub: "carol", exp: nowSeconds() + 2 }),
      await connectAs({ sub: "dora" }),
    ];
    // Another service, in another language.
    const service = operate(redisUrl);
    await service.set("auth:revoked:b", "1");
    await service.set("auth:cutoff:dora", String(nowSeconds()));
    expect(await revoked.closed).to.deep.equal({ code: 4401, reason: "revoked" });
    expect(await cut.closed).to.deep.equal({ code: 4401, reason: "session_ended" });
    expect(await expired.closed).to.deep.equal({ code: 4401, reason: "expired" });
  });

  it("goes on with a new token of the user, and closes for one of another user or a bad one", async () => {
    const client = await connectAs({ sub: "eve", jti: "e1" });
    const token = await signToken({ ...claims, sub: "eve", jti: "e2" });
    expect(await client.ask({ type: "renew", token })).to.have.property("type", "renewed");
    await operate(redisUrl).set("auth:revoked:e1", "1");
    expect(await client.ask({ type: "hello" })).to.deep.equal({ type: "echo", user: "eve" });
    client.socket.send(JSON.stringify({ type: "renew", token: await signToken({ ...claims, sub: "mallory" }) }));
    expect(await client.closed).to.deep.equal({ code: 4401, reason: "token_invalid" });
    for (const [wrong, code, reason] of [
      [{ type: "renew", token: {} }, 4401, "credentials_required"],
      [{ type: "renew", token: "x" }, 4401, "token_invalid"],
      [null, 1008, "message_invalid"],
    ] as const) {
      const other = await connectAs({ sub: "eve" });
      other.socket.send(JSON.stringify(wrong));
      expect(await other.closed).to.deep.equal({ code, reason });
    }
  });

  it("closes with 1008 for too many messages and for too many connections of a user", async () => {
    const client = await connectAs({ sub: "frank" });
    for (let count = 0; count < 21; count += 1) client.socket.send("{}");
    expect(await client.closed).to.deep.equal({ code: 1008, reason: "quota_exceeded" });
    const many = await Promise.all(Array.from({ length: 20 }, () => connectAs({ sub: "grace" })));
    const next = await connectAs({ sub: "grace" });
    expect(await next.closed).to.deep.equal({ code: 1008, reason: "connection_limit" });
    for (const { socket } of many) socket.terminate();
  });

  async function connectAs(own: Record<string, unknown>): Promise<Client> {
    return connect({ authorization: `Bearer ${await signToken({ ...claims, ...own })}` });
  }

  async function connect(headers: Record<string, string>): Promise<Client> {
    const socket = new WebSocket(url, { headers });
    cleanUp(() => socket.terminate());
    const closed = new Promise<Closed>((resolve) => {
      socket.once("close", (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    await once(socket, "open");
    return {
      socket,
      closed,
      async ask(message) {
        const answer = once(socket, "message") as Promise<[Buffer]>;
        socket.send(JSON.stringify(message));
        return JSON.parse((await answer)[0].toString()) as unknown;
      },
    };
  }

  /** Status and code of the refusal of a handshake. */
  async function refusalOf(headers: Record<string, string>): Promise<[status: number, code: string]> {
    const socket = new WebSocket(url, { headers });
    return new Promise((resolve, reject) => {
      socket.once("error", reject);
      socket.once("open", () => reject(new Error("accepted")));
      socket.once("unexpected-response", (_request, response) => {
        let body = "";
        response.on("data", (chunk: Buffer) => (body += chunk.toString()));
        response.once("end", () => resolve([response.statusCode ?? 0, (JSON.parse(body) as { code: string }).code]));
      });
    });
  }
});
