import { Redis } from "ioredis";
import { startRedis } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import { until } from "../../support/until.js";

/** Starts a Cluster of one node, which serves all slots; Redis takes two seconds for it. The caller stops it. */
export async function startShard(options: Parameters<typeof startRedis>[0] = {}): Promise<RedisServer> {
  const server = await startRedis({
    ...options,
    config: {
      ...{ "cluster-enabled": "yes", "cluster-announce-ip": "127.0.0.1" },
      // Clients are then told of the port for TLS.
      ...(options.tls === undefined ? {} : { "tls-cluster": "yes" }),
      ...options.config,
    },
  });
  const operator = new Redis(server.url);
  await operator.call("CLUSTER", "ADDSLOTSRANGE", 0, 16_383);
  await until(async () => String(await operator.call("CLUSTER", "INFO")).includes("cluster_state:ok"));
  operator.disconnect();
  return server;
}
