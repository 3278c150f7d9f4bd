// Suite "guard": one route behind the gate, behind a guard by hand, behind the libraries it replaces, and behind nothing.
import { pageOf, shortPageOf } from "./lib/guard-page.mjs";
import { findNode } from "./lib/nodes.mjs";
import { measureRounds } from "./lib/rounds.mjs";
import { describeRun } from "./lib/run-facts.mjs";
import { floorTargets, hasFloor, selectTargets } from "./lib/targets.mjs";

/** @returns {Promise<string>} Markdown. */
export async function runGuard(options) {
  const runs = await measureAll({ ...options, targets: selectTargets(options.targets) });
  return runs.map(pageOf).join("\n\n");
}

/**
 * Suite "floor": only the rows that the outcomes are computed from, in three minutes.
 *
 * @returns {Promise<string>} Markdown.
 */
export async function runFloor(options) {
  const chosen = selectTargets(options.targets.length === 0 ? floorTargets : options.targets);
  const runs = await measureAll({ ...options, targets: chosen.filter(({ name }) => name !== "fastify") });
  return runs.map(shortPageOf).join("\n\n");
}

async function measureAll(options) {
  const runs = [];
  for (const wanted of options.nodes) runs.push(await measureUnder(wanted, options));
  return runs;
}

async function measureUnder(wanted, { targets, rounds, seconds, redis, note, how }) {
  const { path, version } = await findNode(wanted);
  const facts = describeRun({ node: version, redis: redis.version, how });
  const { rows, load, refused } = await measureRounds({
    ...{ targets, rounds, seconds, redis, node: path },
    note: (text) => note(`Node ${version}: ${text}`),
  });
  return { ...facts, load, hasFloor, refused, rows };
}
