// What was asked of the speed of the guard, beside what a run measured. No imports but of figures, so that it can be tested.
import { median } from "./statistics.mjs";

/**
 * @typedef {{ node: string, rows: Readonly<Record<string, { slices: Readonly<Record<string, readonly (number | null)[]>> }>>, latency?: { trips: readonly number[], medians: Readonly<Record<string, readonly (number | null)[]>> } }} Run
 *   Each member of `slices` holds one figure for each round; null in a round that does not count. `latency` is what
 *   lib/latency.mjs measured.
 * @typedef {{ text: string, asked: string, measured: number | undefined, digits: number, unit: string, held: boolean | undefined }} Outcome
 */

const atMost = (limit) => ({ limit, holds: (value) => value <= limit, sign: "<=" });
const atLeast = (limit) => ({ limit, holds: (value) => value >= limit, sign: ">=" });

const wanted = [
  ...["koa", "express"].flatMap((name) => [
    toOther(
      `server CPU of a request, ${title(name)} exact, to the row by hand`,
      "cpu",
      `${name}-gate-redis`,
      `${name}-floor`,
      atMost(1.2),
    ),
    toOther(
      `server CPU of a request, ${title(name)} leased, to the row by hand`,
      "cpu",
      `${name}-gate-leased`,
      `${name}-floor-leased`,
      atMost(1.2),
    ),
  ]),
  toOther(
    "throughput, Koa exact, to the Fastify stack with one limit",
    "throughput",
    "koa-gate-redis",
    "fastify-peers-redis",
    atLeast(1.3),
  ),
  toOther(
    "throughput, Koa leased, to the Fastify stack with one limit",
    "throughput",
    "koa-gate-leased",
    "fastify-peers-redis",
    atLeast(1.65),
  ),
  toOther("throughput, Koa exact, to Koa alone", "throughput", "koa-gate-redis", "koa", atLeast(0.65)),
  toOther("throughput, Koa leased, to Koa alone", "throughput", "koa-gate-leased", "koa", atLeast(0.8)),
  {
    ...toOther(
      "throughput, Express exact, to Express alone",
      "throughput",
      "express-gate-redis",
      "express",
      atLeast(0.7),
    ),
    not: 22,
  },
  {
    ...toOther(
      "throughput, Express exact by plain `listen`, to Express alone",
      "throughput",
      "express-gate-redis",
      "express",
      atLeast(0.75),
    ),
    only: 22,
  },
  toOther(
    "throughput, Express leased, to Express alone",
    "throughput",
    "express-gate-leased",
    "express",
    atLeast(0.68),
  ),
  toOther(
    "throughput, Express exact, to express-jwt's stack",
    "throughput",
    "express-gate-redis",
    "express-peers-redis",
    atLeast(2.5),
  ),
  toOther("throughput, Koa exact, to koa-jwt's stack", "throughput", "koa-gate-redis", "koa-peers-redis", atLeast(2.2)),
  ...["koa", "express"].flatMap((name) => [
    alone(`Redis CPU of a request, ${title(name)} exact`, "redisCpu", `${name}-gate-redis`, atMost(5.5), "us", 2),
    alone(`Redis CPU of a request, ${title(name)} leased`, "redisCpu", `${name}-gate-leased`, atMost(0.5), "us", 2),
    alone(
      `script calls a request at 64 connections, ${title(name)} exact`,
      "sent",
      `${name}-gate-redis`,
      atMost(0.1),
      "",
      3,
    ),
    alone(
      `script calls a request at 64 connections, ${title(name)} leased`,
      "sent",
      `${name}-gate-leased`,
      atMost(0.05),
      "",
      3,
    ),
  ]),
  ...["koa", "express"].flatMap((name) => [
    added(`added median latency with Redis 2 ms away, ${title(name)} exact`, `${name}-gate-redis`, atMost(1.15)),
    added(`added median latency with Redis 2 ms away, ${title(name)} leased`, `${name}-gate-leased`, atMost(0.1)),
  ]),
];

function title(name) {
  return name === "koa" ? "Koa" : "Express";
}

function toOther(text, member, row, other, aim) {
  return { text, aim, unit: "x", digits: 2, measure: (run) => compare(run, row, other, member) };
}

function alone(text, member, row, aim, unit, digits) {
  return { text, aim, unit, digits, measure: (run) => median(figures(run, row, member)) };
}

function added(text, row, aim) {
  return { text, aim, unit: "round trips", digits: 2, measure: (run) => median(addedTrips(run, row)) };
}

/** The latency that a row adds to its bare framework, in round trips to Redis, round by round. */
export function addedTrips({ latency }, row) {
  const own = latency?.medians[row] ?? [];
  const bare = latency?.medians[row.split("-")[0]] ?? [];
  return own.map((value, round) =>
    value === null || (bare[round] ?? null) === null ? Number.NaN : (value - bare[round]) / latency.trips[round],
  );
}

function figures(run, row, member) {
  return (run.rows[row]?.slices[member] ?? []).map((value) => value ?? Number.NaN);
}

/** The median of the quotients of one round each; not a number where a row is missing. */
export function compare(run, row, other, member) {
  const below = figures(run, other, member);
  return median(figures(run, row, member).map((value, round) => value / (below[round] ?? Number.NaN)));
}

/** @returns {Outcome[]} In the order of the aims; what this run did not measure has no value. */
export function judge(run) {
  const major = Number.parseInt(run.node, 10);
  return wanted
    .filter(({ only, not }) => (only ?? major) === major && not !== major)
    .map(({ text, aim, unit, digits, measure }) => {
      const value = measure(run);
      const measured = Number.isFinite(value) ? value : undefined;
      const suffix = unit === "x" || unit === "" ? unit : ` ${unit}`;
      return {
        ...{ text, asked: `${aim.sign} ${aim.limit}${suffix}`, measured, digits, unit: suffix },
        held: measured === undefined ? undefined : aim.holds(measured),
      };
    });
}

/** @returns {string[][]} Rows of a table: text, asked, measured, held. */
export function tableOfOutcomes(outcomes) {
  return outcomes.map(({ text, asked, measured, digits, unit, held }) => [
    text,
    asked,
    measured === undefined ? "not measured" : `${measured.toFixed(digits)}${unit}`,
    held === undefined ? "-" : held ? "yes" : "**no**",
  ]);
}
