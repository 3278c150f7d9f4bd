import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdirSync, renameSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const folder = fileURLToPath(new URL("../../node_modules/.cache/portcullis-test/", import.meta.url));
const bundles = new Map<string, string>();
/** What CommonJS modules in a bundle of ES modules call. */
const banner = 'import { createRequire as create } from "node:module"; const require = create(import.meta.url);';

/**
 * Starts a script of the tests in a process of its own. It is one file, bundled once in a run: a process that compiles and
 * finds its 200 files by itself takes longer to start than most tests with it.
 */
export function forkScript(script: URL, execArgv: readonly string[] = []): ChildProcess {
  return fork(findBundle(fileURLToPath(script)), { execArgv: ["--enable-source-maps", ...execArgv] });
}

function findBundle(script: string): string {
  let bundle = bundles.get(script);
  if (bundle === undefined) {
    bundle = `${folder}${basename(script, ".ts")}.mjs`;
    // Another worker may be starting its own from there.
    const unfinished = `${folder}${basename(script, ".ts")}.${process.pid}.mjs`;
    mkdirSync(folder, { recursive: true });
    buildSync({
      ...{ entryPoints: [script], outfile: unfinished, bundle: true, platform: "node", format: "esm" },
      ...{ conditions: ["@portcullis/source"], banner: { js: banner }, logLevel: "warning" },
      ...{ sourcemap: "inline", sourcesContent: false },
    });
    renameSync(unfinished, bundle);
    bundles.set(script, bundle);
  }
  return bundle;
}
