import { startProxy, startRedis } from "@portcullis/testkit";
import { applications } from "../settings.js";
import type { Topology } from "./topology.js";
import { untilTrue, withClient } from "./topology.js";

/** One server, which has written to its disk what it confirms. Each application process has a way of its own to it. */
export async function startStandalone(): Promise<Topology> {
  const server = await startRedis({
    config: { appendonly: "yes", appendfsync: "always", "enable-debug-command": "yes" },
  });
  const proxies = await Promise.all(applications.map(() => startProxy(server)));
  return {
    name: "standalone",
    redisFor: (process) => proxies[process]?.url ?? server.url,
    replicas: 0,
    servers: [server],
    ways: proxies.map((proxy, process) => ({ proxy, processes: [process] })),
    masters: () => Promise.resolve([server]),
    settled: () => untilTrue("Redis answers", () => withClient(server, async (client) => (await client.dbsize()) >= 0)),
    promote: undefined,
    migrate: undefined,
    async stop() {
      await Promise.all(proxies.map((proxy) => proxy.close()));
      await server.stop();
    },
  };
}
