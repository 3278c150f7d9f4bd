// Real Redis processes in each topology, by the testkit, and clients to look into all of them.
import { Redis } from "ioredis";
import { tsImport } from "tsx/esm/api";

const testkit = await tsImport("../../packages/testkit/src/index.ts", import.meta.url);

/**
 * @typedef {object} Place
 * @property {object | string} redis The gate's option.
 * @property {readonly object[]} servers All that hold data, of the testkit.
 * @property {readonly object[]} proxies One in front of each master, where they were asked for.
 * @property {() => Promise<void>} stop
 */

/** @type {Readonly<Record<string, (how?: { proxied?: boolean }) => Promise<Place>>>} */
export const topologies = {
  async Standalone({ proxied = false } = {}) {
    const server = await testkit.startRedis();
    const { announce, proxies, close } = announceProxies();
    if (proxied) await announce(server);
    const redis = proxied ? proxies[0].url : server.url;
    return { redis, servers: [server], proxies, stop: () => endAll(close, server.stop) };
  },

  async Sentinel({ proxied = false } = {}) {
    const { announce, proxies, close } = announceProxies();
    const group = await testkit.startSentinel(proxied ? { announce, downAfterMs: 10_000 } : {});
    const redis = { sentinels: group.sentinels, name: group.name };
    return { redis, servers: group.servers, proxies, stop: () => endAll(close, group.stop) };
  },

  async Cluster({ proxied = false } = {}) {
    const { announce, proxies, close } = announceProxies();
    const shape = proxied ? { announce } : { replicasPerMaster: 1 };
    const cluster = await testkit.startCluster(shape);
    return {
      redis: { cluster: cluster.seeds },
      servers: cluster.nodes,
      proxies,
      stop: () => endAll(close, cluster.stop),
    };
  },
};

function announceProxies() {
  const proxies = [];
  return {
    proxies,
    async announce(server) {
      const proxy = await testkit.startProxy(server);
      proxies.push(proxy);
      return proxy.port;
    },
    close: () => Promise.all(proxies.map((proxy) => proxy.close())),
  };
}

async function endAll(...ends) {
  for (const end of ends) await end();
}

/** Opens a client to each server, whatever its role, for as long as `look` takes. */
export async function withClients(servers, look) {
  const clients = servers.map(({ url }) => new Redis(url, { readOnly: false }));
  for (const client of clients) client.on("error", () => undefined);
  try {
    return await look(clients);
  } finally {
    for (const client of clients) client.disconnect();
  }
}

/** The servers that are masters now. */
export async function findMasters(servers) {
  return withClients(servers, async (clients) => {
    const roles = await Promise.all(clients.map(async (client) => (await client.role())[0]));
    return servers.filter((_, index) => roles[index] === "master");
  });
}

/** Writes a record where it belongs, waits until each replica has it, and tells which master it is on. */
export async function record(servers, key, seconds) {
  const masters = await findMasters(servers);
  return withClients(masters, async (clients) => {
    for (const [index, client] of clients.entries()) {
      const written = await client.set(key, "revoked", "EX", seconds).catch(() => undefined);
      if (written === undefined) continue;
      if (servers.length > masters.length) await client.wait(1, 5000);
      return masters[index];
    }
    throw new Error("no master takes the record");
  });
}

/** The values of all counters of a policy, on all masters. */
export async function readCounters(servers, policy) {
  return withClients(await findMasters(servers), async (clients) => {
    const all = await Promise.all(
      clients.map(async (client) => {
        const keys = await client.keys(`*:quota:*:${policy}:*`);
        return Promise.all(keys.map(async (key) => Number(await client.get(key))));
      }),
    );
    return all.flat();
  });
}
