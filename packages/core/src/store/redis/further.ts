import type { Logger } from "../../telemetry/logger.js";
import type { RedisLike } from "./client.js";
import type { Connection } from "./connect.js";
import { connect } from "./connect.js";
import type { ClientOverrides, RedisPlace } from "./topology.js";
import { keyPrefixOf } from "./topology.js";

/** The part of an ioredis client that extensions use. */
export interface FurtherClient {
  call(command: string, ...args: (string | number | Buffer)[]): Promise<unknown>;
  subscribe(...channels: string[]): Promise<unknown>;
  unsubscribe(...channels: string[]): Promise<unknown>;
  on(event: "messageBuffer", listener: (channel: Buffer, message: Buffer) => void): unknown;
  /** The nodes of a Cluster. */
  readonly nodes?: ((role: "master") => Pick<FurtherClient, "call">[]) | undefined;
}

/** One more connection with the settings of the gate. It reconnects without end. */
export interface FurtherConnection {
  readonly client: FurtherClient;
  readonly isCluster: boolean;
  hasConnected(): boolean;
  /** Can commands be sent now? */
  isUp(): boolean;
  /** Calls the listener at each connection. Returns a function that removes the listener. */
  onConnect(listener: () => void): () => void;
  close(): Promise<void>;
}

/** Opens further connections to one Redis. */
export interface OpenFurther {
  /** The key prefix of the client of the user. Further clients do not add it to keys. */
  readonly keyPrefix: string;
  open(kind: "commands" | "waiting"): FurtherConnection;
}

export interface FurtherOptions {
  readonly redis: RedisPlace | RedisLike;
  readonly deadlineMs: number;
  readonly logger: Logger;
}

/** Replies have the form of RESP2, which libraries for ioredis 5 expect. */
const overrides = {
  protocol: 2,
  keyPrefix: "",
  connectionName: "portcullis-extension",
} as const satisfies ClientOverrides;

/** How long a connection may be silent on which commands block: for less than 5 s at a time. */
const waitingSilenceMs = 10_000;

export function openerOf({ redis, deadlineMs, logger }: FurtherOptions): OpenFurther {
  return {
    keyPrefix: "topology" in redis ? "" : keyPrefixOf(redis),
    open(kind) {
      if (!("topology" in redis) && redis.duplicate === undefined)
        throw new TypeError("redis: the client must have duplicate(), as those of ioredis have");
      const silenceMs = kind === "waiting" ? waitingSilenceMs : undefined;
      const connection = connect({ redis, deadlineMs, logger, scripts: [], further: overrides, silenceMs });
      return {
        client: clientOf(connection),
        get isCluster() {
          return connection.isCluster;
        },
        hasConnected: connection.hasConnected,
        isUp: () => connection.isUp(),
        onConnect: (listener) => connection.onConnect(listener),
        close: () => connection.close(),
      };
    },
  };
}

/** The client of a connection, also when the connection replaces it by a client of a Cluster. */
function clientOf(connection: Connection): FurtherClient {
  const listeners: Parameters<FurtherClient["on"]>[1][] = [];
  // Clients of ioredis have these members.
  const current = (): FurtherClient => connection.client as unknown as FurtherClient;
  let listening = current();
  connection.onConnect(() => {
    if (current() === listening) return;
    listening = current();
    for (const listener of listeners) listening.on("messageBuffer", listener);
  });
  return {
    call: (command, ...args) => current().call(command, ...args),
    subscribe: (...channels) => current().subscribe(...channels),
    unsubscribe: (...channels) => current().unsubscribe(...channels),
    on(event, listener) {
      listeners.push(listener);
      return current().on(event, listener);
    },
    get nodes() {
      const client = current();
      return connection.isCluster ? (role: "master") => client.nodes?.(role) ?? [] : undefined;
    },
  };
}
