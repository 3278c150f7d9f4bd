// What runs have measured, as JSON: the one source of the pages, the pictures, and the tables of documents.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

const folder = new URL("../results/", import.meta.url);

/**
 * The kept runs of a suite, by the major version of Node.
 *
 * @returns {Record<string, object>} Empty if there is none.
 */
export function readRuns(suite) {
  try {
    return JSON.parse(readFileSync(new URL(`${suite}.json`, folder), "utf8")).runs;
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
    return {};
  }
}

/** Keeps runs in the place of earlier ones; those of another commit or machine go, since a page must not mix them. */
export function keepRuns(suite, runs, note) {
  const merged = mergeRuns(readRuns(suite), runs);
  for (const major of merged.dropped)
    note(`${suite}: the figures of Node ${major} are of another commit or machine: dropped`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(new URL(`${suite}.json`, folder), print({ runs: merged.runs }));
}

/** @returns {{ runs: Record<string, object>, dropped: string[] }} */
export function mergeRuns(earlier, runs) {
  const [{ commit, machine }] = runs;
  const merged = {};
  const dropped = [];
  for (const [major, run] of Object.entries(earlier)) {
    if (run.commit === commit && run.machine === machine) merged[major] = run;
    else if (!runs.some((one) => majorOf(one) === major)) dropped.push(major);
  }
  for (const run of runs) merged[majorOf(run)] = run;
  return { runs: merged, dropped };
}

export function majorOf({ node }) {
  return node.split(".")[0];
}

/** JSON with one line for each list of figures. */
function print(value) {
  const text = JSON.stringify(value, null, 1);
  return `${text.replace(/\[[^[\]{}]*\]/g, (list) => list.replace(/\s+/g, " "))}\n`;
}
