// Starts each built example on each kind of store, checks its contract from outside, and that SIGTERM ends it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { ROOT } from "./child.mjs";
import { checkExample } from "./example-contract.mjs";
import { buildExample, entryOf, listExamples } from "./example.mjs";
import { ensureInstalled } from "./install.mjs";

const LISTENS_WITHIN_MS = 20_000;
const ENDS_WITHIN_MS = 2000;

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

async function report(what, check) {
  const start = Date.now();
  try {
    await check();
    console.log(`ok      ${what} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED  ${what}: ${error.message}`);
  }
}

function refuse() {
  throw new Error("it does not compile");
}

async function smokeOnRedis(name) {
  const server = await startRedis();
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
  const port = await findFreePort();
  const { NODE_ENV, REDIS_URL, ...env } = process.env;
  Object.assign(env, { PORT: `${port}` }, redisUrl && { REDIS_URL: redisUrl });
  const child = spawn(process.execPath, [entryOf(name)], { env, stdio: ["ignore", "pipe", "pipe"] });
  const exited = once(child, "exit");
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
  try {
    const passwords = await waitForStart(child, port, () => output);
    await checkExample(`http://127.0.0.1:${port}`, passwords, afterLogout);
    child.kill("SIGTERM");
    const ended = await Promise.race([exited, sleep(ENDS_WITHIN_MS, undefined, { ref: false })]);
    assert.ok(ended, `SIGTERM did not end it within ${ENDS_WITHIN_MS} ms`);
    assert.deepEqual(ended, [0, null], `SIGTERM ended it with [code, signal] ${JSON.stringify(ended)}`);
  } catch (error) {
    error.message += `\n--- what it printed ---\n${output.trimEnd()}\n---`;
    throw error;
  } finally {
    child.kill("SIGKILL");
    await exited;
  }
}

async function waitForStart(child, port, output) {
  const deadline = Date.now() + LISTENS_WITHIN_MS;
  while (Date.now() < deadline && child.exitCode === null && child.signalCode === null) {
    const listening = new RegExp(`^listening on http://127\\.0\\.0\\.1:${port}$`, "m").test(output());
    const [alice, admin] = ["alice", "admin"].map((user) => passwordOf(user, output()));
    if (listening && alice !== undefined && admin !== undefined) return { alice, admin };
    await sleep(20);
  }
  throw new Error("it ended, or did not print its address and both passwords in time");
}

function passwordOf(user, output) {
  return new RegExp(`^user: ${user}  password: (\\S+)\\s*$`, "m").exec(output)?.[1];
}
