// Suite "limits": what rate limits ask of Redis, exact and leased; what they keep in memory; what each algorithm costs.
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { costTable } from "./lib/cost-table.mjs";
import { fixed, grouped, ratio, table } from "./lib/format.mjs";
import { ask, cores, end, endAll, startNode } from "./lib/processes.mjs";
import { countCalls, startCluster } from "./lib/redis.mjs";
import { signTokens } from "./lib/settings.mjs";
import { median } from "./lib/statistics.mjs";

const users = 2000;
const startMs = 20_000;
const answerMs = { usage: 5000, algorithms: 240_000, clients: 900_000 };
/** What was under way when the load stopped ends in this time, renewals of leases included. */
const drainMs = 100;

const variants = [
  { name: "exact", precision: "exact", check: "asked" },
  { name: "exact, revocation tracked", precision: "exact", check: "tracked" },
  { name: "leased", precision: "leased", check: "asked" },
  { name: "leased, revocation tracked", precision: "leased", check: "tracked" },
];

/** @returns {Promise<string>} Markdown. */
export async function runLimits({ quick, rounds, seconds, note, redis }) {
  const standalone = { url: redis.url, ports: [Number(new URL(redis.url).port)], usage: redis.usage };
  const cluster = await startCluster();
  const asked = [];
  try {
    for (const [place, server] of [
      ["one Redis", standalone],
      ["a Cluster of six", cluster],
    ]) {
      note(`limits: ${place}`);
      asked.push(...(await measureAsking(place, server, { rounds: Math.min(rounds, 3), seconds })));
    }
  } finally {
    await endAll();
    await cluster.stop();
  }
  const worker = startNode(fileURLToPath(new URL("./lib/micro-worker.mjs", import.meta.url)), {
    core: cores.server,
    options: ["--expose-gc"],
  });
  note("limits: cost of a decision");
  const how = { suite: "algorithms", rounds: quick ? 5 : 25, sampleMs: quick ? 10 : 30 };
  const algorithms = await ask(worker, how, "rows", answerMs.algorithms);
  note("limits: growth of the heap");
  const scale = quick ? 0.02 : 1;
  const clients = await ask(worker, { suite: "clients", scale, redis: redis.url }, "rows", answerMs.clients);
  await endAll();
  return [
    `### What a request asks of Redis: ${grouped(users)} users, 64 connections, a limit by address and one by user`,
    describeAsking(asked),
    "### CPU of a decision in process, to rate-limiter-flexible alone; median of the rounds (least-most)",
    costTable(algorithms),
    "### Memory of a process that meets ever new addresses",
    describeClients(clients),
  ].join("\n\n");
}

async function measureAsking(place, server, { rounds, seconds }) {
  const load = startNode(script("./load.mjs"), { core: cores.load });
  load.send({ tokens: signTokens(users, users) });
  const rows = [];
  for (const { name, ...options } of variants) {
    const env = { BENCH_LIMITS: JSON.stringify({ redis: server.url, ports: server.ports, ...options }) };
    const child = startNode(script("./servers/koa-limits.mjs"), { core: cores.server, env });
    const port = await ask(child, undefined, "ready", startMs);
    const fire = async (time) => {
      const result = await ask(load, { port, seconds: time }, "result", time * 1000 + 15_000);
      if (result.error !== undefined) throw new Error(`the load generator failed: ${result.error}`);
      return result;
    };
    await fire(Math.max(2, seconds));
    const slices = [];
    for (let round = 0; round < rounds; round += 1) slices.push(await measureSlice({ server, child, fire, seconds }));
    rows.push({ name: `${place}: ${name}`, slices });
    await end(child);
  }
  await end(load);
  return rows;
}

async function measureSlice({ server, child, fire, seconds }) {
  const read = async () => {
    await sleep(drainMs);
    const [usage, redis] = await Promise.all([ask(child, "usage", "usage", answerMs.usage), server.usage()]);
    return { ...usage, redis };
  };
  const before = await read();
  const { served, failed, seconds: elapsed } = await fire(seconds);
  const after = await read();
  const handled = after.handled - before.handled;
  const of = (names) => countCalls(before.redis, after.redis, names) / handled;
  return {
    throughput: served / elapsed,
    failed,
    cpu: (after.cpuUs - before.cpuUs) / handled,
    scripts: of(["eval", "evalsha"]),
    executed: of(),
    writes: (after.writes - before.writes) / handled,
    redisCpu: (after.redis.cpuUs - before.redis.cpuUs) / handled,
  };
}

function describeAsking(rows) {
  const columns = [
    ["script calls", "scripts", 4],
    ["socket writes", "writes", 4],
    ["commands run there", "executed", 2],
    ["Redis CPU us", "redisCpu", 1],
    ["server CPU us", "cpu", 1],
    ["requests/s", "throughput", 0],
  ];
  return table(
    ["for one request", ...columns.map(([title]) => title), "not 200"],
    rows.map(({ name, slices }) => [
      name,
      ...columns.map(([, member, digits]) => fixed(median(slices.map((slice) => slice[member])), digits)),
      slices.reduce((sum, { failed }) => sum + failed, 0),
    ]),
  );
}

function describeClients(rows) {
  const [{ sizes }] = rows;
  return table(
    ["addresses met", ...sizes.map(({ met }) => grouped(met)), "us a call", "last quarter to first"],
    rows.map(({ name, sizes }) => [
      name,
      ...sizes.map(({ megabytes }) => `${fixed(megabytes, 1)} MB`),
      fixed(sizes.at(-1).us, 1),
      ratio(sizes.at(-1).us / sizes[0].us),
    ]),
  );
}

function script(path) {
  return fileURLToPath(new URL(path, import.meta.url));
}
