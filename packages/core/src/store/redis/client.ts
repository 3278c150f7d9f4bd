/** The part of a Redis client that Portcullis uses: `Redis` and `Cluster` of ioredis 5 and 6 have it. */
export interface RedisLike {
  readonly status: string;
  /** Called if the client was created with `lazyConnect`. */
  connect?(): Promise<unknown>;
  /** Creates another client of the same server, for tracking. */
  duplicate?(options?: object): unknown;
  readonly isCluster?: boolean;
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
  on(event: "ready" | "error", listener: (error: Error) => void): unknown;
  off(event: "ready" | "error", listener: (error: Error) => void): unknown;
}

/** The part of a socket that corking uses. */
interface Corkable {
  cork(): void;
  uncork(): void;
}

/**
 * Collects the commands to a server, or to the masters of a Cluster, until `release`, so that each gets one write instead
 * of one for each command. `release` must follow in the same turn of the event loop.
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
  if (!("nodes" in client) || typeof client.nodes !== "function")
    return "stream" in client && isCorkable(client.stream) ? [client.stream] : [];
  const nodes = (client.nodes as (role: "master") => { readonly stream?: unknown }[])("master");
  return nodes.flatMap(({ stream }) => (isCorkable(stream) ? [stream] : []));
}

function isCorkable(stream: unknown): stream is Corkable {
  return typeof stream === "object" && stream !== null && "cork" in stream && "uncork" in stream;
}
