// Suite "micro": what the gate's parts cost in one process, without HTTP, and what they keep in memory.
import { fileURLToPath } from "node:url";
import { fixed, grouped, ratio, table } from "./lib/format.mjs";
import { ask, cores, endAll, startNode } from "./lib/processes.mjs";
import { median, spread } from "./lib/statistics.mjs";

const answerMs = 240_000;

/** @returns {Promise<string>} Markdown. */
export async function runMicro({ quick, note }) {
  const worker = startNode(fileURLToPath(new URL("./lib/micro-worker.mjs", import.meta.url)), {
    core: cores.server,
    options: ["--expose-gc"],
  });
  note("micro: cost of a call");
  const costs = await ask(
    worker,
    { suite: "costs", rounds: quick ? 5 : 25, sampleMs: quick ? 10 : 30 },
    "rows",
    answerMs,
  );
  note("micro: growth of the heap");
  const growth = await ask(worker, { suite: "growth", scale: quick ? 0.1 : 1 }, "rows", answerMs);
  await endAll();
  return [
    "### CPU of a call, to a signature check by jose (HS256); median of the rounds (least-most)",
    describeCosts(costs),
    "### Heap after so many different callers, against before",
    describeGrowth(growth),
  ].join("\n\n");
}

function describeCosts(rows) {
  const [{ samples: base }] = rows;
  return table(
    ["", "ratio", "us here"],
    rows.map(({ name, samples }) => [
      name,
      ratio(spread(samples.map((us, round) => us / base[round]))),
      fixed(median(samples), 2),
    ]),
  );
}

function describeGrowth(rows) {
  return table(
    ["", "a quarter", "half", "three quarters", "all", "a second"],
    rows.map(({ name, sizes, perSecond }) => [
      name,
      ...sizes.map(({ met, megabytes }) => `${grouped(met)}: ${fixed(megabytes, 1)} MB`),
      grouped(perSecond),
    ]),
  );
}
