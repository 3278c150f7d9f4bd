import { EndingExchange, createBareGate, expectAllowed } from "./checks.mjs";
import { readMegabytes, runAll } from "./growth.mjs";
import { startRelay } from "./relay.mjs";

const steps = 4;
const chunk = 1000;

/**
 * The memory of a process that meets a million addresses, each once or twice, under one policy: in process, on a Redis that
 * died (the local fallback), and on a Redis with leases. Bounded tables make it level off.
 */
export async function measureClients({ scale, redis }) {
  const clients = 1_000_000 * scale;
  const rows = [];
  await grow("warm-up", 4 * chunk, { redis: "memory" }, { algorithm: "fixed-window" });
  for (const algorithm of ["fixed-window", "sliding-window", "token-bucket", "concurrency"])
    rows.push(await grow(`in process: ${algorithm}`, clients, { redis: "memory" }, { algorithm }));
  const block = { after: 3, for: "1m" };
  rows.push(await grow("in process: fixed-window with blocks", clients, { redis: "memory" }, { block }));
  const relay = await startRelay(redis);
  rows.push(await grow("on a Redis that died", clients, { redis: relay.url }, {}, () => relay.close()));
  rows.push(await grow("on Redis, leased", clients, { redis }, { precision: "leased" }));
  return rows;
}

async function grow(name, clients, options, policy, prepare = async () => undefined) {
  const before = await readMegabytes();
  const logger = { debug: () => undefined, warn: () => undefined };
  const gate = createBareGate({ ...options, prefix: `bench:${process.pid}:`, deadline: 1000, logger });
  const limit = gate.limit({ name: "clients", per: "ip", limit: 1000, window: "1h", ...policy });
  async function meet(index) {
    const exchange = new EndingExchange(`10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`, undefined);
    expectAllowed(await limit(exchange));
    exchange.end(200);
  }
  await meet(0);
  await prepare();
  const sizes = [];
  let met = 0;
  for (let step = 1; step <= steps; step += 1) {
    const from = met;
    const start = process.cpuUsage();
    while (met < (step * clients) / steps) {
      const first = met;
      // Every fourth comes again, as those do whom leases are for.
      await runAll(chunk + chunk / 4, (index) => meet(first + (index < chunk ? index : (index - chunk) * 4)));
      met += chunk;
    }
    const { user, system } = process.cpuUsage(start);
    sizes.push({ met, megabytes: (await readMegabytes()) - before, us: (user + system) / (met - from) / 1.25 });
  }
  await gate.close();
  return { name, sizes };
}
