// One real redis-server for all targets that use one, and what it counted.
import { cores, pin } from "./processes.mjs";

/**
 * A server of our own through the testkit, or the one that TEST_REDIS_URL names.
 *
 * @param {{ isOwn?: boolean }} how `isOwn` for a suite that fills it and empties it again
 */
export async function startRedis({ isOwn = false } = {}) {
  const { Redis } = await import("ioredis");
  const given = isOwn ? undefined : process.env.TEST_REDIS_URL;
  const server = given === undefined ? await launch() : { url: given, stop: async () => undefined };
  const client = new Redis(server.url);
  const version = /redis_version:(\S+)/.exec(await client.info("server"))?.[1];
  return {
    url: server.url,
    version,
    client,
    usage: () => readUsage(client),
    async stop() {
      client.disconnect();
      await server.stop();
    },
  };
}

async function launch() {
  const { tsImport } = await import("tsx/esm/api");
  const testkit = await tsImport("../../packages/testkit/src/redis/index.ts", import.meta.url);
  const server = await testkit.startRedis();
  pin(server.pid, cores.redis);
  return server;
}

/** A Cluster of six nodes, three of them masters, and what they counted together. */
export async function startCluster() {
  const { Redis } = await import("ioredis");
  const { tsImport } = await import("tsx/esm/api");
  const testkit = await tsImport("../../packages/testkit/src/redis/index.ts", import.meta.url);
  const cluster = await testkit.startCluster({ masters: 3, replicasPerMaster: 1 });
  for (const { pid } of cluster.nodes) pin(pid, cores.redis);
  const clients = cluster.nodes.slice(0, 3).map(({ url }) => new Redis(url));
  return {
    url: `redis+cluster://${cluster.seeds.map(({ host, port }) => `${host}:${port}`).join(",")}`,
    ports: cluster.seeds.map(({ port }) => port),
    async usage() {
      const all = await Promise.all(clients.map(readUsage));
      const calls = {};
      for (const one of all)
        for (const [name, count] of Object.entries(one.calls)) calls[name] = (calls[name] ?? 0) + count;
      const sum = (member) => all.reduce((total, one) => total + one[member], 0);
      const members = ["cpuUs", "receivedBytes", "sentBytes", "memoryBytes"];
      return { calls, ...Object.fromEntries(members.map((member) => [member, sum(member)])) };
    },
    async stop() {
      for (const client of clients) client.disconnect();
      await cluster.stop();
    },
  };
}

/** Calls by command since the start, those made inside scripts included, CPU time in microseconds, bytes. */
async function readUsage(client) {
  const sections = ["commandstats", "cpu", "stats", "memory"];
  const [commands, cpu, stats, memory] = await Promise.all(sections.map((section) => client.info(section)));
  const read = (text, name) => Number(new RegExp(`^${name}:(\\d+)`, "m").exec(text)?.[1]);
  const calls = {};
  for (const [, name, count] of commands.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)) calls[name] = Number(count);
  const seconds = [...cpu.matchAll(/^used_cpu_(?:sys|user):([\d.]+)/gm)].reduce((sum, [, one]) => sum + Number(one), 0);
  return {
    ...{ calls, cpuUs: seconds * 1e6 },
    receivedBytes: read(stats, "total_net_input_bytes"),
    sentBytes: read(stats, "total_net_output_bytes"),
    memoryBytes: read(memory, "used_memory"),
  };
}

/** Calls between two readings: those of some commands, or all but our own INFO. */
export function countCalls(before, after, names) {
  return Object.entries(after.calls)
    .filter(([name]) => (names === undefined ? name !== "info" : names.includes(name)))
    .reduce((sum, [name, count]) => sum + count - (before.calls[name] ?? 0), 0);
}
