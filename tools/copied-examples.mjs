// A stranger's path: copies each example out of the repository, installs, starts and drives it, by hand and by its
// Dockerfile.
import assert from "node:assert/strict";
import { join } from "node:path";
import { ROOT } from "./child.mjs";
import { copyExample } from "./copy-example.mjs";
import { carryOut } from "./dockerfile.mjs";
import { driveExample } from "./example-process.mjs";
import { listExamples } from "./example.mjs";
import { ensureInstalled } from "./install.mjs";
import { npmCommand, run, runNpm } from "./npm.mjs";
import { report } from "./report.mjs";
import { temporaryDirectory } from "./temporary.mjs";

/** "npm start" compiles first. */
const STARTS_WITHIN_MS = 60_000;

process.chdir(ROOT);
ensureInstalled();
const { tsImport } = await import("tsx/esm/api");
const { findFreePort, startRedis } = await tsImport("../packages/testkit/src/redis/index.ts", import.meta.url);
const base = temporaryDirectory("examples");

for (const name of listExamples()) {
  const directory = join(base, name);
  const copied = await report(`${name}, copy`, () => copyExample(name, directory));
  if (!copied) continue;
  // First, since a lockfile is not there yet.
  await report(`${name}, the steps of its Dockerfile`, () => driveImage(name, directory));
  await report(`${name}, npm install && npm start`, () => driveCopy(directory));
}

async function driveCopy(directory) {
  await runNpm(["install", "--prefer-offline"], directory);
  const { command, first } = npmCommand();
  // A loopback address of its own shows that HOST is heeded. Only Linux has more than one without being asked.
  const env = { PORT: `${await findFreePort()}` };
  if (process.platform === "linux") env.HOST = "127.0.0.2";
  const words = [...first, "start"];
  await driveExample({ command, words, cwd: directory, env, group: true, patienceMs: STARTS_WITHIN_MS });
}

async function driveImage(name, directory) {
  const image = await carryOut(directory, join(base, `${name}-image`));
  assert.equal(image.user, "node", "it does not run as root");
  const [node, ...words] = image.command;
  assert.equal(node, "node");
  // The image listens on all addresses; a test does not.
  const env = { ...image.env, HOST: "127.0.0.1", PORT: `${await findFreePort()}` };
  const outer = { PATH: process.env.PATH };
  const checkHealth = () => run(image.healthcheck[0], image.healthcheck.slice(1), { env: { ...outer, ...env } });
  await assert.rejects(run(node, words, { cwd: image.directory, env: { ...outer, ...env } }), /JWT_SECRET is required/);
  await assert.rejects(checkHealth(), "it is not healthy before it runs");
  const redis = await startRedis({ config: { "maxmemory-policy": "noeviction", appendonly: "yes" } });
  try {
    Object.assign(env, { JWT_SECRET: "copied-example-".padEnd(64, "0123456789"), REDIS_URL: redis.url });
    await driveExample({ words, cwd: image.directory, env, whileRunning: checkHealth });
  } finally {
    await redis.stop();
  }
}
