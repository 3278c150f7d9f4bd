// Suite "sessions": what it takes to end all sessions of a user at once, in Redis and for the caller.
import { randomBytes } from "node:crypto";
import { fixed, grouped, table } from "./lib/format.mjs";
import { median, spread } from "./lib/statistics.mjs";

const sizes = [1, 10, 100, 1000];
/** Sign-ins under way at once, while a user's sessions are made. */
const atOnce = 50;

/** @returns {Promise<string>} Markdown. */
export async function runSessions({ quick, rounds, note, redis }) {
  const { Redis } = await import("ioredis");
  const { portcullis } = await import("../packages/express/dist/index.js");
  const client = new Redis(redis.url);
  const gate = portcullis({
    redis: redis.url,
    prefix: `bench:${randomBytes(6).toString("hex")}:`,
    deadline: "5s",
    tokens: { signingKey: randomBytes(32), issuer: "https://issuer.test", audience: "bench" },
    logger: { debug: () => undefined, warn: () => undefined },
  });
  try {
    const rows = [];
    for (const size of quick ? sizes.slice(0, 3) : sizes) {
      const samples = [];
      for (let round = 0; round < rounds; round += 1) {
        note(`sessions: ${size}, round ${round + 1}`);
        samples.push(await measure(gate, client, `user ${size} ${round}`, size));
      }
      rows.push(describe(size, samples));
    }
    const head = ["sessions of the user", "scripts", "KEYS, SCAN", "Redis ms", "caller ms"];
    return [
      "### Log out everywhere: one call of `sessions.revokeAll()`; median of the rounds (least-most)",
      table(head, rows),
    ].join("\n\n");
  } finally {
    await gate.close();
    client.disconnect();
  }
}

async function measure(gate, client, subject, size) {
  for (let done = 0; done < size; done += atOnce) {
    const some = Math.min(atOnce, size - done);
    await Promise.all(Array.from({ length: some }, () => gate.tokens.issue({ subject, device: { label: "bench" } })));
  }
  const before = await readScripts(client);
  const start = performance.now();
  const ended = await gate.sessions.revokeAll(subject);
  const callerMs = performance.now() - start;
  const after = await readScripts(client);
  if (ended !== size) throw new Error(`${ended} of ${size} sessions have ended`);
  return {
    scripts: after.calls - before.calls,
    searches: after.searches - before.searches,
    redisMs: (after.us - before.us) / 1000,
    callerMs,
  };
}

/** Scripts that were called, and the time that Redis took for them, what they called included. */
async function readScripts(client) {
  const stats = await client.info("commandstats");
  const sum = (names, field) =>
    names.reduce(
      (total, name) => total + Number(new RegExp(`cmdstat_${name}:.*?${field}=(\\d+)`).exec(stats)?.[1] ?? 0),
      0,
    );
  return {
    calls: sum(["eval", "evalsha"], "calls"),
    us: sum(["eval", "evalsha"], "usec"),
    searches: sum(["keys", "scan"], "calls"),
  };
}

function describe(size, samples) {
  const of = (name) => samples.map((sample) => sample[name]);
  const range = (name) => {
    const { median: middle, least, most } = spread(of(name));
    return `${fixed(middle, 1)} (${fixed(least, 1)}-${fixed(most, 1)})`;
  };
  return [
    grouped(size),
    fixed(median(of("scripts")), 0),
    fixed(median(of("searches")), 0),
    range("redisMs"),
    range("callerMs"),
  ];
}
