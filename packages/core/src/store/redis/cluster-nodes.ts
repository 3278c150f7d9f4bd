import type { RedisLike } from "./client.js";
import { textIn } from "./replies.js";
import { clearInterval, clearTimeout, monotonicNow, setInterval, setTimeout } from "../../lib/real-timers.js";

/**
 * Is the server a node of a Cluster that tells where the slots are? False if it does not say, or names no host: a client
 * of a Cluster cannot work then, but one of a single server can where the server, or a proxy, serves all keys.
 */
export async function isClusterNode(client: RedisLike): Promise<boolean> {
  const info = textIn(await client.call("INFO", "cluster").catch(() => undefined));
  if (info === undefined || !/^cluster_enabled:1/m.test(info)) return false;
  const ranges = await client.call("CLUSTER", "SLOTS").catch(() => undefined);
  return Array.isArray(ranges) && (ranges.length === 0 || ranges.some(namesHost));
}

/** Does a range of slots name the host of its master? A node that knows no other one may not know its own. */
function namesHost(range: unknown): boolean {
  const master: unknown = Array.isArray(range) ? range[2] : undefined;
  return Array.isArray(master) && !["", "?", undefined].includes(textIn(master[0]));
}

/** The ioredis client of one node of a Cluster. */
interface NodeClient {
  readonly status: string;
  connect(): Promise<unknown>;
  once(event: "ready" | "end", listener: () => void): unknown;
  off(event: "ready" | "end", listener: () => void): unknown;
}

/** Timeout of the connection to one master, so that a missing node does not delay the others. */
const masterTimeoutMs = 1000;

/**
 * Connects to the masters of a Cluster. Resolves when they are connected, or after a second. Otherwise ioredis would
 * connect to a node at its first command, and fail all other commands until then (with `enableOfflineQueue: false`):
 * the first requests and the examination would fail.
 */
export async function connectMasters(client: object): Promise<void> {
  if (!("nodes" in client) || typeof client.nodes !== "function") return;
  await Promise.all((client.nodes as (role: "master") => NodeClient[])("master").map(connected));
}

/** Nodes that are waited for. Gates that share a client share these listeners too. */
const pending = new WeakMap<NodeClient, Promise<void>>();

async function connected(node: NodeClient): Promise<void> {
  if (node.status === "ready") return;
  const known = pending.get(node);
  if (known !== undefined) return known;
  const connecting = new Promise<void>((resolve) => {
    const timer = setTimeout(done, masterTimeoutMs);
    function done(): void {
      clearTimeout(timer);
      pending.delete(node);
      node.off("ready", done);
      node.off("end", done);
      resolve();
    }
    node.once("ready", done);
    node.once("end", done);
    if (node.status === "wait") node.connect().catch(done);
  });
  pending.set(node, connecting);
  return connecting;
}

/** The part of a Cluster client that refreshes its slots. */
interface SlotsClient {
  readonly status: string;
  refreshSlotsCache(callback?: (error?: Error | null) => void): void;
  on(event: "-node", listener: () => void): unknown;
  off(event: "-node", listener: () => void): unknown;
}

const slotsEveryMs = 500;
/** How long after the loss of a node its successor is searched for at every tick. */
const seekingMs = 10_000;
const tickMs = 125;

/**
 * Refreshes the slots of a Cluster every half second, and four times as often after the loss of a node. Returns a
 * function that stops this. It replaces the option `slotsRefreshInterval`, with which a process may never end: in
 * ioredis 5 and 6, an answer after `disconnect()` starts the next refresh.
 */
export function refreshSlots(client: SlotsClient, onError: (error: Error) => void = () => undefined): () => void {
  let askedAt = monotonicNow();
  let goneAt = Number.NEGATIVE_INFINITY;
  const note = (): void => void (goneAt = monotonicNow());
  const timer = setInterval(() => {
    const now = monotonicNow();
    if (client.status !== "ready" || (now - goneAt > seekingMs && now - askedAt < slotsEveryMs - tickMs / 2)) return;
    askedAt = now;
    client.refreshSlotsCache((error) => {
      if (error instanceof Error) onError(error);
    });
  }, tickMs);
  timer.unref();
  client.on("-node", note);
  return () => {
    clearInterval(timer);
    client.off("-node", note);
  };
}
