// How much longer a request takes with the gate, when Redis is far away and the server has time.
import { Agent, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ask, cores, endAll, startNode } from "./processes.mjs";
import { signTokens } from "./settings.mjs";
import { quantile } from "./statistics.mjs";

const startMs = 60_000;
const oneWayMs = 1;
const connections = 8;
/** Few enough that all of them are known, and hold their leases, after the warm-up. */
const users = 100;
/** Between an answer and the next request of a connection, so that the server is free nearly always. */
const pauseMs = 4;
const warmSeconds = 1.5;
const pings = 100;

/**
 * @returns {Promise<{ trips: number[], medians: Record<string, (number | null)[]> }>} For each round: the time to Redis
 *   and back, and the median latency of each target, in milliseconds.
 */
export async function measureLatency({ targets, rounds, seconds, redis, node, note }) {
  const { Redis } = await import("ioredis");
  const proxy = startNode(fileURLToPath(new URL("./distance.mjs", import.meta.url)), {
    core: cores.load,
    env: { BENCH_REDIS_URL: redis.url, BENCH_DELAY_MS: String(oneWayMs) },
  });
  const far = `redis://127.0.0.1:${await ask(proxy, undefined, "ready", startMs)}`;
  const client = new Redis(far);
  const tokens = signTokens(users, users);
  const medians = Object.fromEntries(targets.map(({ name }) => [name, []]));
  const trips = [];
  try {
    const stands = await Promise.all(
      targets.map(async (target) => {
        const server = startNode(fileURLToPath(new URL(`../servers/${target.script}`, import.meta.url)), {
          core: cores.server,
          env: { ...target.env, ...(target.redis && { BENCH_REDIS_URL: far }) },
          options: ["--no-warnings"],
          node,
        });
        return { target, port: await ask(server, undefined, "ready", startMs) };
      }),
    );
    for (const { port } of stands) await load(port, tokens, warmSeconds);
    for (let round = 0; round < rounds; round += 1) {
      trips.push(await measureTrip(client));
      for (const { target, port } of round % 2 === 0 ? stands : stands.toReversed()) {
        // Leases of an idle process have been given back meanwhile.
        await load(port, tokens, warmSeconds / 3);
        medians[target.name].push(await load(port, tokens, seconds));
      }
      note(`latency, round ${round + 1} of ${rounds}`);
    }
  } finally {
    client.disconnect();
    await endAll();
  }
  return { trips, medians };
}

async function measureTrip(client) {
  const times = [];
  for (let count = 0; count < pings; count += 1) {
    const start = performance.now();
    await client.ping();
    times.push(performance.now() - start);
  }
  return middle(times);
}

/** The median latency under low load; null if any answer was not 200. */
async function load(port, tokens, seconds) {
  const until = performance.now() + seconds * 1000;
  const times = [];
  let failed = 0;
  async function client(index) {
    // All of 127.0.0.0/8 is this machine on Linux.
    const localAddress = process.platform === "linux" ? `127.0.1.${1 + index}` : undefined;
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let count = index; performance.now() < until; count += connections) {
      const start = performance.now();
      const status = await get({ port, agent, localAddress }, tokens[count % tokens.length]);
      times.push(performance.now() - start);
      if (status !== 200) failed += 1;
      await sleep(pauseMs);
    }
    agent.destroy();
  }
  await Promise.all(Array.from({ length: connections }, (_, index) => client(index)));
  return failed > times.length / 100 ? null : middle(times);
}

function get(where, token) {
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", ...where, headers: { authorization: `Bearer ${token}` } }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode));
    });
    sent.on("error", reject);
    sent.end();
  });
}

function middle(times) {
  return Number(
    quantile(
      times.sort((a, b) => a - b),
      0.5,
    ).toFixed(3),
  );
}
