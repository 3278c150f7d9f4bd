// Suite "micro": what the gate's parts cost in one process, without HTTP, and what they keep in memory.
import { fileURLToPath } from "node:url";
import { costTable } from "./lib/cost-table.mjs";
import { fixed, grouped, ratio, table } from "./lib/format.mjs";
import { grounds } from "./lib/growth.mjs";
import { ask, cores, endAll, startNode } from "./lib/processes.mjs";

const answerMs = { costs: 240_000, growth: 1_800_000 };

function startWorker() {
  return startNode(fileURLToPath(new URL("./lib/micro-worker.mjs", import.meta.url)), {
    core: cores.server,
    options: ["--expose-gc"],
  });
}

/** @returns {Promise<string>} Markdown. */
export async function runMicro({ quick, note, redis }) {
  const worker = startWorker();
  note("micro: cost of a call");
  const costs = await ask(
    worker,
    { suite: "costs", rounds: quick ? 5 : 25, sampleMs: quick ? 10 : 30 },
    "rows",
    answerMs.costs,
  );
  const scale = quick ? 0.02 : 1;
  await endAll();
  const growth = [];
  for (const on of grounds) {
    note(`micro: growth of the heap, ${on}`);
    const message = { suite: "growth", on, scale, redis: redis.url };
    growth.push({ name: on, ...(await ask(startWorker(), message, "rows", answerMs.growth)) });
    await endAll();
  }
  return [
    "### CPU of a call, to a signature check by jose (HS256); median of the rounds (least-most)",
    costTable(costs),
    "### Memory of a process that meets ever new addresses, users, valid tokens and forged tokens, one of each a caller",
    describeGrowth(growth),
    "### CPU of a caller: both tokens, and a write to or a deletion from the request cache",
    describeConstancy(growth),
  ].join("\n\n");
}

function describeGrowth(rows) {
  const [{ sizes }] = rows;
  return table(
    ["", ...sizes.map(({ met }) => (met === 0 ? "sign-outs" : grouped(met)))],
    rows.map(({ name, sizes }) => [name, ...sizes.map(({ megabytes }) => `${fixed(megabytes, 1)} MB`)]),
  );
}

function describeConstancy(rows) {
  return table(
    ["", "last quarter to first", "us here"],
    rows.map(({ name, sizes }) => {
      const first = sizes[1].us;
      const last = sizes.at(-1).us;
      return [name, ratio(last / first), fixed(last, 1)];
    }),
  );
}
