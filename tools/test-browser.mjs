// npm run test:browser [-- mocha's arguments]: the pages of the examples, in a headless Chromium.
import { runNode } from "./child.mjs";
import { ensureChromium } from "./chromium.mjs";
import { buildExample, listExamples } from "./example.mjs";
import { ensureInstalled } from "./install.mjs";

const LIMIT_MS = 8 * 60_000;
const MOCHA = ["node_modules/mocha/bin/mocha.js", "test/browser/*.browser.ts"];

ensureInstalled();
process.exitCode = await main();

async function main() {
  let chromium;
  try {
    chromium = ensureChromium();
  } catch (error) {
    console.error(error.message);
    return 1;
  }
  for (const name of listExamples()) {
    const code = await buildExample(name);
    if (code !== 0) return code;
  }
  const env = { ...process.env, CHROMIUM: chromium };
  return runNode([...MOCHA, ...process.argv.slice(2)], { env, limitMs: LIMIT_MS });
}
