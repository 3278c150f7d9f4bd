// Suite "guard": one route behind the gate, behind a guard by hand, behind the libraries it replaces, and behind nothing.
import { fillDocuments } from "./lib/documents.mjs";
import { pageOf, shortPageOf } from "./lib/guard-page.mjs";
import { measureLatency } from "./lib/latency.mjs";
import { findNode } from "./lib/nodes.mjs";
import { keepRuns } from "./lib/results.mjs";
import { measureRounds } from "./lib/rounds.mjs";
import { describeRun } from "./lib/run-facts.mjs";
import { floorTargets, hasFloor, selectTargets } from "./lib/targets.mjs";

/**
 * A whole run is kept in results/guard.json, from which the page, the pictures and the tables of documents are made.
 *
 * @returns {Promise<string>} Markdown.
 */
export async function runGuard(options) {
  const latency = { of: ["koa", "express"], rounds: Math.min(options.rounds, 5) };
  const runs = await measureGuard({ ...options, targets: selectTargets(options.targets), latency });
  if (options.isWhole) {
    keepRuns("guard", runs, options.note);
    fillDocuments();
  }
  return runs.map(pageOf).join("\n\n");
}

/**
 * Suite "floor": only the rows that the outcomes are computed from, in four minutes.
 *
 * @returns {Promise<string>} Markdown.
 */
export async function runFloor(options) {
  const latency = { of: ["koa"], rounds: Math.min(options.rounds, 3) };
  return (await measureFloor({ ...options, latency })).map(shortPageOf).join("\n\n");
}

/** The runs of suite "floor", one for each Node; without latencies if none are asked for. */
export async function measureFloor(options) {
  const chosen = selectTargets(options.targets.length === 0 ? floorTargets : options.targets);
  const targets = chosen.filter(({ name }) => name !== "fastify");
  return measureGuard({ ...options, targets });
}

async function measureGuard(options) {
  const runs = [];
  for (const wanted of options.nodes) runs.push(await measureUnder(wanted, options));
  return runs;
}

async function measureUnder(wanted, { targets, latency, rounds, seconds, redis, note, how }) {
  const { path, version } = await findNode(wanted);
  const facts = describeRun({ node: version, redis: redis.version, how });
  const under = { seconds, redis, node: path, note: (text) => note(`Node ${version}: ${text}`) };
  const { rows, load, refused } = await measureRounds({ ...under, targets, rounds });
  const run = { ...facts, load, hasFloor, refused, rows };
  if (latency === undefined) return run;
  const distant = targets.filter(({ name, bare, mode, script }) => {
    if (!latency.of.includes(bare) || script.endsWith("-served.mjs")) return false;
    return name === bare || mode !== undefined;
  });
  const little = { targets: distant, rounds: latency.rounds, seconds: Math.min(seconds, 1) };
  return { ...run, latency: await measureLatency({ ...under, ...little }) };
}
