// Suite "faults": what clients see of a gate while its Redis has a bad day, at a steady rate of requests.
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { fixed, grouped, table } from "./lib/format.mjs";
import { ask, cores, end, startNode } from "./lib/processes.mjs";
import { startPulse, sumUp, timeToNormal } from "./lib/pulse.mjs";
import { signToken } from "./lib/settings.mjs";
import { readCounters, record, topologies } from "./lib/topologies.mjs";

const rate = 500;
const deadlineMs = 50;
const warmMs = 2000;
const quietMs = 3000;
const outageMs = 5000;
const afterMs = 6000;
const answerMs = 20_000;
/** Between two replies that are lost. */
const cutEveryMs = 200;
/** Until a closed connection is noticed. */
const noticeMs = 20;
const revokedJti = "revoked";

/** @returns {Promise<string>} Markdown. */
export async function runFaults({ quick, note }) {
  const rounds = quick ? 1 : 3;
  const outages = [];
  for (const how of ["SIGSTOP", "SIGKILL"])
    outages.push({ how, rounds: await repeat(`${how} of the only server`, () => measureOutage(how)) });
  const failovers = [];
  for (const topology of ["Sentinel", "Cluster"]) {
    for (const how of ["SIGKILL", "SIGSTOP"]) {
      const name = `${topology} master, ${how}`;
      failovers.push({ name, rounds: await repeat(name, () => measureFailover(topology, how)) });
    }
  }
  const losses = [];
  for (const name of Object.keys(topologies))
    losses.push({ name, rounds: await repeat(`lost replies, ${name}`, () => measureLoss(name)) });
  return [
    `### ${rate} requests/s, every fifth with a revoked token, ${rounds} times each; the worst of them. Deadline ${deadlineMs} ms (default options)`,
    describeOutages(outages),
    "### A master is lost, and its replica takes over",
    describeFailovers(failovers),
    `### Replies that are lost after their command ran; a user of its own for each request`,
    describeLosses(losses),
  ].join("\n\n");

  async function repeat(name, measure) {
    const results = [];
    for (let round = 1; round <= rounds; round += 1) {
      note(`faults: ${name}, ${round} of ${rounds}`);
      results.push(await measure());
    }
    return results;
  }
}

/** Some servers and a gate in front of them, under load. */
async function withGate(topology, { proxied = false, each } = {}, measure) {
  const place = await topologies[topology]({ proxied });
  const server = startNode(fileURLToPath(new URL("./servers/faults-gate.mjs", import.meta.url)), {
    core: cores.server,
    env: { BENCH_REDIS: JSON.stringify(place.redis) },
    options: ["--expose-gc"],
  });
  try {
    const port = await ask(server, undefined, "ready", answerMs);
    const home = await record(place.servers, `auth:revoked:${revokedJti}`, 600);
    const tokens = Array.from({ length: 100 }, (_, index) =>
      signToken({ jti: `token-${index}`, subject: `user-${index}` }),
    );
    const load = startPulse({
      port,
      rate,
      token: each ?? ((index) => tokens[index % tokens.length]),
      revoked: each === undefined ? signToken({ jti: revokedJti, subject: "mallory" }) : undefined,
    });
    await sleep(warmMs);
    return await measure({ place, server, load, home });
  } finally {
    await end(server);
    await place.stop();
  }
}

async function measureOutage(how) {
  return withGate("Standalone", {}, async ({ place, server, load }) => {
    const [redis] = place.servers;
    const heapBefore = await ask(server, "heap", "heap", answerMs);
    const quiet = performance.now();
    await sleep(quietMs);
    const struck = performance.now();
    if (how === "SIGSTOP") redis.pause();
    else await redis.kill();
    await sleep(outageMs);
    const mended = performance.now();
    const heapAfter = await ask(server, "heap", "heap", answerMs);
    if (how === "SIGSTOP") redis.resume();
    else await redis.restart();
    const back = performance.now();
    await sleep(afterMs);
    const visits = await load.stop();
    const before = sumUp(visits, quiet, struck);
    const during = sumUp(visits, struck, mended);
    return {
      before,
      during,
      afterClose: sumUp(visits, struck + noticeMs, mended),
      // A killed server without persistence has forgotten the record, which it was to be asked for.
      accepted: how === "SIGSTOP" ? sumUp(visits, struck, Infinity).accepted : during.accepted,
      heapMb: (heapAfter - heapBefore) / 2 ** 20,
      normalMs: timeToNormal(how === "SIGSTOP" ? visits : visits.filter(({ bad }) => !bad), back),
    };
  });
}

