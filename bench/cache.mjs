// Suite "cache": the gate's cache beside others, in one process without HTTP, and in a stampede of two processes.
import { fileURLToPath } from "node:url";
import { fixed, ratio, table } from "./lib/format.mjs";
import { ask, cores, endAll, startNode } from "./lib/processes.mjs";
import { median, spread } from "./lib/statistics.mjs";

const worker = fileURLToPath(new URL("./lib/cache-worker.mjs", import.meta.url));
const patienceMs = 600_000;

/** @returns {Promise<string>} Markdown. */
export async function runCache({ quick, rounds, note, redis }) {
  note("cache: hits");
  const reader = startNode(worker, { core: cores.server });
  const run = Date.now().toString(36);
  const effort = { rounds: quick ? 3 : 3 * rounds, sampleMs: quick ? 10 : 60 };
  const rows = await ask(reader, { suite: "hits", redis: redis.url, run, ...effort }, "hits", patienceMs);
  await endAll();
  note("cache: stampede");
  const at = Date.now() + 3000;
  const crowd = [cores.server, cores.load].map((core) => startNode(worker, { core }));
  const counts = await Promise.all(
    crowd.map((one) => ask(one, { suite: "stampede", redis: redis.url, run: `${run}s`, at }, "stampede", patienceMs)),
  );
  await endAll();
  return [
    "### A hit in process, awaited, one after the other: what the others take to ours; median of the rounds (least-most)",
    describe(rows, "local"),
    "### A hit in Redis, 64 readers at a time",
    describe(rows, "remote"),
    "### Both tiers, 64 readers at a time, three times as many keys as a process keeps: a hit in Redis, then kept in process",
    describe(rows, "beyond"),
    "### A second read in one request, of which awaiting is a part",
    table(
      ["", "CPU, ns here"],
      rows
        .filter(({ kind }) => kind === "memo" || kind === "floor")
        .map(({ name, samples }) => [name, fixed(median(samples.map(({ cpuNs }) => cpuNs)), 0)]),
    ),
    "### Factory calls for one missing key, 50 callers in each of two processes at once",
    table(
      ["", "calls"],
      Object.keys(counts[0]).map((name) => [name, counts.reduce((sum, one) => sum + one[name], 0)]),
    ),
  ].join("\n\n");
}

/** Each cache to ours in the same round. */
function describe(rows, wanted) {
  const chosen = rows.filter(({ kind }) => kind === wanted);
  const [{ samples: ours }] = chosen;
  const against = (samples, what) => ratio(spread(samples.map((one, round) => one[what] / ours[round][what])));
  return table(
    ["", "CPU", "time", "CPU, ns here"],
    chosen.map(({ name, samples }) => [
      name,
      against(samples, "cpuNs"),
      against(samples, "wallNs"),
      fixed(median(samples.map(({ cpuNs }) => cpuNs)), 0),
    ]),
  );
}
