// Makes a bare clone ready to run: only Node's own modules here, and the repository's own installer.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ensureInstalled } from "../../tools/install.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const bench = fileURLToPath(new URL("../", import.meta.url));
/** bentocache and @verrou/core need ioredis 5, so the caches and the locks have lockfiles of their own. */
const folders = [bench, `${bench}cache-peers/`, `${bench}lock-peers/`, `${bench}response-peers/`];

/** Installs what is missing or has changed, and builds the packages that are measured. */
export function prepare() {
  ensureInstalled();
  for (const folder of folders) installPeers(folder);
  const tsc = "node_modules/typescript/bin/tsc";
  run(process.execPath, [tsc, "-b", "packages/core", "packages/express", "packages/koa"], root);
}

function installPeers(folder) {
  const stamp = `${folder}node_modules/.bench-lockfile`;
  const digest = createHash("sha256")
    .update(readFileSync(`${folder}package-lock.json`))
    .digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === digest) return;
  console.error("bench: installing the libraries to compare with (npm ci) ...");
  run("npm", ["ci", "--no-audit", "--no-fund"], folder);
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
