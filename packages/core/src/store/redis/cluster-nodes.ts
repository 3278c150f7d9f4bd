/** A client of one node of a Cluster, as ioredis keeps it. */
interface NodeClient {
  readonly status: string;
  connect(): Promise<unknown>;
  once(event: "ready" | "end", listener: () => void): unknown;
  off(event: "ready" | "end", listener: () => void): unknown;
}

/** A node that is away must not keep those that are there from being used. */
const patienceMs = 1000;

/**
 * Resolves when a Cluster's masters are connected, or after a second. ioredis connects to a node when the first command
 * goes there, and until it has done so fails all others (with `enableOfflineQueue: false`): the first requests of a
 * process, and what it examines, would meet a Redis that seems away.
 */
export async function connectMasters(client: object): Promise<void> {
  if (!("nodes" in client) || typeof client.nodes !== "function") return;
  await Promise.all((client.nodes as (role: "master") => NodeClient[])("master").map(connected));
}

async function connected(node: NodeClient): Promise<void> {
  if (node.status === "ready") return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, patienceMs);
    function done(): void {
      clearTimeout(timer);
      node.off("ready", done);
      node.off("end", done);
      resolve();
    }
    node.once("ready", done);
    node.once("end", done);
    if (node.status === "wait") node.connect().catch(done);
  });
}

/** How often the slots are asked for while nothing fails: what a failover costs at most. */
const slotsEveryMs = 500;

/**
 * Asks a Cluster for its slots every half second; returns how to stop that. It stands for `slotsRefreshInterval`, after
 * which a process may never end: an answer that comes after `disconnect()` starts the next round (ioredis 5 and 6).
 */
export function refreshSlots(client: { readonly status: string; refreshSlotsCache(): void }): () => void {
  const timer = setInterval(() => {
    if (client.status === "ready") client.refreshSlotsCache();
  }, slotsEveryMs);
  timer.unref();
  return () => clearInterval(timer);
}
