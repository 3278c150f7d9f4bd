// The page of a run of the guard, from its figures alone.
import { fixed, ratio, table } from "./format.mjs";
import { addedTrips, judge, tableOfOutcomes } from "./outcomes.mjs";
import { median, spread } from "./statistics.mjs";
import { duels, frameworks } from "./targets.mjs";

/** @returns {string} Markdown of one run, under one Node. */
export function pageOf(run) {
  return [
    shortPageOf(run),
    ...section("Against the bare framework, median of the rounds (least-most)", againstBare(run)),
    ...section("Against the libraries it replaces", againstPeers(run)),
    ...section("Waiting, and who was busy", raw(run)),
  ].join("\n\n");
}

/** The outcomes and the figures that they are computed from. */
export function shortPageOf(run) {
  const outcomes = judge(run).filter(({ measured }) => measured !== undefined);
  return [
    describe(run),
    ...section("Outcomes: medians of the rounds", {
      head: ["", "asked", "measured", "held"],
      rows: tableOfOutcomes(outcomes),
    }),
    ...section("For one request: medians of the rounds", figures(run)),
    ...describeInvalid(run),
    ...section("Median latency with Redis 2 ms away and little load", distant(run)),
  ].join("\n\n");
}

function describe({ date, how, commit, node, redis, load, machine, pinned, loadBefore, hasFloor, refused }) {
  return [
    `* ${date} UTC, ${how}${commit === undefined ? "" : `, commit ${commit}`}`,
    `* Node ${node}, Redis ${redis}, load by ${load}`,
    `* ${machine}; ${pinned}`,
    `* load average before the run: ${loadBefore.join(", ")} (above about 0.3, something else was running)`,
    `* refused during the run, in every slice of every row on Redis: ${refused.revoked} revoked tokens (401), ` +
      `${refused.limited} requests over the limit (429)`,
    ...(hasFloor ? [] : ["* without the rows by hand: `../shared/floor/` is missing here"]),
  ].join("\n");
}

function section(title, { head, rows }) {
  return rows.length === 0 ? [] : [`### ${title}`, table(head, rows)];
}

function name({ bare, title }) {
  return `${frameworks[bare]}: ${title.replace(/^(Express|Koa|Fastify) /, "")}`;
}

function figures({ rows }) {
  return {
    head: ["", "requests/s", "server CPU us", "Redis CPU us", "calls to Redis", "commands run there", "not 200"],
    rows: Object.values(rows).map((row) => [
      name(row),
      fixed(middle(row, "throughput"), 0),
      fixed(middle(row, "cpu"), 1),
      ...[
        ["redisCpu", 2],
        ["sent", 3],
        ["executed", 2],
      ].map(([member, digits]) => (row.redis ? fixed(middle(row, member), digits) : "")),
      row.failed,
    ]),
  };
}

function againstBare({ rows }) {
  return {
    head: ["", "throughput", "server CPU a request", "p50", "p99"],
    rows: Object.values(rows)
      .filter(({ name: own, bare }) => own !== bare && bare in rows)
      .map((row) => [name(row), ...ratios(row, rows[row.bare])]),
  };
}

function againstPeers({ rows }) {
  return {
    head: ["Portcullis to peers", "throughput", "server CPU a request", "p50", "p99"],
    rows: duels
      .filter((pair) => pair.every((one) => one in rows))
      .map(([gate, peers]) => [
        `${frameworks[gate.split("-")[0]]}, ${gate.endsWith("-redis") ? "Redis" : "in process"}`,
        ...ratios(rows[gate], rows[peers]),
      ]),
  };
}

function ratios(row, other) {
  return ["throughput", "cpu", "p50", "p99"].map((member) =>
    ratio(spread(numbers(row, member).map((value, round) => value / numbers(other, member)[round]))),
  );
}

function distant(run) {
  const { rows, latency } = run;
  if (latency === undefined) return { head: [], rows: [] };
  return {
    head: ["", "ms", "added, in round trips to Redis"],
    rows: Object.keys(latency.medians).map((own) => [
      name(rows[own]),
      fixed(median(latency.medians[own].map((value) => value ?? Number.NaN)), 2),
      own === rows[own].bare ? "" : fixed(median(addedTrips(run, own)), 2),
    ]),
  };
}

function raw({ rows }) {
  return {
    head: ["", "p50 ms", "p99 ms", "server busy", "load busy"],
    rows: Object.values(rows).map((row) => [
      name(row),
      ...["p50", "p99", "serverBusy", "loadBusy"].map((member) => fixed(middle(row, member), 2)),
    ]),
  };
}

function describeInvalid({ rows }) {
  const invalid = Object.values(rows).filter((row) => row.invalid > 0);
  if (invalid.length === 0) return [];
  const list = invalid.map((row) => `${row.name} ${row.invalid}`).join(", ");
  return [`Rounds left out, because more than 1 % of the requests failed: ${list}.`];
}

function numbers(row, member) {
  return (row.slices[member] ?? []).map((value) => value ?? Number.NaN);
}

function middle(row, member) {
  return median(numbers(row, member));
}
