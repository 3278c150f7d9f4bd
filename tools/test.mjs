// npm test [-- mocha's arguments, test files]; --soak runs the suite ten times and stops at the first failure.
import { readdirSync } from "node:fs";
import { exitCodeOf, ROOT, runNode } from "./child.mjs";
import { ensureInstalled } from "./install.mjs";

const SOAK_ROUNDS = 10;
/** In each of these, races are run so often. */
const RACES = "2";
// A handle that a test left open would keep the run from ending: then it has failed, and says so.
const LIMIT_MS = 13 * 60_000;
/** Test files at once. Most of the time goes into waiting: for servers to start, deadlines to pass, masters to be lost. */
const JOBS = 3;
/** Begun first, so that no long one is left when the short ones are done. */
const SLOW = ["/faults/", "test/docs/", "test/testkit/", "/http/", "test/gate/"];

const words = process.argv.slice(2);
const soak = words.includes("--soak");
const named = words.some((word) => word.startsWith("test/") || word.endsWith(".test.ts"));
const whole = named ? [] : ["--parallel", `--jobs=${JOBS}`, ...findTests()];
const mocha = ["node_modules/mocha/bin/mocha.js", ...words.filter((word) => word !== "--soak"), ...whole];

ensureInstalled();
process.exitCode = soak ? await runSoak() : await runMocha(process.env);

function findTests() {
  const files = readdirSync(`${ROOT}test`, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.ts"))
    .map((file) => `test/${file.replaceAll("\\", "/")}`);
  const first = SLOW.flatMap((folder) => files.filter((file) => file.includes(folder)));
  return [...new Set([...first, ...files])];
}

async function runSoak() {
  for (let round = 1; round <= SOAK_ROUNDS; round++) {
    console.log(`soak: round ${round} of ${SOAK_ROUNDS}`);
    const code = await runMocha({ ...process.env, SOAK: RACES });
    if (code !== 0) return code;
  }
  return 0;
}

async function runMocha(env) {
  let interrupted = 0;
  // Mocha's launcher passes only SIGINT on to the process that runs the tests, and then ends with code 0.
  function forward(signal) {
    interrupted = exitCodeOf(signal);
    return "SIGINT";
  }
  const jobs = named ? 1 : JOBS;
  return (await runNode(mocha, { env: { ...env, TEST_JOBS: jobs }, forward, limitMs: LIMIT_MS })) || interrupted;
}
