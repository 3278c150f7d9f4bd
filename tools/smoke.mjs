// Starts each built example on each kind of store, checks its contract from outside, and that SIGTERM ends it.
import assert from "node:assert/strict";
import { ROOT } from "./child.mjs";
import { driveExample } from "./example-process.mjs";
import { buildExample, entryOf, listExamples } from "./example.mjs";
import { ensureInstalled } from "./install.mjs";
import { report } from "./report.mjs";

process.chdir(ROOT);
ensureInstalled();
const { tsImport } = await import("tsx/esm/api");
const { findFreePort, startRedis } = await tsImport("../packages/testkit/src/redis/index.ts", import.meta.url);
const { Redis } = await import("ioredis");

for (const name of listExamples()) {
  const built = (await buildExample(name)) === 0;
  await report(`${name}, in-process store`, () => (built ? smoke(name) : refuse()));
  await report(`${name}, Redis`, () => (built ? smokeOnRedis(name) : refuse()));
}

function refuse() {
  throw new Error("it does not compile");
}

async function smokeOnRedis(name) {
  const server = await startRedis({ config: { appendonly: "yes", appendfsync: "no" } });
  const redis = new Redis(server.url);
  try {
    await smoke(name, server.url, async (token) => {
      const { jti } = JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
      assert.equal(await redis.get(`auth:revoked:${jti}`), "revoked", "the logout is recorded in Redis");
    });
  } finally {
    redis.disconnect();
    await server.stop();
  }
}

async function smoke(name, redisUrl, afterLogout) {
  const env = { PORT: `${await findFreePort()}`, ...(redisUrl && { REDIS_URL: redisUrl }) };
  await driveExample({ words: [entryOf(name)], env, afterLogout });
}
