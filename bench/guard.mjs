// Suite "guard": one route behind the gate, behind the libraries it replaces, and behind nothing.
import { openField } from "./lib/field.mjs";
import { fixed, ratio, table } from "./lib/format.mjs";
import { endAll } from "./lib/processes.mjs";
import { median, spread } from "./lib/statistics.mjs";
import { duels, selectTargets } from "./lib/targets.mjs";

const firstWarmSeconds = 1.5;

/**
 * @param {{ rounds: number, seconds: number, targets: readonly string[], redis: object }} options
 * @returns {Promise<string>} Markdown.
 */
export async function runGuard({ rounds, seconds, targets: names, redis, note }) {
  const targets = selectTargets(names);
  const { stands, fire, measure } = await openField({ targets, redis });
  for (const { port } of stands) await fire(port, firstWarmSeconds);
  /** @type {Map<string, import("./lib/field.mjs").Slice[]>} */
  const slices = new Map(targets.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    // Whoever comes first in one round comes last in the next, so that a slow stretch of the host meets all.
    const order = round % 2 === 0 ? stands : stands.toReversed();
    for (const stand of order) {
      slices.get(stand.target.name).push(await measure(stand, { seconds, warmSeconds: Math.min(0.5, seconds / 2) }));
    }
    note(`guard: round ${round + 1} of ${rounds}`);
  }
  await endAll();
  return [
    ...section("Against the bare framework, median of the rounds (least-most)", againstBare(targets, slices)),
    ...section("Against the libraries it replaces", againstPeers(slices)),
    ...section("Redis, for one request", onRedis(targets, slices)),
    ...section("Raw figures of this run: no promise, and only good beside each other", raw(targets, slices)),
    ...describeInvalid(targets, slices),
  ].join("\n\n");
}

function section(title, { head, rows }) {
  return rows.length === 0 ? [] : [`### ${title}`, table(head, rows)];
}

function describeInvalid(targets, slices) {
  const invalid = targets
    .map(({ name }) => ({ name, count: slices.get(name).filter(({ valid }) => !valid).length }))
    .filter(({ count }) => count > 0);
  if (invalid.length === 0) return [];
  const list = invalid.map(({ name, count }) => `${name} ${count}`).join(", ");
  return [`Rounds left out of the ratios, because more than 1 % of the requests failed: ${list}.`];
}

/** A quotient of two targets' slices in every round in which both served. */
function quotients(slices, above, below, member) {
  return slices.get(above).map((slice, round) => {
    const other = slices.get(below)[round];
    return slice.valid && other.valid ? slice[member] / other[member] : Number.NaN;
  });
}

function againstBare(targets, slices) {
  const rows = targets
    .filter(({ name, bare }) => name !== bare)
    .map(({ name, title, bare }) => [
      `${frameworks[bare]}: ${title}`,
      ...["throughput", "cpu", "p50", "p99"].map((member) => ratio(spread(quotients(slices, name, bare, member)))),
    ]);
  return { head: ["", "throughput", "server CPU a request", "p50", "p99"], rows };
}

function againstPeers(slices) {
  const rows = duels
    .filter((pair) => pair.every((name) => slices.has(name)))
    .map(([gate, peers]) => [
      `${frameworks[gate.split("-")[0]]}, ${gate.endsWith("-redis") ? "Redis" : "in process"}`,
      ...["throughput", "cpu", "p50", "p99"].map((member) => ratio(spread(quotients(slices, gate, peers, member)))),
    ]);
  return { head: ["Portcullis to peers", "throughput", "server CPU a request", "p50", "p99"], rows };
}

function onRedis(targets, slices) {
  const rows = targets
    .filter(({ redis }) => redis)
    .map(({ name, title, bare }) => [
      `${frameworks[bare]}: ${title}`,
      fixed(middle(slices, name, "sent"), 3),
      fixed(middle(slices, name, "executed"), 2),
      fixed(middle(slices, name, "redisCpu"), 1),
    ]);
  return { head: ["", "commands sent", "commands run there", "Redis CPU us"], rows };
}

function raw(targets, slices) {
  const rows = targets.map(({ name, title, bare }) => [
    `${frameworks[bare]}: ${title.replace(/^(Express|Koa) /, "")}`,
    fixed(middle(slices, name, "throughput"), 0),
    fixed(middle(slices, name, "cpu"), 1),
    fixed(middle(slices, name, "p50"), 2),
    fixed(middle(slices, name, "p99"), 2),
    fixed(middle(slices, name, "serverBusy"), 2),
    fixed(middle(slices, name, "loadBusy"), 2),
    slices.get(name).reduce((sum, { failed }) => sum + failed, 0),
  ]);
  const head = ["", "requests/s", "CPU us a request", "p50 ms", "p99 ms", "server busy", "load busy", "not 200"];
  return { head, rows };
}

const frameworks = { express: "Express", koa: "Koa" };

function middle(slices, name, member) {
  return median(slices.get(name).map((slice) => slice[member]));
}
