// npm test [-- mocha's arguments, test files]; --soak runs the suite ten times and stops at the first failure.
import { exitCodeOf, runNode } from "./child.mjs";
import { ensureInstalled } from "./install.mjs";

const SOAK_ROUNDS = 10;
// A handle that a test left open would keep the run from ending: then it has failed, and says so.
const LIMIT_MS = 13 * 60_000;

const words = process.argv.slice(2);
const soak = words.includes("--soak");
const named = words.some((word) => word.startsWith("test/") || word.endsWith(".test.ts"));
const specs = named ? [] : ["test/**/*.test.ts"];
const mocha = ["node_modules/mocha/bin/mocha.js", ...words.filter((word) => word !== "--soak"), ...specs];

ensureInstalled();
process.exitCode = soak ? await runSoak() : await runMocha(process.env);

async function runSoak() {
  for (let round = 1; round <= SOAK_ROUNDS; round++) {
    console.log(`soak: round ${round} of ${SOAK_ROUNDS}`);
    const code = await runMocha({ ...process.env, SOAK: "1" });
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
  return (await runNode(mocha, { env, forward, limitMs: LIMIT_MS })) || interrupted;
}
