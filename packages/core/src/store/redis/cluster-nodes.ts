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

/** What a client of a Cluster has for its slots. */
interface SlotsClient {
  readonly status: string;
  refreshSlotsCache(): void;
  on(event: "-node", listener: () => void): unknown;
  off(event: "-node", listener: () => void): unknown;
}

const slotsEveryMs = 500;
/** For so long after a node has gone its successor is looked for at every tick. */
const seekingMs = 10_000;
const tickMs = 125;

/**
 * Asks a Cluster for its slots every half second, and four times as often when a node has gone; returns how to stop that. It
 * stands for `slotsRefreshInterval`, after which a process may never end: an answer that comes after `disconnect()` starts
 * the next round (ioredis 5 and 6).
 */
export function refreshSlots(client: SlotsClient): () => void {
  let askedAt = performance.now();
  let goneAt = Number.NEGATIVE_INFINITY;
  const note = (): void => void (goneAt = performance.now());
  const timer = setInterval(() => {
    const now = performance.now();
    if (client.status !== "ready" || (now - goneAt > seekingMs && now - askedAt < slotsEveryMs - tickMs / 2)) return;
    askedAt = now;
    client.refreshSlotsCache();
  }, tickMs);
  timer.unref();
  client.on("-node", note);
  return () => {
    clearInterval(timer);
    client.off("-node", note);
  };
}
