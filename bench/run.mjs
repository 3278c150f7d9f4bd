// npm run bench -- [suite ...] [--quick] [--rounds=7] [--seconds=2] [--targets=a,b] [--node=20,24] [--no-setup]; see README.md
import { mkdirSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { describeMachine } from "./lib/machine.mjs";
import { cores, endAll, killAll, pin } from "./lib/processes.mjs";
import { startRedis } from "./lib/redis.mjs";
import { prepare } from "./lib/setup.mjs";

/**
 * Each suite is loaded when everything it imports is installed. Those in `byDefault` run when none is named. `own` suites
 * say themselves what a reader must know of the run, and keep themselves what is worth it.
 */
const suites = {
  guard: { redis: true, own: true, run: async (options) => (await import("./guard.mjs")).runGuard(options) },
  floor: { redis: true, own: true, rounds: 5, run: async (options) => (await import("./guard.mjs")).runFloor(options) },
  check: { redis: true, own: true, rounds: 5, run: async (options) => (await import("./check.mjs")).runCheck(options) },
  scale: {
    redis: false,
    own: true,
    rounds: 3,
    run: async (options) => (await import("./scale.mjs")).runScale(options),
  },
  documents: { redis: false, own: true, run: async () => (await import("./lib/documents.mjs")).fillDocuments() },
  limits: { redis: true, run: async (options) => (await import("./limits.mjs")).runLimits(options) },
  micro: { redis: true, run: async (options) => (await import("./micro.mjs")).runMicro(options) },
  faults: { redis: false, run: async (options) => (await import("./faults.mjs")).runFaults(options) },
  cache: { redis: true, run: async (options) => (await import("./cache.mjs")).runCache(options) },
  sessions: { redis: true, run: async (options) => (await import("./sessions.mjs")).runSessions(options) },
  locks: { redis: true, run: async (options) => (await import("./locks.mjs")).runLocks(options) },
  events: { redis: true, run: async (options) => (await import("./events.mjs")).runEvents(options) },
  responses: { redis: false, run: async (options) => (await import("./responses.mjs")).runResponses(options) },
  stored: { redis: true, run: async (options) => (await import("./stored.mjs")).runStored(options) },
  profile: { redis: true, run: async (options) => (await import("./profile.mjs")).runProfile(options) },
};
const byDefault = ["guard", "micro"];
const longestMinutes = 40;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    seconds: { type: "string" },
    targets: { type: "string", default: "" },
    node: { type: "string", default: "" },
    "no-setup": { type: "boolean", default: false },
  },
});
const { quick } = values;
const options = {
  quick,
  rounds: readNumber("rounds", quick ? 2 : 7, 1, 50),
  seconds: readNumber("seconds", quick ? 1 : 2, 0.2, 30),
  targets: values.targets.split(",").filter((name) => name !== ""),
  // Only such a run may take the place of an earlier one.
  isWhole: !quick && values.targets === "",
  nodes: values.node === "" ? [undefined] : values.node.split(","),
  note: (text) => console.error(text),
};
const names = positionals.length === 0 ? byDefault : positionals;
const unknown = names.find((name) => !(name in suites));
if (unknown !== undefined) fail(`no suite "${unknown}"; there are ${Object.keys(suites).join(", ")}`);

for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 })) {
  process.once(signal, () => process.exit(code));
}
process.on("exit", killAll);
setTimeout(() => fail(`ended after ${longestMinutes} minutes`), longestMinutes * 60_000).unref();

if (!values["no-setup"]) prepare();
pin(process.pid, cores.load);
for (const name of names) await runSuite(name);
// Node 20 may spin for ever over handles that were closed by a reset, when it takes itself apart at its natural end.
process.exit();

async function runSuite(name) {
  const { redis: needsRedis, own = false, run, rounds = options.rounds } = suites[name];
  const redis = needsRedis ? await startRedis() : undefined;
  try {
    const effort = { ...options, rounds: values.rounds === undefined && !quick ? rounds : options.rounds };
    const how = quick ? "a quick run: good for seeing that it works, not for figures" : describeEffort(name, effort);
    const machine = own ? [] : [describeMachine({ redis: redis?.version, how })];
    const page = [`## ${name}`, ...machine, `${await run({ ...effort, redis, how })}\n`].join("\n\n");
    console.log(page);
    if (own) return;
    const folder = new URL("./results/", import.meta.url);
    mkdirSync(folder, { recursive: true });
    writeFileSync(new URL(`${name}.md`, folder), page);
  } finally {
    await endAll();
    await redis?.stop();
  }
}

function describeEffort(name, { rounds, seconds }) {
  if (name === "cache" || name === "locks") return `${3 * rounds} rounds`;
  return !["micro", "faults", "responses"].includes(name) ? `${rounds} rounds of ${seconds} s` : "a full run";
}

function readNumber(name, byDefault, least, most) {
  const value = values[name] === undefined ? byDefault : Number(values[name]);
  if (!(value >= least && value <= most)) fail(`--${name} must be from ${least} to ${most}`);
  return value;
}

function fail(message) {
  console.error(`bench: ${message}`);
  process.exit(1);
}
