/** What Portcullis needs of a Redis client: the part that `Redis` and `Cluster` of ioredis 5 and 6 share. */
export interface RedisLike {
  readonly status: string;
  /** Called if the client was made with `lazyConnect`. */
  connect?(): Promise<unknown>;
  /** Another client of the same server: what tracking listens on. */
  duplicate?(options?: object): unknown;
  readonly isCluster?: boolean;
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
  on(event: "ready" | "error", listener: (error: Error) => void): unknown;
  off(event: "ready" | "error", listener: (error: Error) => void): unknown;
}

/** What a socket of a node can do. */
interface Corkable {
  cork(): void;
  uncork(): void;
}

/**
 * Holds back what is sent to the masters of a Cluster until `release`, so that each node gets one write and not one for
 * each command. What one turn sends must be released in the same turn.
 */
export function cork(client: RedisLike): { release: () => void } {
  const sockets = socketsOf(client);
  for (const socket of sockets) socket.cork();
  return {
    release() {
      for (const socket of sockets) socket.uncork();
    },
  };
}

function socketsOf(client: RedisLike): Corkable[] {
  if (!("nodes" in client) || typeof client.nodes !== "function") return [];
  const nodes = (client.nodes as (role: "master") => { readonly stream?: unknown }[])("master");
  return nodes.flatMap(({ stream }) => (isCorkable(stream) ? [stream] : []));
}

function isCorkable(stream: unknown): stream is Corkable {
  return typeof stream === "object" && stream !== null && "cork" in stream && "uncork" in stream;
}
