// npm start [-- name] [--redis]: builds and serves an example application, with --redis on a Redis of its own. Default:
// express-api.
import { ROOT, runNode } from "./child.mjs";
import { buildExample, entryOf, listExamples } from "./example.mjs";
import { ensureInstalled } from "./install.mjs";

const given = process.argv.slice(2);
const withRedis = given.includes("--redis");
const [name = "express-api", ...words] = given.filter((word) => word !== "--redis");

if (!listExamples().includes(name)) {
  console.error(`There is no example "${name}". Examples: ${listExamples().join(", ")}`);
  process.exit(1);
}
ensureInstalled();
process.exitCode = (await buildExample(name)) || (withRedis ? await runOnRedis() : await run(process.env));

function run(env) {
  return runNode([entryOf(name), ...words], { env });
}

/** The Redis of the tests: one that is installed, else one that is fetched. It ends with the example. */
async function runOnRedis() {
  process.chdir(ROOT);
  const { tsImport } = await import("tsx/esm/api");
  const { startRedis } = await tsImport("../packages/testkit/src/redis/index.ts", import.meta.url);
  const server = await startRedis();
  try {
    return await run({ ...process.env, REDIS_URL: server.url });
  } finally {
    await server.stop();
  }
}
