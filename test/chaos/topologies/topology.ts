import { setTimeout as sleep } from "node:timers/promises";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { Redis } from "ioredis";

/** One way from application processes to a server of Redis, which can fail as networks do. */
export interface Way {
  readonly proxy: Proxy;
  /** The application processes that take it. */
  readonly processes: readonly number[];
}

/** A Redis of several processes, and what can be done to it. */
export interface Topology {
  readonly name: TopologyName;
  /** Option `redis` of an application process. */
  readonly redisFor: (process: number) => string | object;
  /** Replicas that must have a revocation before it is confirmed. */
  readonly replicas: number;
  readonly servers: readonly RedisServer[];
  readonly ways: readonly Way[];
  /** Those that are masters now. */
  masters(): Promise<readonly RedisServer[]>;
  /** Differs after every promotion, also after two that lead back to the same master. @default not known */
  term?(): Promise<string>;
  /** Resolves when every server serves, and replicas have what their masters have. */
  readonly settled: () => Promise<void>;
  /** Another server becomes a master: with everything that the old one has (`safe`), or perhaps not. Undefined where none can. */
  readonly promote: { readonly safe: boolean; run(pick: <T>(list: readonly T[]) => T): Promise<void> } | undefined;
  /** Moves some slots from one master to another; undefined outside of a Cluster. */
  readonly migrate: ((pick: <T>(list: readonly T[]) => T) => Promise<void>) | undefined;
  stop(): Promise<void>;
}

export type TopologyName = "standalone" | "sentinel" | "cluster";

/** How often a connection is tried: a fault of another lane may have killed the server, for some seconds. */
const connectAttempts = 50;

async function connectTo({ host, port }: Pick<RedisServer, "host" | "port">): Promise<Redis> {
  for (let attempt = 1; ; attempt += 1) {
    const client = new Redis({
      ...{ host, port, lazyConnect: true, connectTimeout: 2000, commandTimeout: 6000 },
      retryStrategy: () => null,
    });
    client.on("error", () => undefined);
    try {
      await client.connect();
      return client;
    } catch (error) {
      client.disconnect();
      if (attempt === connectAttempts) throw new Error(`no connection to port ${port}`, { cause: error });
      await sleep(200);
    }
  }
}

/** A connection for one task. */
export async function withClient<T>(
  server: Pick<RedisServer, "host" | "port">,
  task: (client: Redis) => Promise<T>,
): Promise<T> {
  const client = await connectTo(server);
  try {
    return await task(client);
  } finally {
    client.disconnect();
  }
}

const settledWithinMs = 60_000;

/** Waits until this holds, and for so long in a row. A server that does not answer is one for which it does not. */
export async function untilTrue(what: string, test: () => Promise<boolean>, forMs = 0): Promise<void> {
  const begun = performance.now();
  let since: number | undefined;
  for (;;) {
    const holds = await test().catch(() => false);
    const now = performance.now();
    since = holds ? (since ?? now) : undefined;
    if (since !== undefined && now - since >= forMs) return;
    if (now - begun > settledWithinMs) throw new Error(`not within ${settledWithinMs} ms: ${what}`);
    await sleep(100);
  }
}

/** Keys that would stay for ever. */
export async function findEndlessKeys(servers: readonly RedisServer[]): Promise<string[]> {
  const found = await Promise.all(
    servers.map((server) =>
      withClient(server, async (client) => {
        const endless: string[] = [];
        let cursor = "0";
        do {
          const [next, keys] = await client.scan(cursor, "COUNT", 1000);
          const lives = await Promise.all(keys.map((key) => client.pttl(key)));
          endless.push(...keys.filter((_, index) => lives[index] === -1));
          cursor = next;
        } while (cursor !== "0");
        return endless;
      }),
    ),
  );
  return found.flat();
}
