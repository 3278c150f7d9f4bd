import { startProxy, startSentinel } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { applications } from "../settings.js";
import type { Topology } from "./topology.js";
import { untilTrue, withClient } from "./topology.js";

/** A sentinel that has begun to doubt says so within this time: a promotion that was begun for a fault is over then. */
const contentMs = 1500;

/**
 * A master with one replica under three sentinels. The sentinels and the replica take the same way to a server as the
 * applications, so that a way that fails is a master that is away. With one replica, what it has confirmed (WAIT) is what a
 * promotion keeps.
 */
export async function startUnderSentinel(): Promise<Topology> {
  const proxies: Proxy[] = [];
  async function through(server: RedisServer): Promise<number> {
    const proxy = await startProxy(server);
    proxies.push(proxy);
    // Set at run time alone it would be forgotten by a server that is killed.
    server.configure({ "replica-announce-port": `${proxy.port}`, "replica-announce-ip": "127.0.0.1" });
    return proxy.port;
  }
  const group = await startSentinel({ announce: through, config: { appendonly: "yes", appendfsync: "everysec" } });
  const { servers, sentinels, name } = group;
  const everyone = applications.map((_, index) => index);

  /** What each sentinel says about the master under this name. */
  async function views(field: string): Promise<(string | undefined)[]> {
    return Promise.all(
      sentinels.map((sentinel) =>
        withClient(sentinel, async (client) => {
          const view = (await client.call("SENTINEL", "MASTER", name)) as string[];
          return view[view.indexOf(field) + 1];
        }),
      ),
    );
  }

  /** Do all sentinels find nothing wrong, and promote nobody? */
  async function areContent(): Promise<boolean> {
    return (await views("flags")).every((flags) => flags === "master");
  }

  async function isSettled(): Promise<boolean> {
    if (!(await areContent())) return false;
    const master = await group.findMaster();
    const roles = await Promise.all(
      servers.map((server) => withClient(server, (client) => client.info("replication"))),
    );
    return servers.every((server, index) =>
      server === master
        ? /^role:master\r?$/m.test(roles[index] ?? "") && /^slave0:.*state=online/m.test(roles[index] ?? "")
        : /^role:slave\r?$/m.test(roles[index] ?? "") && /^master_link_status:up\r?$/m.test(roles[index] ?? ""),
    );
  }

  return {
    name: "sentinel",
    redisFor: () => `redis+sentinel://${sentinels.map(({ host, port }) => `${host}:${port}`).join(",")}/${name}`,
    replicas: 1,
    servers,
    ways: proxies.map((proxy) => ({ proxy, processes: everyone })),
    masters: async () => [await group.findMaster()],
    term: async () => (await views("config-epoch"))[0] ?? "",
    settled: () => untilTrue("the replica follows the master that the sentinels name", isSettled, contentMs),
    promote: {
      safe: false,
      async run() {
        const [sentinel] = sentinels;
        if (sentinel === undefined) return;
        // Sentinel refuses while another promotion is under way, or was a moment ago.
        await withClient(sentinel, (client) => client.call("SENTINEL", "FAILOVER", name)).catch(() => undefined);
      },
    },
    migrate: undefined,
    async stop() {
      await Promise.all(proxies.map((proxy) => proxy.close()));
      await group.stop();
    },
  };
}
