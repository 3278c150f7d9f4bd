import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { BUS_OFFSET, findFreePort } from "./ports.js";
import { passwordConfig, startRedis } from "./server.js";
import type { RedisServer } from "./server.js";

/** The shape of a cluster. */
export interface RedisClusterOptions {
  /** @default 3 */
  readonly masters?: number | undefined;
  /** @default 0 */
  readonly replicasPerMaster?: number | undefined;
  /** Where other nodes and clients find a node instead of at its own port: through a proxy, say. @default at its port */
  readonly announce?: ((node: { readonly port: number }) => Promise<number>) | undefined;
  /** The password of every node. */
  readonly password?: string | undefined;
  /** Further lines of redis.conf for every node. */
  readonly config?: Readonly<Record<string, string>> | undefined;
}

/** A Redis Cluster of real processes on loopback. */
export interface RedisCluster {
  /** Masters first; then the replicas: node `masters + i` replicates node `i % masters`. */
  readonly nodes: readonly RedisServer[];
  /** The arguments of the constructor of a cluster client. */
  readonly seeds: readonly { readonly host: string; readonly port: number }[];
  /** Ends all nodes. */
  readonly stop: () => Promise<void>;
}

const SLOTS = 16_384;
const SETTLED_WITHIN_MS = 12_000;

const CONFIG = {
  "cluster-enabled": "yes",
  "cluster-config-file": "nodes.conf",
  "cluster-node-timeout": "1000",
};

/** How often a cluster is begun anew that did not settle: on a machine under load, nodes may take each other for dead. */
const ATTEMPTS = 3;

/** Starts a cluster and waits until every node says that all slots are served. */
export async function startCluster(options: RedisClusterOptions = {}): Promise<RedisCluster> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await tryStartCluster(options);
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
    }
  }
}

async function tryStartCluster({
  masters = 3,
  replicasPerMaster = 0,
  config = {},
  password,
  announce,
}: RedisClusterOptions): Promise<RedisCluster> {
  const secrets = passwordConfig(password);
  const count = masters * (1 + replicasPerMaster);
  const started = await startNodes(count, { ...CONFIG, ...secrets, ...config }, announce);
  const nodes = started.map(({ server }) => server);
  async function stop(): Promise<void> {
    await Promise.all(nodes.map((node) => node.stop()));
  }
  const clients = nodes.map(
    ({ host, port }) => new Redis({ host, port, lazyConnect: true, ...(password && { password }) }),
  );
  try {
    await join(nodes, clients, masters);
  } catch (error) {
    await stop();
    throw error;
  } finally {
    for (const client of clients) client.disconnect();
  }
  return { nodes, seeds: started.map(({ server, port }) => ({ host: server.host, port })), stop };
}

interface Started {
  readonly server: RedisServer;
  /** Where clients find it. */
  readonly port: number;
}

async function startNodes(
  count: number,
  config: Record<string, string>,
  announce: RedisClusterOptions["announce"],
): Promise<Started[]> {
  async function start(): Promise<Started> {
    if (announce === undefined) {
      const server = await startRedis({ config });
      return { server, port: server.port };
    }
    const own = await findFreePort({ bus: true });
    const port = await announce({ port: own });
    const announced = { "cluster-announce-port": `${port}`, "cluster-announce-bus-port": `${own + BUS_OFFSET}` };
    return { server: await startRedis({ port: own, config: { ...config, ...announced } }), port };
  }
  const starts = await Promise.allSettled(Array.from({ length: count }, start));
  const nodes = starts.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const failure = starts.find((one) => one.status === "rejected");
  if (failure === undefined) return nodes;
  await Promise.all(nodes.map(({ server }) => server.stop()));
  throw failure.reason;
}

async function join(nodes: readonly RedisServer[], clients: readonly Redis[], masters: number): Promise<void> {
  await Promise.all(clients.map((client) => client.connect()));
  const ids = await Promise.all(clients.map((client) => client.cluster("MYID")));
  await Promise.all(clients.map((client, index) => assign(client, index, masters)));
  // Everyone meets everyone: waiting for gossip to spread the news takes longer.
  await Promise.all(clients.flatMap((client) => nodes.map(({ host, port }) => client.cluster("MEET", host, port))));
  const replicas = clients.slice(masters);
  await Promise.all(
    replicas.map((client, index) => until("knows its master", () => replicate(client, ids[index % masters]))),
  );
  await Promise.all(clients.map((client) => until("settled", () => isSettled(client, nodes.length, replicas.length))));
}

async function assign(client: Redis, index: number, masters: number): Promise<void> {
  await client.call("CLUSTER", "SET-CONFIG-EPOCH", index + 1);
  if (index >= masters) return;
  const first = Math.floor((index * SLOTS) / masters);
  const last = Math.floor(((index + 1) * SLOTS) / masters) - 1;
  await client.cluster("ADDSLOTSRANGE", first, last);
}

async function replicate(client: Redis, master: unknown): Promise<boolean> {
  return await client.call("CLUSTER", "REPLICATE", String(master)).then(
    () => true,
    () => false,
  );
}

async function isSettled(client: Redis, nodes: number, replicas: number): Promise<boolean> {
  const [state, table, replication] = await Promise.all([
    client.call("CLUSTER", "INFO"),
    client.call("CLUSTER", "NODES"),
    client.info("replication"),
  ]);
  const lines = String(table).trim().split("\n");
  return (
    /^cluster_state:ok\r?$/m.test(String(state)) &&
    lines.length === nodes &&
    lines.filter((line) => /\bslave\b/.test(line)).length === replicas &&
    !lines.some((line) => /\b(handshake|fail|noaddr)\b/.test(line)) &&
    !replication.includes("master_link_status:down")
  );
}

async function until(what: string, test: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + SETTLED_WITHIN_MS;
  while (!(await test())) {
    if (Date.now() > deadline) throw new Error(`a cluster node was not ${what} within ${SETTLED_WITHIN_MS} ms`);
    await sleep(20);
  }
}
