// Suite "responses": what a million anonymous requests in all, each for another URL, leave in the Redis that also holds revocations.
import { Agent, createServer, request } from "node:http";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fixed, grouped, table } from "./lib/format.mjs";

const ttlMs = 2000;
/** A purge of a path that has no response is remembered for so long, and Redis may take a moment to find what has expired. */
const purgeMs = 60_000;
const graceMs = 5000;
const clients = 32;
const bodyBytes = 500;
const maxMemory = 256 * 2 ** 20;
const longestPhaseMs = 8 * 60_000;

/** @returns {Promise<string>} Markdown. */
export async function runResponses({ quick, note }) {
  const count = quick ? 20_000 : 250_000;
  const { tsImport } = await import("tsx/esm/api");
  const { Redis } = await import("ioredis");
  const { default: express } = await import("express");
  const { portcullis } = await import("../packages/express/dist/index.js");
  const testkit = await tsImport("../packages/testkit/src/redis/index.ts", import.meta.url);
  const config = { maxmemory: `${maxMemory}`, "maxmemory-policy": "noeviction" };
  const server = await testkit.startRedis({ config });
  const admin = new Redis(server.url);
  const gate = portcullis({
    ...{ redis: server.url, keySecret: "bench", service: "bench", deadline: "5s" },
    auth: { secret: "bench".repeat(8), algorithms: ["HS256"], audience: "bench" },
    logger: { debug: () => undefined, warn: () => undefined },
  });
  const app = express();
  app.use(gate.cacheResponse({ ttl: `${ttlMs}ms` }));
  app.get(/.*/, (req, res) => res.vary("Accept-Language").send(req.url.padEnd(bodyBytes, "x")));
  app.post(/.*/, (_req, res) => res.sendStatus(204));
  const web = createServer(app).listen(0, "127.0.0.1");
  await once(web, "listening");
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const { port } = web.address();

  async function send(method, path, body) {
    const asked = request({ port, host: "127.0.0.1", method, path, agent });
    asked.end(body);
    const [answer] = await once(asked, "response");
    answer.resume();
    await once(answer, "end");
    if (answer.statusCode >= 400) throw new Error(`${method} ${path}: ${answer.statusCode}`);
  }

  async function read() {
    const [memory, keys] = await Promise.all([admin.info("memory"), admin.dbsize()]);
    return { bytes: Number(/used_memory:(\d+)/.exec(memory)[1]), keys };
  }

  async function measure(name, lifeMs, one) {
    note(`responses: ${name}`);
    const before = await read();
    const most = { bytes: 0, keys: 0 };
    let isOver = false;
    let revoked = 0;
    const watching = (async () => {
      while (!isOver) {
        await sleep(200);
        await gate.revocations.revoke({ jti: `j${(revoked += 1)}`, expiresAt: Math.floor(Date.now() / 1000) + 5 });
        const { bytes, keys } = await read();
        most.bytes = Math.max(most.bytes, bytes - before.bytes);
        most.keys = Math.max(most.keys, keys - before.keys);
      }
    })();
    const begun = performance.now();
    let asked = 0;
    await Promise.all(
      Array.from({ length: clients }, async () => {
        while (asked < count && performance.now() - begun < longestPhaseMs) await one((asked += 1));
      }),
    );
    const seconds = (performance.now() - begun) / 1000;
    isOver = true;
    await watching;
    await sleep(lifeMs + graceMs);
    const after = (await admin.keys("*")).filter((key) => /response|generation/.test(key)).length;
    if (after > 0) throw new Error(`${after} keys are left after ${name}`);
    // What is there for longer than its life was not taken away in time.
    const lived = most.keys / (asked / seconds);
    const row = [name, grouped(asked), fixed(asked / seconds, 0), grouped(most.keys), fixed(lived, 1)];
    return [...row, fixed(most.bytes / 2 ** 20, 1), grouped(revoked)];
  }

  try {
    const rows = [
      await measure("GET, another query each", ttlMs, (index) => send("GET", `/search?q=${index}`)),
      await measure("GET, another path each", ttlMs, (index) => send("GET", `/pages/${index}`)),
      await measure("POST, another query and body each", purgeMs, (index) =>
        send("POST", `/contact?x=${index}`, `${index}`),
      ),
      await measure("POST, another path each", purgeMs, (index) => send("POST", `/contact/${index}`)),
    ];
    const head = [
      "requests",
      "how many",
      "a second",
      "keys at most",
      "keys for a request a second",
      "MiB at most",
      "revocations",
    ];
    return [
      `### What is in Redis meanwhile: a ttl of ${ttlMs / 1000} s, ${bodyBytes} bytes each, with Vary; nothing is left ${graceMs / 1000} s after the last has ended`,
      table(head, rows),
    ].join("\n\n");
  } finally {
    agent.destroy();
    web.close();
    await gate.close();
    admin.disconnect();
    await server.stop();
  }
}
