/**
 * What is measured against what. `sends` are the commands the target itself sends to Redis, as opposed to those that its
 * scripts run there.
 *
 * @typedef {{ name: string, title: string, script: string, bare: string, redis: boolean, sends: readonly string[] }} Target
 */

const scripts = ["evalsha", "eval"];

/** @type {readonly Target[]} */
export const targets = [
  target("express", "Express alone", "express.mjs"),
  target("express-gate", "Portcullis, in process", "express-gate.mjs"),
  target("express-served", "Portcullis, in process, by serve()", "express-served.mjs"),
  target("express-peers", "express-jwt + express-rate-limit x2, in process", "express-peers.mjs"),
  target("express-gate-redis", "Portcullis, Redis", "express-gate.mjs", scripts),
  target("express-peers-redis", "the same libraries + EXISTS + rate-limit-redis", "express-peers.mjs", [
    ...scripts,
    "exists",
  ]),
  target("koa", "Koa alone", "koa.mjs"),
  target("koa-gate", "Portcullis, in process", "koa-gate.mjs"),
  target("koa-peers", "koa-jwt + koa-ratelimit x2, in process", "koa-peers.mjs"),
  target("koa-gate-redis", "Portcullis, Redis", "koa-gate.mjs", scripts),
  // Each of its scripts runs one EXISTS, so that EXISTS alone counts the scripts and the command.
  target("koa-peers-redis", "the same libraries on Redis + EXISTS", "koa-peers.mjs", ["exists"]),
];

/** The gate beside what it replaces. */
export const duels = [
  ["express-gate", "express-peers"],
  ["express-gate-redis", "express-peers-redis"],
  ["koa-gate", "koa-peers"],
  ["koa-gate-redis", "koa-peers-redis"],
];

function target(name, title, script, sends = []) {
  return { name, title, script, bare: name.split("-")[0], redis: name.endsWith("-redis"), sends };
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
