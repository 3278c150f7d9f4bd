import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { runChaos } from "./run.js";
import { topologies } from "./topologies/index.js";
import type { TopologyName } from "./topologies/topology.js";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    minutes: { type: "string", default: "5" },
    topology: { type: "string", multiple: true },
    without: { type: "string", multiple: true, default: [] },
  },
});

function numberOf(name: string, word: string): number {
  const number = Number(word);
  if (!(number > 0)) throw new RangeError(`--${name} must be a number above 0, such as --${name}=5`);
  return number;
}

function isTopology(word: string): word is TopologyName {
  return word in topologies;
}

const names = (values.topology ?? Object.keys(topologies)).flatMap((word) => word.split(","));
const seed = values.seed === undefined ? randomInt(1, 1_000_000) : numberOf("seed", values.seed);
const ms = (numberOf("minutes", values.minutes) * 60_000) / names.length;

console.log(`seed ${seed}`);
let violations = 0;
for (const name of names) {
  if (!isTopology(name)) throw new TypeError(`--topology must be one of ${Object.keys(topologies).join(", ")}`);
  violations += await runChaos({ topology: name, seed, ms, without: values.without });
}
process.exitCode = violations === 0 ? 0 : 1;
