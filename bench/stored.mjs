// Suite "stored": one stored response, beside the bare framework, a row by hand and other caches of responses.
import { openField } from "./lib/field.mjs";
import { fixed, ratio, table } from "./lib/format.mjs";
import { endAll } from "./lib/processes.mjs";
import { median, spread } from "./lib/statistics.mjs";

const frameworks = { express: "Express", koa: "Koa" };
const peers = { express: "apicache", koa: "koa-cash" };
const firstWarmSeconds = 1.5;

/** @returns {readonly (import("./lib/targets.mjs").Target & { against: readonly string[] })[]} */
function targetsOf(framework) {
  const peer = peers[framework];
  return [
    target(framework, "alone", `${frameworks[framework]} alone, with fields of the same length`, false),
    target(framework, "gate", "Portcullis, in process", true),
    target(framework, "peer", `${peer}, in process`, false),
    target(framework, "hand", "GET of one key by hand", true),
    target(framework, "gate-store", "Portcullis, from Redis", true),
    { ...target(framework, "peer", `${peer}, from Redis`, true), name: `${framework}-peer-redis` },
  ];
}

function target(framework, what, title, redis) {
  const sends = redis ? ["get", "mget", "hgetall"] : [];
  const env = { BENCH_STORED: what };
  return { name: `${framework}-${what}`, title, script: `stored-${framework}.mjs`, bare: framework, redis, sends, env };
}

/** @returns {Promise<string>} Markdown. */
export async function runStored({ rounds, seconds, targets: names, redis, note }) {
  const all = Object.keys(frameworks).flatMap(targetsOf);
  const targets =
    names.length === 0 ? all : all.filter(({ name, bare }) => names.includes(name) || names.includes(bare));
  const { stands, fire, measure } = await openField({ targets, redis, tokens: Array.from({ length: 64 }, () => "") });
  for (const { port } of stands) await expectSame(port);
  for (const { port } of stands) await fire(port, firstWarmSeconds);
  const slices = new Map(targets.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    const order = round % 2 === 0 ? stands : stands.toReversed();
    for (const stand of order)
      slices.get(stand.target.name).push(await measure(stand, { seconds, warmSeconds: Math.min(0.5, seconds / 2) }));
    note(`stored: round ${round + 1} of ${rounds}`);
  }
  await endAll();
  for (const [name, all] of slices) expectStored(name, all);
  return Object.keys(frameworks)
    .filter((framework) => targets.some(({ bare }) => bare === framework))
    .map((framework) => describe(framework, targets, slices))
    .join("\n\n");
}

/** Else the run has measured responses that were made anew. */
function expectStored(name, all) {
  const made = Math.max(...all.map(({ made: share }) => share));
  if (made > 0.01) throw new Error(`${name} ran its handler for ${fixed(made * 100, 1)} % of the requests`);
}

/** The second answer is a stored one; a benchmark of other answers would be a benchmark of nothing. */
async function expectSame(port) {
  const answers = [];
  for (let asked = 0; asked < 3; asked += 1) {
    const answer = await fetch(`http://127.0.0.1:${port}/`);
    answers.push(`${answer.status} ${await answer.text()}`);
  }
  if (answers.some((answer) => answer !== '200 {"ok":true}')) throw new Error(`answers differ: ${answers.join()}`);
}

function describe(framework, targets, slices) {
  const own = targets.filter(({ bare }) => bare === framework);
  const has = (what) => own.some(({ name }) => name === `${framework}-${what}`);
  function against(name, what, member) {
    if (!has(what)) return "";
    const others = slices.get(`${framework}-${what}`);
    return ratio(spread(slices.get(name).map((slice, round) => slice[member] / others[round][member])));
  }
  const rows = own.map(({ name, title }) => [
    title,
    against(name, "alone", "throughput"),
    against(name, "alone", "cpu"),
    against(name, "hand", "cpu"),
    fixed(median(slices.get(name).map(({ cpu }) => cpu)), 1),
    fixed(median(slices.get(name).map(({ throughput }) => throughput)), 0),
    fixed(median(slices.get(name).map(({ sent = 0 }) => sent)), 3),
    slices.get(name).reduce((sum, { failed }) => sum + failed, 0),
  ]);
  const head = [
    ...["", "throughput to bare", "CPU to bare", "CPU to by hand", "CPU us here", "requests/s here"],
    ...["commands sent", "not 200"],
  ];
  return `### ${frameworks[framework]}: a stored response of 11 bytes, 64 connections; median of the rounds (least-most)\n\n${table(head, rows)}`;
}
