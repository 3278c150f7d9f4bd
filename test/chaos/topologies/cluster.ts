import { setTimeout as sleep } from "node:timers/promises";
import { startCluster, startProxy } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { applications } from "../settings.js";
import type { Topology } from "./topology.js";
import { untilTrue, withClient } from "./topology.js";

/** Three masters with a replica each. Clients and replication take ways that can fail; the nodes' gossip does not. */
export async function startAsCluster(): Promise<Topology> {
  const proxies: Proxy[] = [];
  const config = { appendonly: "yes", appendfsync: "everysec" };
  async function through(node: { readonly port: number }): Promise<number> {
    const proxy = await startProxy(node);
    proxies.push(proxy);
    return proxy.port;
  }
  const cluster = await startCluster({ masters: 3, replicasPerMaster: 1, announce: through, config });
  const { nodes, seeds } = cluster;
  const everyone = applications.map((_, index) => index);

  async function masters(): Promise<RedisServer[]> {
    const roles = await Promise.all(nodes.map((node) => withClient(node, (client) => client.info("replication"))));
    return nodes.filter((_, index) => /^role:master\r?$/m.test(roles[index] ?? ""));
  }

  async function isSettled(): Promise<boolean> {
    const states = await Promise.all(
      nodes.map((node) =>
        withClient(node, async (client) => ({
          info: String(await client.call("CLUSTER", "INFO")),
          table: String(await client.call("CLUSTER", "NODES")),
          replication: await client.info("replication"),
        })),
      ),
    );
    return (
      states.filter(({ replication }) => /^role:master\r?$/m.test(replication)).length === 3 &&
      states.every(
        ({ info, table, replication }) =>
          /^cluster_state:ok\r?$/m.test(info) &&
          !/\b(fail\??|handshake|noaddr)\b/.test(table) &&
          !/master_link_status:down/.test(replication),
      )
    );
  }

  return {
    name: "cluster",
    redisFor: () => ({ cluster: seeds }),
    replicas: 0,
    servers: nodes,
    ways: proxies.map((proxy) => ({ proxy, processes: everyone })),
    masters,
    settled: () => untilTrue("every node of the Cluster serves", isSettled),
    promote: {
      safe: true,
      async run(pick) {
        const leading = await masters();
        const replica = pick(nodes.filter((node) => !leading.includes(node)));
        await withClient(replica, (client) => client.call("CLUSTER", "FAILOVER"));
        await untilTrue("the replica is a master", async () => (await masters()).includes(replica));
      },
    },
    async migrate(pick) {
      const leading = await masters();
      const from = pick(leading);
      const to = pick(leading.filter((node) => node !== from));
      const keys = await withClient(from, (client) => Promise.all(Array.from({ length: 3 }, () => client.randomkey())));
      for (const key of keys) if (key !== null) await moveSlotOf(key, from, to, leading);
    },
    async stop() {
      await Promise.all(proxies.map((proxy) => proxy.close()));
      await cluster.stop();
    },
  };
}

/** As `redis-cli --cluster reshard` does it, with a while in which the slot is in two places. */
async function moveSlotOf(
  key: string,
  from: RedisServer,
  to: RedisServer,
  masters: readonly RedisServer[],
): Promise<void> {
  await withClient(from, (source) =>
    withClient(to, async (target) => {
      const slot = Number(await source.call("CLUSTER", "KEYSLOT", key));
      if (Number(await source.call("CLUSTER", "COUNTKEYSINSLOT", slot)) === 0) return;
      await target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", await source.cluster("MYID"));
      await source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", await target.cluster("MYID"));
      await sleep(100);
      for (;;) {
        const keys = (await source.call("CLUSTER", "GETKEYSINSLOT", slot, 10)) as string[];
        if (keys.length === 0) break;
        await source.call("MIGRATE", to.host, to.port, "", 0, 5000, "REPLACE", "KEYS", ...keys);
      }
      await sleep(100);
      const owner = await target.cluster("MYID");
      for (const node of [to, from, ...masters]) {
        await withClient(node, (client) => client.call("CLUSTER", "SETSLOT", slot, "NODE", owner));
      }
    }),
  );
}
