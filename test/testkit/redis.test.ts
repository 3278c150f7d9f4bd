import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { findFreePort, findRedisServer, startRedis } from "@portcullis/testkit";
import type { RedisServer, RedisServerOptions } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { inspectServer } from "../../packages/testkit/src/redis/candidate.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { rejectionOf } from "../support/rejection.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

describe("a Redis server for tests", () => {
  const cleanups: (() => unknown)[] = [];

  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  async function start(options?: RedisServerOptions): Promise<RedisServer> {
    const server = await startRedis(options);
    cleanups.push(server.stop);
    return server;
  }

  function open(target: string): Redis {
    const client = new Redis(target, { retryStrategy: () => 20, maxRetriesPerRequest: null });
    client.on("error", () => undefined);
    cleanups.push(() => client.disconnect());
    return client;
  }

  it("answers on loopback as soon as it has started", async () => {
    const server = await start();
    expect(server.url).to.equal(`redis://127.0.0.1:${server.port}`);
    expect(await open(server.url).ping()).to.equal("PONG");
  });

  it("persists nothing by default", async () => {
    const server = await start();
    const settings = await open(server.url).config("GET", "save", "appendonly");
    expect(JSON.stringify(settings)).to.include('"appendonly"').and.to.include('"no"').and.not.to.include("3600");
  });

  it("takes lines of redis.conf, several words to a line too", async () => {
    const config = { maxmemory: "3mb", "client-output-buffer-limit": "pubsub 4mb 1mb 7", requirepass: "secret" };
    const server = await start({ config });
    const settings = JSON.stringify(
      await open(server.url.replace("//", "//:secret@")).config("GET", "maxmemory", "client-output-buffer-limit"),
    );
    expect(settings).to.include("3145728").and.to.include("pubsub 4194304 1048576 7");
  });

  it("listens on a unix socket if asked to", async () => {
    const server = await start({ unixSocket: true });
    expect(await open(server.unixSocket!).ping()).to.equal("PONG");
    expect((await start()).unixSocket).to.equal(undefined);
  });

  it("starts several at once, each on its own port", async () => {
    const servers = await Promise.all(Array.from({ length: 6 }, () => start()));
    expect(new Set(servers.map((server) => server.port)).size).to.equal(6);
  });

  it("answers nothing while paused and everything after resuming", async () => {
    const server = await start();
    const client = open(server.url);
    await client.ping();
    server.pause();
    let answered = false;
    const late = client.ping().then((reply) => {
      answered = true;
      return reply;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(answered).to.equal(false);
    server.resume();
    expect(await late).to.equal("PONG");
  });

  it("refuses connections once killed, and restarts empty on the same port as another process", async () => {
    const server = await start();
    const client = open(server.url);
    const { pid, port } = server;
    await client.set("key", "value");
    await server.kill();
    expect(await isListening(port)).to.equal(false);
    await server.restart();
    expect(server.port).to.equal(port);
    expect(server.pid).not.to.equal(pid);
    expect(await client.get("key")).to.equal(null);
  });

  it("restarts from its persisted data, running or paused", async () => {
    const server = await start({ config: { appendonly: "yes" } });
    const client = open(server.url);
    await client.set("key", "value");
    await server.restart();
    expect(await client.get("key")).to.equal("value");
    server.pause();
    await server.restart();
    expect(await client.get("key")).to.equal("value");
  });

  it("leaves no process and no directory when stopped, paused or not, once or twice", async () => {
    for (const paused of [true, false]) {
      const server = await start({ unixSocket: true });
      const { pid } = server;
      if (paused) server.pause();
      await server.stop();
      await server.stop();
      expect(() => process.kill(pid, 0)).to.throw("ESRCH");
      expect(existsSync(server.unixSocket!)).to.equal(false);
    }
  });

  it("reports why a server did not start", async () => {
    expect(String(await rejectionOf(startRedis({ config: { maxmemory: "plenty" } })))).to.include("maxmemory plenty");
    const { port } = await start();
    expect(String(await rejectionOf(startRedis({ port })))).to.match(/in use/i);
  });

  describe("and the process that started it", () => {
    const program = `
      import { startRedis } from "./packages/testkit/src/redis/index.ts";
      const server = await startRedis({ unixSocket: true });
      console.log(server.port + " " + server.unixSocket);
      if (process.env.LINGER) setInterval(() => {}, 1000);
    `;
    const words = ["--import", "tsx", "--input-type=module", "--eval", program];

    it("lets it end, and ends with it", async () => {
      const { stdout } = await promisify(execFile)(process.execPath, words, { cwd: ROOT });
      const [port, unixSocket] = stdout.trim().split(" ");
      expect(await isListening(Number(port))).to.equal(false);
      expect(existsSync(dirname(unixSocket!))).to.equal(false);
    });

    // Elsewhere no kernel feature ties a process to its parent.
    if (process.platform === "linux") {
      it("ends even if it is killed outright", async () => {
        const parent = spawn(process.execPath, words, { cwd: ROOT, env: { ...process.env, LINGER: "1" } });
        const [line] = (await once(parent.stdout, "data")) as [Buffer];
        const [port, unixSocket] = line.toString().trim().split(" ");
        cleanups.push(() => rm(dirname(unixSocket!), { recursive: true }));
        expect(await isListening(Number(port))).to.equal(true);
        parent.kill("SIGKILL");
        await once(parent, "exit");
        for (let tries = 0; tries < 200 && (await isListening(Number(port))); tries++) {
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        expect(await isListening(Number(port))).to.equal(false);
      });
    }
  });
});

describe("the search for a redis-server", () => {
  it("finds one that runs", async () => {
    const { server, env } = await findRedisServer();
    expect((await promisify(execFile)(server, ["--version"], { env })).stdout).to.match(/v=\d/);
  });

  it("accepts Redis and Valkey from 7.0 on, and reports why it refuses others", async () => {
    const directory = await mkdtemp(join(tmpdir(), "portcullis-test-"));
    async function inspect(output: string): Promise<string> {
      const server = join(directory, "server");
      await writeFile(server, `#!/bin/sh\necho '${output}'\n`, { mode: 0o755 });
      return await inspectServer(server).then(
        () => "accepted",
        (error: unknown) => (error as Error).message,
      );
    }
    try {
      expect(await inspect("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64")).to.equal("accepted");
      expect(await inspect("Valkey server v=8.1.1 sha=00000000:0")).to.equal("accepted");
      expect(await inspect("Redis server v=10.0.0 sha=00000000:0")).to.equal("accepted");
      expect(await inspect("Redis server v=6.2.14 sha=00000000:0")).to.include("6.2.14, older than 7.0");
      expect(await inspect("hello")).to.include("is no Redis");
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it("finds free ports below the ephemeral range, with a valid bus port", async () => {
    const port = await findFreePort({ bus: true });
    expect(port + 10_000).to.be.lessThan(32_768);
  });
});

describe("the Redis that the whole run shares", () => {
  it("can be written to under a prefix of each test's own", async () => {
    const client = new Redis(testRedisUrl());
    const [one, two] = [freshPrefix(), freshPrefix()];
    await client.set(`${one}key`, "1", "EX", 10);
    expect(await client.get(`${two}key`)).to.equal(null);
    expect(await client.del(`${one}key`)).to.equal(1);
    client.disconnect();
  });
});

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}
