import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ROOT, runNode } from "./child.mjs";

const TSC = "node_modules/typescript/bin/tsc";

/** Names of the example applications. */
export function listExamples() {
  return readdirSync(join(ROOT, "examples")).filter((name) => existsSync(join(ROOT, "examples", name, "package.json")));
}

/** Builds the packages and then an example. Returns the exit code of the compiler. */
export async function buildExample(name) {
  return (await runNode([TSC, "-b"])) || (await runNode([TSC, "-p", `examples/${name}`]));
}

/** Path of an example's built entry, from the repository's root. */
export function entryOf(name) {
  return `examples/${name}/dist/main.js`;
}
