// Suite "scale": what a request costs, and what is kept, as everything grows that grows in production.
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { fillDocuments } from "./lib/documents.mjs";
import { connections, openGenerator } from "./lib/generators.mjs";
import { findNode } from "./lib/nodes.mjs";
import { ask, cores, end, endAll, startNode } from "./lib/processes.mjs";
import { countCalls, startCluster, startRedis } from "./lib/redis.mjs";
import { keepRuns } from "./lib/results.mjs";
import { describeRun } from "./lib/run-facts.mjs";
import { dimensions, pageOfScale } from "./lib/scale-page.mjs";
import { algorithm, audience, issuer, secret, signTokens, users } from "./lib/settings.mjs";
import { median } from "./lib/statistics.mjs";

const startMs = 60_000;
const answerMs = 10_000;
const warmSeconds = 1.5;
/** The most tokens in one load. More users than this have counters, which requests of other users do not touch. */
const mostTokens = 200_000;
/** What one call of a filling script makes. */
const chunk = 10_000;
/** Share of failed requests up to which a slice still tells what serving costs. */
const tolerated = 0.01;
const modes = ["exact", "leased"];

/** @returns {Promise<string>} Markdown. */
export async function runScale({ quick, rounds, seconds, nodes: [wanted], isWhole, note, how }) {
  const { path, version } = await findNode(wanted);
  const redis = await startRedis({ isOwn: true });
  const facts = describeRun({ node: version, redis: redis.version, how });
  const field = { redis, node: path, rounds: Math.min(rounds, 3), seconds, rows: [], note };
  const shrink = quick ? 0.01 : 1;
  try {
    for (const { name, sizes } of dimensions) {
      note(`scale: ${name}`);
      await measureDimension[name](
        field,
        sizes.map((size) => (size > 100 ? Math.max(100, Math.round(size * shrink)) : size)),
      );
    }
  } finally {
    await endAll();
    await redis.stop();
  }
  const run = { ...facts, load: field.load, rows: field.rows };
  if (isWhole) {
    keepRuns("scale", [run], note);
    fillDocuments();
  }
  return pageOfScale(run);
}

const measureDimension = {
  async users(field, sizes) {
    for (const size of sizes) {
      const tokens = signTokens(Math.min(size, mostTokens), size);
      for (const mode of modes) {
        const bytes = await fill(field, (client) => fillCounters(client, field, { mode, size, token: tokens[0] }));
        await measureCase(field, { dimension: "users", size, mode, tokens, bytesEach: bytes / size });
      }
    }
  },

  async policies(field, sizes) {
    for (const size of sizes) {
      for (const mode of modes) {
        await field.redis.client.flushall();
        await measureCase(field, { dimension: "policies", size, mode, policies: size });
      }
    }
  },

  async revoked(field, sizes) {
    for (const size of sizes) {
      for (const mode of modes) {
        const bytes = await fill(field, (client) => makeKeys(client, ["auth:revoked:gone-", ""], size, "revoked"));
        await measureCase(field, {
          dimension: "revoked",
          size,
          mode,
          bytesEach: size === 0 ? Number.NaN : bytes / size,
        });
      }
    }
  },

  async sessions(field, sizes) {
    for (const size of sizes) {
      let tokens = signTokens();
      const bytes = await fill(field, async () => {
        if (size > 0) tokens = await signIn(field.redis.url, size);
      });
      const bytesEach = size === 0 ? Number.NaN : bytes / size;
      for (const mode of modes) await measureCase(field, { dimension: "sessions", size, mode, tokens, bytesEach });
    }
  },

  async processes(field, sizes) {
    for (const size of sizes) {
      for (const mode of modes) {
        await field.redis.client.flushall();
        await measureCase(field, { dimension: "processes", size, mode, processes: size });
      }
    }
  },

  async masters(field, sizes) {
    for (const size of sizes) {
      const place = size === 1 ? field.redis : await startCluster();
      try {
        if (size === 1) await place.client.flushall();
        for (const mode of modes) await measureCase(field, { dimension: "masters", size, mode, place });
      } finally {
        if (size > 1) await place.stop();
      }
    }
  },
};

/** Empties Redis, fills it, and tells by how many bytes it has grown. */
async function fill({ redis }, make) {
  await redis.client.flushall();
  const before = await redis.usage();
  await make(redis.client);
  return (await redis.usage()).memoryBytes - before.memoryBytes;
}

/** Makes counters of all users, by the keys that a gate has made for one of them. */
async function fillCounters(client, field, { mode, size, token }) {
  const { child, port } = await startServer(field, { mode, policies: 2, redis: field.redis.url });
  let status = 0;
  // On a busy machine Redis may wait for a core for longer than the gate waits for Redis.
  for (let tries = 0; status !== 200 && tries < 20; tries += 1) {
    const answered = await fetch(`http://127.0.0.1:${port}/`, { headers: { authorization: `Bearer ${token}` } });
    await answered.text();
    ({ status } = answered);
    if (status !== 200) await sleep(100);
  }
  await end(child);
  const keys = await client.keys("*user-0*");
  if (keys.length !== 1) throw new Error(`a request made ${keys.length} counters of its user instead of one`);
  await makeKeys(
    client,
    keys[0].split("user-0").map((part, index) => (index === 0 ? `${part}user-` : part)),
    size,
    1,
  );
}

