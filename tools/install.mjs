// Runs before anything is installed: only Node's own modules here.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { npmCommand } from "./npm.mjs";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const LOCKFILE = join(ROOT, "package-lock.json");
const INSTALLED = join(ROOT, "node_modules", ".package-lock.json");
const STAMP = join(ROOT, "node_modules", ".cache", "portcullis-install");

/**
 * Makes node_modules agree with package-lock.json, with `npm ci` if need be. Quiet when there is nothing to do.
 * Ends the process with npm's output if that fails.
 */
export function ensureInstalled() {
  const lockfile = readFileSync(LOCKFILE);
  const stamp = createHash("sha256").update(lockfile).digest("hex");
  if (read(STAMP) === stamp && read(INSTALLED) !== undefined) return;
  if (!agrees(JSON.parse(lockfile.toString("utf8")).packages)) install();
  mkdirSync(dirname(STAMP), { recursive: true });
  writeFileSync(STAMP, stamp);
}

/** Whether everything that the lockfile requires on this platform is what npm installed. */
function agrees(required) {
  const installed = JSON.parse(read(INSTALLED) ?? "{}").packages ?? {};
  return Object.entries(required).every(([path, entry]) => {
    if (!path.startsWith("node_modules/") && !path.includes("/node_modules/")) return true;
    const found = installed[path];
    if (found === undefined) return entry.optional === true || entry.devOptional === true;
    return found.version === entry.version && found.integrity === entry.integrity && found.link === entry.link;
  });
}

function install() {
  console.log("Installing dependencies (npm ci) ...");
  // NODE_ENV=production or an npm setting would leave out what the tests and the build need.
  const words = ["ci", "--include=dev", "--include=optional", "--include=peer", "--no-audit", "--no-fund"];
  const { command, first, shell } = npmCommand();
  const result = spawnSync(command, [...first, ...words], { cwd: ROOT, encoding: "utf8", shell, maxBuffer: 2 ** 26 });
  if (result.status === 0) return;
  console.error(result.error?.message ?? `${result.stdout}${result.stderr}`.trim());
  console.error("npm ci failed: nothing can run without its packages.");
  process.exit(1);
}

function read(file) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) ensureInstalled();
