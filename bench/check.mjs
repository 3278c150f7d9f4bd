// Suite "check": has the guard become slower than the figures that are committed?
import { findLosses, tolerance } from "./lib/compare.mjs";
import { fixed, ratio, table } from "./lib/format.mjs";
import { measureFloor } from "./guard.mjs";
import { majorOf, readRuns } from "./lib/results.mjs";

/**
 * Ends the process with 1 if more is lost than is tolerated.
 *
 * @returns {Promise<string>} Markdown.
 */
export async function runCheck(options) {
  const kept = readRuns("guard");
  const wanted = options.nodes.map((node) => (node ?? process.versions.node).split(".")[0]);
  const missing = wanted.find((major) => !(major in kept));
  if (missing !== undefined) {
    const majors = Object.keys(kept).join(", ") || "none";
    throw new Error(`results/guard.json has no run of Node ${missing}; choose by --node=, there are: ${majors}`);
  }
  const parts = [];
  for (const run of await measureFloor({ ...options, targets: [] })) {
    const before = kept[majorOf(run)];
    const { to, rows } = findLosses(before, run);
    const lost = rows.filter(({ isLost }) => isLost);
    if (lost.length > 0) process.exitCode = 1;
    parts.push(
      `### Node ${run.node} on ${run.commit ?? "an unknown commit"}, beside ${before.node} on ${before.commit ?? "an unknown commit"}`,
      `Ratios to ${to === "floor" ? "the guard by hand" : "the bare frameworks: there is no guard by hand to compare with"}.`,
      table(
        ["", "committed", "now", "lost", "held"],
        rows.map(({ text, before: was, now, loss, isLost }) => [
          ...[text, ratio(was), ratio(now), `${fixed(100 * loss, 1)} %`, isLost ? "**no**" : "yes"],
        ]),
      ),
      lost.length === 0
        ? `Nothing lost more than ${100 * tolerance} %.`
        : `LOST: ${lost.map(({ text, loss }) => `${text} by ${fixed(100 * loss, 1)} %`).join("; ")}.`,
    );
  }
  return parts.join("\n\n");
}