async function makeKeys(client, [before, after], size, value) {
  const script = `for i = ARGV[1], ARGV[2] do
    redis.call('SET', ARGV[3] .. string.format('%d', i) .. ARGV[4], ARGV[5], 'PX', 3600000) end`;
  for (let first = 0; first < size; first += chunk) {
    await client.eval(script, 0, first, Math.min(size, first + chunk) - 1, before, after, value);
  }
}

/** Signs so many users in, and returns the tokens of some of them. */
async function signIn(url, size) {
  const { portcullis } = await import("../packages/koa/dist/index.js");
  const gate = portcullis({
    ...{ redis: url, deadline: "1s", logger: { debug: () => undefined, warn: () => undefined } },
    tokens: { signingKey: secret, algorithm, issuer, audience, accessLifetime: "1h" },
  });
  const tokens = [];
  let next = 0;
  async function signInSome() {
    while (next < size) {
      const number = next;
      next += 1;
      const { response } = await gate.tokens.issue({ subject: `user-${number}` });
      if (tokens.length < users) tokens.push(response.access_token);
    }
  }
  await Promise.all(Array.from({ length: 64 }, signInSome));
  await gate.close();
  return tokens;
}

async function startServer({ node, serverEnv }, scale) {
  const child = startNode(fileURLToPath(new URL("./servers/koa-scale.mjs", import.meta.url)), {
    ...{ core: cores.server, node, options: ["--no-warnings"] },
    env: { ...serverEnv, BENCH_SCALE: JSON.stringify(scale) },
  });
  return { child, port: await ask(child, undefined, "ready", startMs) };
}

async function measureCase(field, one) {
  const {
    dimension,
    size,
    mode,
    tokens = signTokens(),
    policies = 2,
    processes = 1,
    place = field.redis,
    bytesEach,
  } = one;
  const generator = openGenerator(tokens);
  field.load = generator.title;
  field.serverEnv = generator.serverEnv;
  const scale = { mode, policies, redis: place.url };
  const servers = await Promise.all(Array.from({ length: processes }, () => startServer(field, scale)));
  const slices = [];
  try {
    for (let round = 0; round < field.rounds; round += 1)
      slices.push(await measureSlice(field, { generator, servers, place }));
  } finally {
    generator.close();
    await endAll();
  }
  const figures = {};
  for (const member of Object.keys(slices[0]).filter((one) => one !== "isValid")) {
    const value = member === "failed" ? slices.reduce((sum, { failed }) => sum + failed, 0) : medianOf(slices, member);
    figures[member] = Number.isFinite(value) ? Number(value.toPrecision(4)) : null;
  }
  const perKey = Number.isFinite(bytesEach) ? Math.round(bytesEach) : null;
  field.rows.push({ dimension, size, mode, ...figures, bytesEach: perKey });
}

/** Of the slices in which the server served: what failed tells nothing about serving. */
function medianOf(slices, member) {
  return median(slices.filter(({ isValid }) => isValid).map((slice) => slice[member]));
}

async function measureSlice({ seconds }, { generator, servers, place }) {
  const share = Math.max(1, Math.floor(connections / servers.length));
  const loads = servers.map(({ port }) => generator.start(port, warmSeconds + seconds + 0.1, share));
  const read = async () => ({
    servers: await Promise.all(servers.map(({ child }) => ask(child, "usage", "usage", answerMs))),
    redis: await place.usage(),
  });
  await sleep(warmSeconds * 1000);
  const before = await read();
  await sleep(seconds * 1000);
  const after = await read();
  const ended = [];
  for (const load of loads) ended.push(await load.finish());
  const sum = (reading, member) => reading.servers.reduce((total, one) => total + one[member], 0);
  const handled = sum(after, "handled") - sum(before, "handled");
  const elapsed = (after.servers[0].atMs - before.servers[0].atMs) / 1000;
  const total = (member) => ended.reduce((all, one) => all + one[member], 0);
  const ofRedis = (member) => (after.redis[member] - before.redis[member]) / handled;
  return {
    throughput: handled / elapsed,
    cpu: (sum(after, "cpuUs") - sum(before, "cpuUs")) / handled,
    redisCpu: ofRedis("cpuUs"),
    scripts: countCalls(before.redis, after.redis, ["eval", "evalsha"]) / handled,
    executed: countCalls(before.redis, after.redis) / handled,
    toRedis: ofRedis("receivedBytes"),
    fromRedis: ofRedis("sentBytes"),
    rssMb: sum(after, "rss") / servers.length / 2 ** 20,
    redisMb: after.redis.memoryBytes / 2 ** 20,
    failed: total("failed"),
    isValid: total("failed") <= total("answered") * tolerated,
  };
}
