// A field of live servers, one load generator, and slices of load on one server at a time.
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ask, cores, startNode } from "./processes.mjs";
import { countCalls } from "./redis.mjs";
import { signTokens } from "./settings.mjs";

const startMs = 20_000;
const answerMs = 5000;
/** What was under way when the load stopped ends in this time. */
const drainMs = 30;
/** Share of failed requests up to which a slice still tells what serving costs. */
const tolerated = 0.01;

/**
 * One slice of load on one target.
 *
 * @typedef {object} Slice
 * @property {boolean} valid False if so many requests failed that the rest of the figures mean something else.
 * @property {number} throughput Requests served a second.
 * @property {number} p50 Milliseconds.
 * @property {number} p99 Milliseconds.
 * @property {number} cpu Microseconds of the server process for a request.
 * @property {number} serverBusy Share of the slice that the server process was on a core.
 * @property {number} loadBusy The same for the load generator; near 1, it and not the server is the limit.
 * @property {number} failed Answers other than 200, and connection errors.
 * @property {number} [sent] Commands sent to Redis for a request.
 * @property {number} [executed] Commands that Redis ran for a request, inside scripts included.
 * @property {number} [redisCpu] Microseconds of Redis for a request.
 */

/** Starts the servers of all targets and the load generator. */
export async function openField({ targets, redis, optionsFor = () => [], tokens = signTokens() }) {
  const load = startNode(script("../load.mjs"), { core: cores.load });
  load.send({ tokens });
  const stands = await Promise.all(
    targets.map(async (target) => {
      const env = { ...target.env, ...(target.redis && { BENCH_REDIS_URL: redis.url }) };
      const server = startNode(script(`../servers/${target.script}`), {
        core: cores.server,
        env,
        options: optionsFor(target),
      });
      return { target, server, port: await ask(server, undefined, "ready", startMs) };
    }),
  );

  function fire(port, seconds) {
    return ask(load, { port, seconds }, "result", seconds * 1000 + 15_000).then((result) => {
      if (result.error !== undefined) throw new Error(`the load generator failed: ${result.error}`);
      return result;
    });
  }

  /** @returns {Promise<Slice>} */
  async function measure({ target, server, port }, { seconds, warmSeconds }) {
    await fire(port, warmSeconds);
    const before = await readUsage(target, server);
    const { served, failed, seconds: elapsed, p50, p99, busy } = await fire(port, seconds);
    const after = await readUsage(target, server);
    const cpu = after.cpuUs - before.cpuUs;
    // The last requests get no answer, because the load stops, but cost the server what the others cost.
    const handled = after.handled - before.handled;
    return {
      valid: failed <= served * tolerated,
      throughput: served / elapsed,
      p50,
      p99,
      cpu: cpu / handled,
      serverBusy: cpu / 1e6 / elapsed,
      loadBusy: busy,
      failed,
      ...(target.redis && {
        sent: countCalls(before.redis, after.redis, target.sends) / handled,
        executed: countCalls(before.redis, after.redis) / handled,
        redisCpu: (after.redis.cpuUs - before.redis.cpuUs) / handled,
      }),
    };
  }

  async function readUsage(target, server) {
    await sleep(drainMs);
    const [usage, onRedis] = await Promise.all([
      ask(server, "usage", "usage", answerMs),
      target.redis ? redis.usage() : undefined,
    ]);
    return { ...usage, redis: onRedis };
  }

  return { stands, fire, measure };
}

function script(path) {
  return fileURLToPath(new URL(path, import.meta.url));
}
