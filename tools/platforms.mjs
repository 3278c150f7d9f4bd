// npm run test:platforms [-- name ...]: packs the packages and runs them, as strangers install them, on the platforms that
// docs/platforms.md names. The platforms come from platforms/package-lock.json; everything runs in a temporary directory.
import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./child.mjs";
import { ensureInstalled } from "./install.mjs";
import { run, runNpm } from "./npm.mjs";
import { packAll } from "./pack.mjs";
import { report } from "./report.mjs";
import { temporaryDirectory } from "./temporary.mjs";

const CHECK_MS = 120_000;

process.chdir(ROOT);
ensureInstalled();
const base = temporaryDirectory("platforms");
const directory = join(base, "platforms");
const wanted = process.argv.slice(2);
/** @type {Record<string, () => Promise<string>>} Each returns what it has printed. */
const PLATFORMS = {
  lambda: () => runNode(["lambda/check.mjs"]),
  nest: () => compileAndRun("nest", "built/nest/main.js"),
  graphql: () => compileAndRun("graphql", "graphql/check.mjs"),
  sockets: () => runNode(["sockets/check.mjs"]),
  jest: async () => (await runJest("javascript")) + (await runJest("typescript")),
  vitest: () => runNode([bin("vitest", "vitest.mjs"), "run", "--root", "vitest"]),
  node: () => runNode(["runtimes/check.mjs"]),
  bun: () => runIn(directory, binary("@oven/bun-linux-", "bin/bun"), ["runtimes/check.mjs"]),
  deno: () =>
    runIn(directory, binary("@deno/linux-", "deno"), ["run", "-A", "--node-modules-dir=manual", "runtimes/check.mjs"]),
  pnpm: checkPnpm,
};

let tarballs;

const start = Date.now();
if (!(await report("pack", pack)) || !(await report("install", install))) process.exit();
const { startRedis } = await import("../packages/testkit/dist/index.js");
const redis = await startRedis();
try {
  for (const [name, check] of Object.entries(PLATFORMS)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    await report(name, async () => process.stdout.write(await check()));
  }
} finally {
  await redis.stop();
}
console.log(`versions: ${versions()}`);
console.log(`${Math.round((Date.now() - start) / 1000)} s in all`);

async function pack() {
  tarballs = await packAll(join(base, "tarballs"));
}

async function install() {
  const { dependencies, devDependencies } = JSON.parse(readFileSync("platforms/package.json", "utf8"));
  const ours = Object.keys({ ...dependencies, ...devDependencies }).filter((name) => name.startsWith("@portcullis/"));
  assert.deepEqual(ours, [], "the packages come from their tarballs");
  cpSync("platforms", directory, { recursive: true, filter: (path) => !/node_modules|[/\\]built/.test(path) });
  await runNpm(
    ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--include=dev", "--include=optional"],
    directory,
  );
  await runNpm(
    [
      "install",
      "--no-save",
      "--no-package-lock",
      "--no-audit",
      "--no-fund",
      "--prefer-offline",
      ...Object.values(tarballs),
    ],
    directory,
  );
}

function runNode(words) {
  return runIn(directory, process.execPath, words);
}

async function runIn(cwd, command, words) {
  const { NODE_ENV, ...env } = process.env;
  const { stdout } = await run(command, words, { cwd, env: { ...env, REDIS_URL: redis.url }, timeout: CHECK_MS });
  return stdout;
}

async function compileAndRun(folder, script) {
  await runNode([bin("typescript", "bin/tsc"), "-p", folder]);
  // Packages beside the compiled files say whether they are CommonJS.
  const type = folder === "nest" ? "commonjs" : "module";
  writeFileSync(join(directory, "built", folder, "package.json"), JSON.stringify({ type }));
  return runNode([script]);
}

async function runJest(folder) {
  await runNode([
    bin("jest", "bin/jest.js"),
    "--rootDir",
    `jest/${folder}`,
    "--config",
    `jest/${folder}/jest.config.js`,
    "--runInBand",
  ]);
  return `  ok  Jest, ${folder}\n`;
}

function bin(name, path) {
  return join("node_modules", name, path);
}

/** The program that one of the packages for Linux contains: that for this processor. */
function binary(packages, path) {
  const arch = process.arch === "x64" ? "x64" : "aarch64";
  const places = ["", "-glibc"].map((libc) => join(directory, "node_modules", `${packages}${arch}${libc}`, path));
  const found = places.find((place) => existsSync(place));
  assert.ok(found, `none of ${places.join(", ")} is installed`);
  return found;
}

/** pnpm gives a package only its own dependencies, and an application only those that it names. */
async function checkPnpm() {
  const app = join(base, "pnpm");
  mkdirSync(app);
  cpSync("platforms/pnpm", app, { recursive: true });
  cpSync(tarballs.express, join(app, "portcullis-express.tgz"));
  cpSync(tarballs.core, join(app, "portcullis-core.tgz"));
  // Until the packages are on the registry, pnpm must be told where core is.
  writeFileSync(join(app, "pnpm-workspace.yaml"), 'overrides:\n  "@portcullis/core": "file:./portcullis-core.tgz"\n');
  const pnpm = join(directory, bin("pnpm", "bin/pnpm.mjs"));
  await runIn(app, process.execPath, [pnpm, "install", "--prefer-offline", "--store-dir", join(base, "store")]);
  assert.ok(
    !existsSync(join(app, "node_modules", "@portcullis", "core")),
    "the application sees a package that it did not name",
  );
  const options = ["--strict", "--skipLibCheck", "--target", "es2022", "--types", "node"];
  const tsc = join(app, bin("typescript", "bin/tsc"));
  for (const [module, resolution] of [
    ["nodenext", "nodenext"],
    ["esnext", "bundler"],
    ["commonjs", "node10"],
  ])
    // prettier-ignore
    await runIn(app, process.execPath, [
      ...[tsc, "app.ts", "--module", module, "--moduleResolution", resolution],
      ...["--esModuleInterop", "--outDir", `built/${module}`, ...options],
    ]);
  assert.equal((await runIn(app, process.execPath, ["built/nodenext/app.js"])).trim(), '{"tenant":"acme"}');
  return "  ok  pnpm: Register and the test kit from @portcullis/express alone\n";
}

function versions() {
  const { dependencies = {}, devDependencies = {} } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
  const names = Object.keys({ ...dependencies, ...devDependencies }).filter((name) => !name.startsWith("@types/"));
  const versionOf = (name) =>
    JSON.parse(readFileSync(join(directory, "node_modules", name, "package.json"), "utf8")).version;
  return [`Node ${process.version}`, ...names.map((name) => `${name} ${versionOf(name)}`)].join(", ");
}