async function measureFailover(topology, how) {
  return withGate(topology, {}, async ({ load, home }) => {
    const quiet = performance.now();
    await sleep(quietMs);
    const struck = performance.now();
    if (how === "SIGSTOP") home.pause();
    else await home.kill();
    await sleep(outageMs + afterMs);
    const visits = await load.stop();
    const after = sumUp(visits, struck, Infinity);
    return { before: sumUp(visits, quiet, struck), after, normalMs: timeToNormal(visits, struck) };
  });
}

async function measureLoss(topology) {
  const seconds = (quietMs + outageMs) / 1000;
  const tokens = Array.from({ length: rate * (seconds + 10) }, (_, index) =>
    signToken({ jti: `t-${index}`, subject: `u-${index}` }),
  );
  return withGate(topology, { proxied: true, each: (index) => tokens[index] }, async ({ place, load }) => {
    const until = performance.now() + seconds * 1000;
    while (performance.now() < until) {
      for (const proxy of place.proxies) proxy.cutAfter(":user:");
      await sleep(cutEveryMs);
    }
    for (const proxy of place.proxies) proxy.cutAfter("");
    const visits = await load.stop();
    const counters = await readCounters(place.servers, "user");
    const sent = visits.length;
    const lost = place.proxies.reduce((sum, { cuts }) => sum + cuts, 0);
    const twice = counters.filter((value) => value > 1).length;
    return { sent, lost, counted: counters.length, twice, longest: sumUp(visits, 0, Infinity).longest };
  });
}

function worst(rounds, read) {
  return Math.max(...rounds.map((round) => (Number.isNaN(read(round)) ? Infinity : read(round))));
}

function ms(value, digits = 1) {
  return Number.isFinite(value) ? `${fixed(value, digits)} ms` : "never";
}

function seconds(value) {
  return Number.isFinite(value) ? `${fixed(value / 1000, 2)} s` : "never";
}

function describeOutages(outages) {
  const rows = [
    ["requests during the outage", ({ during }) => during.sent, grouped],
    ["p99 before", ({ before }) => before.p99, ms],
    ["p50 during", ({ during }) => during.p50, ms],
    ["p99 during", ({ during }) => during.p99, ms],
    ["p99 added", ({ before, during }) => during.p99 - before.p99, ms],
    [`p99 later than ${noticeMs} ms after it began`, ({ afterClose }) => afterClose.p99, ms],
    ["longest request", ({ during }) => during.longest, ms],
    ["heap grown", ({ heapMb }) => heapMb, (value) => `${fixed(value, 1)} MB`],
    ["normal again after SIGCONT or restart", ({ normalMs }) => normalMs, seconds],
    ["revoked tokens accepted", ({ accepted }) => accepted, grouped],
  ];
  return table(
    [`${outageMs / 1000} s`, ...outages.map(({ how }) => how)],
    rows.map(([name, read, write]) => [name, ...outages.map(({ rounds }) => write(worst(rounds, read)))]),
  );
}

function describeFailovers(failovers) {
  return table(
    [
      "",
      "normal again",
      "in each round",
      "p99 until then and 11 s on",
      "longest request",
      "wrong answers",
      "revoked tokens accepted",
    ],
    failovers.map(({ name, rounds }) => [
      name,
      seconds(worst(rounds, ({ normalMs }) => normalMs)),
      rounds.map(({ normalMs }) => seconds(normalMs)).join(", "),
      ms(worst(rounds, ({ after }) => after.p99)),
      ms(worst(rounds, ({ after }) => after.longest)),
      grouped(worst(rounds, ({ after }) => after.failed)),
      grouped(worst(rounds, ({ after }) => after.accepted)),
    ]),
  );
}

function describeLosses(losses) {
  const sum = (rounds, read) => grouped(rounds.reduce((total, round) => total + read(round), 0));
  return table(
    ["", "requests", "replies lost", "counted in Redis", "counted twice", "longest request"],
    losses.map(({ name, rounds }) => [
      name,
      sum(rounds, ({ sent }) => sent),
      sum(rounds, ({ lost }) => lost),
      sum(rounds, ({ counted }) => counted),
      sum(rounds, ({ twice }) => twice),
      ms(worst(rounds, ({ longest }) => longest)),
    ]),
  );
}
