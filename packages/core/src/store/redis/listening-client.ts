import type { RedisLike } from "./client.js";

/** A connection that listens to one master. */
export interface ListeningNode {
  readonly client: ListeningClient;
  /** The client of the same server for calls. */
  master: RedisLike;
  /** Since when the connection is being made. */
  since: number;
  /** Why the connection could not be made. */
  reason: string | undefined;
  /** The connection is closing, so that another one is made. */
  leaving: boolean;
  /** Redis knows the prefixes of the time; one more prefix needs a new connection. */
  tracks: boolean;
  /** The connection has subscribed to the channels of the time. */
  listens: boolean;
  armed: boolean;
  /** Redis refuses to tell of changes on this connection. */
  isRefused: boolean;
  /** When the connection was made. */
  connectedAt: number | undefined;
  /** When the last answered ping was sent. */
  provenAt: number;
  /** When the pending ping was sent. */
  askedAt: number | undefined;
}

/**
 * Makes a new connection. Further calls do nothing until the old one has closed: ioredis would add a listener for each
 * call, and a Cluster that loses nodes calls many times at once.
 */
export function renew(node: ListeningNode): void {
  if (node.leaving || !["connecting", "connect", "ready"].includes(node.client.status)) return;
  node.leaving = true;
  node.client.disconnect(true);
}

type Unarmed = Pick<
  ListeningNode,
  "tracks" | "listens" | "armed" | "isRefused" | "connectedAt" | "provenAt" | "askedAt"
>;

export const disarmed: Readonly<Unarmed> = {
  tracks: false,
  listens: false,
  armed: false,
  isRefused: false,
  connectedAt: undefined,
  provenAt: Number.NEGATIVE_INFINITY,
  askedAt: undefined,
};

export function mastersOf(client: RedisLike): RedisLike[] {
  return (client as unknown as { nodes(role: "master"): RedisLike[] }).nodes("master");
}

export function addressOf(node: RedisLike): string {
  const { host, port } = (node as unknown as { options: { host?: string; port?: number } }).options;
  return `${host ?? ""}:${port ?? 0}`;
}

/** The part of an ioredis client that Tracking uses. */
export interface ListeningClient {
  readonly status: string;
  connect(): Promise<unknown>;
  disconnect(reconnect?: boolean): void;
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
  subscribe(...channels: string[]): Promise<unknown>;
  unsubscribe(...channels: string[]): Promise<unknown>;
  on(event: string, listener: (...values: never[]) => void): unknown;
}

/** The heartbeat takes the place of socket timeouts: a subscriber without messages may still be well connected. */
export const listenerOptions: object = {
  protocol: 2,
  lazyConnect: true,
  connectionName: "portcullis-tracking",
  keyPrefix: "",
  readOnly: false,
  enableOfflineQueue: false,
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  commandTimeout: undefined,
  socketTimeout: undefined,
  connectTimeout: 1000,
  disconnectTimeout: 500,
  retryStrategy: (attempt: number): number => Math.random() * Math.min(1000, 50 * 2 ** Math.min(attempt, 5)) + 25,
};
