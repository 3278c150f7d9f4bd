import type { RedisLike } from "./client.js";

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
