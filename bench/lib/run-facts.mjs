// What a reader must know of a run to believe its figures.
import { spawnSync } from "node:child_process";
import { cpus, loadavg, release, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { canPin, cores } from "./processes.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** @param {{ node: string, redis: string | undefined, load?: string, how: string }} more */
export function describeRun({ node, redis, load, how }) {
  const [first] = cpus();
  return {
    date: new Date().toISOString().slice(0, 16).replace("T", " "),
    commit: nameCommit(),
    node,
    redis,
    load,
    how,
    machine: `${cpus().length} cores (${first?.model.trim() ?? "unknown"}), ${Math.round(totalmem() / 2 ** 30)} GiB, ${process.platform} ${release()}`,
    pinned: canPin
      ? `server on core ${cores.server}, load on core ${cores.load}, Redis on core ${cores.redis}`
      : "not pinned to cores",
    loadBefore: loadavg().map((one) => Number(one.toFixed(2))),
  };
}

/** The commit that is measured, with "+" if the measured files differ from it; undefined outside a clone. */
export function nameCommit() {
  const commit = git("rev-parse", "--short=9", "HEAD");
  if (commit === undefined) return undefined;
  const changed = git("status", "--porcelain", "--", "packages", "bench", ":!bench/results", ":!bench/README.md");
  return changed === "" ? commit : `${commit}+`;
}

function git(...words) {
  const { status, stdout } = spawnSync("git", words, { cwd: root, encoding: "utf8" });
  return status === 0 ? stdout.trim() : undefined;
}
