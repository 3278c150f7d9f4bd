// A field of live servers, one load generator, and slices of load on one server at a time.
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openGenerator } from "./generators.mjs";
import { ask, cores, startNode } from "./processes.mjs";
import { countCalls } from "./redis.mjs";
import { signTokens } from "./settings.mjs";

const startMs = 60_000;
const answerMs = 15_000;
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
 * @property {number} [made] Runs of the handler for a request, of a target that counts them.
 */

/**
 * Starts the servers of all targets and the load generator.
 *
 * @param {{ targets: readonly object[], redis: object, node?: string, optionsFor?: (target: object) => string[], tokens?: readonly string[] }} how
 *   `node` is the path of the Node that runs the servers.
 */
export async function openField({ targets, redis, node, optionsFor = () => [], tokens = signTokens() }) {
  const load = openGenerator(tokens);
  const stands = await Promise.all(
    targets.map(async (target) => {
      const server = startNode(script(`../servers/${target.script}`), {
        core: cores.server,
        env: { ...load.serverEnv, ...target.env, ...(target.redis && { BENCH_REDIS_URL: redis.url }) },
        options: ["--no-warnings", ...optionsFor(target)],
        node,
      });
      return { target, server, port: await ask(server, undefined, "ready", startMs) };
    }),
  );

  /** Loads a server without measuring it. */
  async function fire(port, seconds) {
    const running = load.start(port, seconds);
    await sleep(seconds * 1000);
    const { answered, failed } = await running.finish();
    return { served: answered - failed };
  }

  /**
   * Measures within one load: what comes before is the time to get warm.
   *
   * @param {(stand: object) => Promise<void>} during runs at the same time
   * @returns {Promise<Slice>}
   */
  async function measure(stand, { seconds, warmSeconds, during = async () => undefined }) {
    const { target, server, port } = stand;
    const running = load.start(port, warmSeconds + seconds + 0.1);
    await sleep(warmSeconds * 1000);
    const before = await readUsage(target, server);
    await Promise.all([sleep(seconds * 1000), during(stand)]);
    const after = await readUsage(target, server);
    const { answered, failed, p50, p99, busy } = await running.finish();
    const cpu = after.cpuUs - before.cpuUs;
    const handled = after.handled - before.handled;
    const elapsed = (after.atMs - before.atMs) / 1000;
    return {
      valid: failed <= answered * tolerated,
      throughput: handled / elapsed,
      p50,
      p99,
      cpu: cpu / handled,
      serverBusy: cpu / 1e6 / elapsed,
      loadBusy: busy,
      failed,
      ...(after.made !== undefined && { made: (after.made - before.made) / handled }),
      ...(target.redis && {
        sent: countCalls(before.redis, after.redis, target.sends) / handled,
        executed: countCalls(before.redis, after.redis) / handled,
        redisCpu: (after.redis.cpuUs - before.redis.cpuUs) / handled,
      }),
    };
  }

  async function readUsage(target, server) {
    const [usage, onRedis] = await Promise.all([
      ask(server, "usage", "usage", answerMs),
      target.redis ? redis.usage() : undefined,
    ]);
    return { ...usage, redis: onRedis };
  }

  return { stands, fire, measure, load: load.title, close: load.close };
}

function script(path) {
  return fileURLToPath(new URL(path, import.meta.url));
}
