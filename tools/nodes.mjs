// npm run test:nodes -- [versions] [mocha's arguments, test files]: the suite on other versions of Node, which npm
// fetches as the package "node". Default: 22 24 26.
import { runNode } from "./child.mjs";
import { ensureInstalled } from "./install.mjs";
import { fetchNode } from "./other-node.mjs";

const VERSION = /^\d+(\.\d+){0,2}$/;

const words = process.argv.slice(2);
const given = words.filter((word) => VERSION.test(word));
const versions = given.length > 0 ? given : ["22", "24", "26"];
const rest = words.filter((word) => !VERSION.test(word));
const outcomes = [];

ensureInstalled();
for (const wanted of versions) {
  const start = Date.now();
  const { version, path } = await fetchNode(wanted);
  console.log(`\n== Node ${version}`);
  const code = await runNode(["tools/test.mjs", ...rest], { node: path });
  if (code !== 0) process.exitCode = 1;
  const outcome = code === 0 ? "ok     " : "FAILED ";
  outcomes.push(`${outcome} Node ${version} (${((Date.now() - start) / 1000).toFixed(0)} s)`);
}
console.log(`\n${outcomes.join("\n")}`);
