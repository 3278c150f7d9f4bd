// Makes a bare clone ready to run: only Node's own modules here, and the repository's own installer.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ensureInstalled } from "../../tools/install.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const bench = fileURLToPath(new URL("../", import.meta.url));
const stamp = `${bench}node_modules/.bench-lockfile`;

/** Installs what is missing or has changed, and builds the packages that are measured. */
export function prepare() {
  ensureInstalled();
  installPeers();
  const tsc = "node_modules/typescript/bin/tsc";
  run(process.execPath, [tsc, "-b", "packages/core", "packages/express", "packages/koa"], root);
}

function installPeers() {
  const digest = createHash("sha256")
    .update(readFileSync(`${bench}package-lock.json`))
    .digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === digest) return;
  console.error("bench: installing the libraries to compare with (npm ci) ...");
  run("npm", ["ci", "--no-audit", "--no-fund"], bench);
  writeFileSync(stamp, digest);
}

function run(command, words, cwd) {
  const { status, error } = spawnSync(command, words, {
    cwd,
    env: withoutNpm(process.env),
    // What a benchmark prints is its tables.
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32" && command === "npm",
  });
  if (status !== 0) throw new Error(error?.message ?? `${command} ${words.join(" ")} failed`);
}

/** Under `npm run`, the environment tells an inner npm to work on the outer package; NODE_ENV would leave out parts. */
function withoutNpm(env) {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => name !== "NODE_ENV" && !/^npm_(config_(local_)?prefix|package_)/.test(name)),
  );
}
