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
  /** The password of master and replicas. */
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
        start({ config: { ...config, replicaof: `${master.host} ${master.port}` } }),
      ),
    );
    const servers = [master, ...followers];
    const ports = await Promise.all(servers.map(announce));
    await Promise.all(servers.map((server, index) => announceAs(server, ports[index] ?? 0, password)));
    function watching(index: number): Record<string, string> {
      return {
        [`sentinel monitor ${NAME}`]: `${master.host} ${ports[0]} ${index === 0 ? 1 : 2}`,
        ...(password !== undefined && { [`sentinel auth-pass ${NAME}`]: password }),
        [`sentinel down-after-milliseconds ${NAME}`]: `${index === 0 ? downAfterMs : 2 * downAfterMs}`,
        [`sentinel failover-timeout ${NAME}`]: "3000",
      };
    }
    // The first is sure before the others, and asks for their votes: three that notice at once may each vote for themselves,
    // and try again after twice the failover-timeout.
    const sentinels = await Promise.all(
      Array.from({ length: SENTINELS }, (_, index) => start({ sentinel: true, config: watching(index) })),
    );
    await Promise.all(sentinels.map(hurry));
    await Promise.all(sentinels.map((sentinel) => untilSettled(sentinel, replicas)));
    return {
      name: NAME,
      sentinels: sentinels.map(({ host, port }) => ({ host, port })),
      servers,
      async findMaster() {
        const [, port] = await ask<string[]>(sentinels[0] ?? master, "GET-MASTER-ADDR-BY-NAME", NAME);
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

/** Makes a replica announce another port to the sentinels. */
async function announceAs({ host, port }: RedisServer, announced: number, password = ""): Promise<void> {
  if (announced === port) return;
  const client = new Redis({ host, port, lazyConnect: true, ...(password !== "" && { password }) });
  await client.connect();
  await client.config("SET", "replica-announce-port", `${announced}`);
  // A replica tells its master when it connects: one that has done so already connects again.
  await client.call("CLIENT", "KILL", "TYPE", "master");
  client.disconnect();
}

/** Looks at the servers twice a second instead of every ten, and after a stall of its own goes on after one second, not 30. */
async function hurry(sentinel: RedisServer): Promise<void> {
  await ask(sentinel, "DEBUG", "INFO-PERIOD", "500", "PUBLISH-PERIOD", "200", "TILT-PERIOD", "1000");
}

async function untilSettled(sentinel: RedisServer, replicas: number): Promise<void> {
  const deadline = Date.now() + SETTLED_WITHIN_MS;
  while (!(await isSettled(sentinel, replicas))) {
    if (Date.now() > deadline) throw new Error(`a sentinel was not settled within ${SETTLED_WITHIN_MS} ms`);
    await sleep(50);
  }
}

async function isSettled(sentinel: RedisServer, replicas: number): Promise<boolean> {
  const master = pair(await ask<string[]>(sentinel, "MASTER", NAME));
  const followers = (await ask<string[][]>(sentinel, "REPLICAS", NAME)).map(pair);
  const ready = followers.filter((one) => one.get("flags") === "slave" && one.get("master-link-status") === "ok");
  const others = Number(master.get("num-other-sentinels"));
  return master.get("flags") === "master" && ready.length >= replicas && others >= SENTINELS - 1;
}

function pair(words: readonly string[]): Map<string, string> {
  return new Map(words.flatMap((name, index) => (index % 2 === 0 ? [[name, words[index + 1] ?? ""]] : [])));
}

async function ask<Answer>({ host, port }: RedisServer, ...words: string[]): Promise<Answer> {
  const client = new Redis({ host, port, lazyConnect: true, protocol: 2 });
  try {
    await client.connect();
    return (await client.call("SENTINEL", ...words)) as Answer;
  } finally {
    client.disconnect();
  }
}
