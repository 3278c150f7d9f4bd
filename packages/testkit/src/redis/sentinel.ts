import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { passwordConfig, startRedis } from "./server.js";
import type { RedisServer, RedisServerOptions } from "./server.js";

/** The shape of a group of servers that Sentinel watches. */
export interface RedisSentinelOptions {
  /** @default 1 */
  readonly replicas?: number | undefined;
  /** How long a master may be silent until it is taken for dead. @default 600 */
  readonly downAfterMs?: number | undefined;
  /** Of master and replicas. */
  readonly password?: string | undefined;
  /** Where sentinels and clients find a server instead of at its own port: through a proxy, say. @default at its port */
  readonly announce?: ((server: RedisServer) => Promise<number>) | undefined;
  /** Further lines of redis.conf for master and replicas. */
  readonly config?: Readonly<Record<string, string>> | undefined;
}

/** A master with replicas under three sentinels, all real processes on loopback. */
export interface RedisSentinel {
  /** The name under which the sentinels know the master. */
  readonly name: string;
  readonly sentinels: readonly { readonly host: string; readonly port: number }[];
  /** The first master, then the replicas. */
  readonly servers: readonly RedisServer[];
  /** The server that the first sentinel takes for the master now. */
  readonly findMaster: () => Promise<RedisServer>;
  /** Ends all processes. */
  readonly stop: () => Promise<void>;
}

const NAME = "main";
const SENTINELS = 3;
const SETTLED_WITHIN_MS = 15_000;

/** Starts a group and waits until every sentinel knows the replicas and the other sentinels. */
export async function startSentinel(options: RedisSentinelOptions = {}): Promise<RedisSentinel> {
  const { replicas = 1, downAfterMs = 600, password, announce = ownPort } = options;
  const config = { ...passwordConfig(password), ...options.config };
  const started: RedisServer[] = [];
  async function start(how: RedisServerOptions): Promise<RedisServer> {
    const server = await startRedis(how);
    started.push(server);
    return server;
  }
  async function stop(): Promise<void> {
    await Promise.all(started.map((server) => server.stop()));
  }

  try {
    const master = await start({ config });
    const followers = await Promise.all(
      Array.from({ length: replicas }, () =>
        start({ config: { "repl-diskless-sync-delay": "0", ...config, replicaof: `${master.host} ${master.port}` } }),
      ),
    );
    const servers = [master, ...followers];
    const ports = await Promise.all(servers.map(announce));
    await Promise.all(servers.map((server, index) => announceAs(server, ports[index] ?? 0, password)));
    const watching = {
      [`sentinel monitor ${NAME}`]: `${master.host} ${ports[0]} 2`,
      ...(password !== undefined && { [`sentinel auth-pass ${NAME}`]: password }),
      [`sentinel down-after-milliseconds ${NAME}`]: `${downAfterMs}`,
      [`sentinel failover-timeout ${NAME}`]: "3000",
    };
    const sentinels = await Promise.all(
      Array.from({ length: SENTINELS }, () => start({ sentinel: true, config: watching })),
    );
    await Promise.all(sentinels.map((sentinel) => untilSettled(sentinel, replicas)));
    return {
      name: NAME,
      sentinels: sentinels.map(({ host, port }) => ({ host, port })),
      servers,
      async findMaster() {
        const [, port] = await ask(sentinels[0] ?? master, "GET-MASTER-ADDR-BY-NAME", NAME);
        const found = servers[ports.findIndex((own) => String(own) === port)];
        if (found === undefined) throw new Error(`the sentinels name a master on port ${port}, which is none of ours`);
        return found;
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function ownPort({ port }: RedisServer): Promise<number> {
  return Promise.resolve(port);
}

/** What a replica says of itself to the sentinels. */
async function announceAs({ host, port }: RedisServer, announced: number, password = ""): Promise<void> {
  if (announced === port) return;
  const client = new Redis({ host, port, lazyConnect: true, ...(password !== "" && { password }) });
  await client.connect();
  await client.config("SET", "replica-announce-port", `${announced}`);
  client.disconnect();
}

async function untilSettled(sentinel: RedisServer, replicas: number): Promise<void> {
  const deadline = Date.now() + SETTLED_WITHIN_MS;
  for (;;) {
    const pairs = await ask(sentinel, "MASTER", NAME);
    const state = new Map(pairs.flatMap((name, index) => (index % 2 === 0 ? [[name, pairs[index + 1]]] : [])) as never);
    if (Number(state.get("num-slaves")) >= replicas && Number(state.get("num-other-sentinels")) >= SENTINELS - 1)
      return;
    if (Date.now() > deadline) throw new Error(`a sentinel was not settled within ${SETTLED_WITHIN_MS} ms`);
    await sleep(50);
  }
}

async function ask({ host, port }: RedisServer, ...words: string[]): Promise<string[]> {
  const client = new Redis({ host, port, lazyConnect: true, protocol: 2 });
  try {
    await client.connect();
    return (await client.call("SENTINEL", ...words)) as string[];
  } finally {
    client.disconnect();
  }
}
