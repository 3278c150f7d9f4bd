import { existsSync } from "node:fs";

/**
 * What is measured against what. `sends` are the commands the target itself sends to Redis, as opposed to those that its
 * scripts run there. `probed` says what is refused during the run: revoked tokens, or also requests over the limit.
 *
 * @typedef {object} Target
 * @property {string} name
 * @property {string} title
 * @property {string} script
 * @property {string} bare the name of the framework alone
 * @property {boolean} redis
 * @property {readonly string[]} sends
 * @property {"exact" | "leased" | undefined} mode
 * @property {"both" | "revoked" | undefined} probed
 * @property {NodeJS.ProcessEnv} env
 */

const scripts = ["evalsha", "eval"];
const exact = { sends: scripts, mode: "exact", probed: "both" };
const leased = { sends: scripts, mode: "leased", probed: "both" };

/** The guard by hand; it belongs to the workshop and not to the repository, so that it may be missing. */
const floor = new URL("../../../shared/floor/floor.mjs", import.meta.url);
export const hasFloor = existsSync(floor);

/** @type {readonly Target[]} */
export const targets = [
  target("express", "Express alone", "express.mjs"),
  target("express-gate", "Portcullis, in process", "express-gate.mjs"),
  target("express-served", "Portcullis, in process, by serve()", "express-served.mjs"),
  target("express-peers", "express-jwt + express-rate-limit x2, in process", "express-peers.mjs"),
  target("express-floor", "by hand, exact", "express-floor.mjs", exact),
  target("express-gate-redis", "Portcullis, exact", "express-gate.mjs", exact),
  target("express-served-redis", "Portcullis, exact, by serve()", "express-served.mjs", exact),
  target("express-floor-leased", "by hand, leased", "express-floor.mjs", leased),
  target("express-gate-leased", "Portcullis, leased + tracked", "express-gate.mjs", leased),
  target("express-served-leased", "Portcullis, leased + tracked, by serve()", "express-served.mjs", leased),
  target("express-peers-redis", "express-jwt + EXISTS + express-rate-limit x2 on Redis", "express-peers.mjs", {
    ...{ sends: [...scripts, "exists"], probed: "both" },
  }),
  target("koa", "Koa alone", "koa.mjs"),
  target("koa-gate", "Portcullis, in process", "koa-gate.mjs"),
  target("koa-peers", "koa-jwt + koa-ratelimit x2, in process", "koa-peers.mjs"),
  target("koa-floor", "by hand, exact", "koa-floor.mjs", exact),
  target("koa-gate-redis", "Portcullis, exact", "koa-gate.mjs", exact),
  target("koa-floor-leased", "by hand, leased", "koa-floor.mjs", leased),
  target("koa-gate-leased", "Portcullis, leased + tracked", "koa-gate.mjs", leased),
  // Each of its scripts runs one EXISTS, so that EXISTS alone counts the scripts and the command. Its limiter keeps the
  // time of each request, so that a limit cannot be used up from outside.
  target("koa-peers-redis", "koa-jwt + EXISTS + koa-ratelimit x2 on Redis", "koa-peers.mjs", {
    ...{ sends: ["exists"], probed: "revoked" },
  }),
  target("fastify", "Fastify alone", "fastify.mjs"),
  target("fastify-peers-redis", "@fastify/jwt + EXISTS + @fastify/rate-limit, one limit", "fastify-peers.mjs", {
    ...{ sends: [...scripts, "exists"], probed: "both", env: { BENCH_LIMIT_COUNT: "1" } },
  }),
  target("fastify-two-limits", "the same with two limits", "fastify-peers.mjs", {
    ...{ sends: [...scripts, "exists"], probed: "both", env: { BENCH_LIMIT_COUNT: "2" } },
  }),
].filter(({ script }) => hasFloor || !script.endsWith("-floor.mjs"));

/** What the outcomes are computed from, without the libraries that are replaced. */
export const floorTargets = [
  ...["express", "express-floor", "express-gate-redis", "express-floor-leased", "express-gate-leased"],
  ...["koa", "koa-floor", "koa-gate-redis", "koa-floor-leased", "koa-gate-leased"],
  "fastify-peers-redis",
].filter((name) => targets.some((one) => one.name === name));

/** The gate beside what it replaces. */
export const duels = [
  ["express-gate", "express-peers"],
  ["express-gate-redis", "express-peers-redis"],
  ["koa-gate", "koa-peers"],
  ["koa-gate-redis", "koa-peers-redis"],
];

export const frameworks = { express: "Express", koa: "Koa", fastify: "Fastify" };

function target(name, title, script, { sends = [], mode, probed, env = {} } = {}) {
  return {
    ...{ name, title, script, bare: name.split("-")[0], redis: sends.length > 0, sends, mode, probed },
    env: {
      ...env,
      ...(mode !== undefined && { BENCH_MODE: mode }),
      ...(script.endsWith("-floor.mjs") && { BENCH_FLOOR: floor.href }),
    },
  };
}

/** The named targets, each with the bare framework that its ratios are against; all if none is named. */
export function selectTargets(names) {
  const unknown = names.find((name) => !targets.some((one) => one.name === name));
  if (unknown !== undefined) {
    throw new Error(`no target "${unknown}"; there are ${targets.map(({ name }) => name).join(", ")}`);
  }
  const wanted = new Set(names.flatMap((name) => [name, name.split("-")[0]]));
  return names.length === 0 ? targets : targets.filter(({ name }) => wanted.has(name));
}
