import { StoreFault } from "../ports/fault.js";
import type { Connection } from "./connect.js";
import { maxWaiting } from "./connection-wait.js";
import type { RedisLike } from "./client.js";
import { faultOfError, readInteger } from "./replies.js";
import type { Script } from "./scripts/lua.js";
import { runScript } from "./run-script.js";
import { monotonicNow } from "../../lib/real-timers.js";

/** Timeout of the replicas. */
const replicaTimeoutMs = 1000;
/** How long a write may wait for earlier writes. */
const queueTimeoutMs = 2000;

/**
 * Writes that wait for replicas (WAIT), on a connection of their own, since WAIT blocks the connection. The connection
 * is made at the first write.
 */
export class ReplicatedWriter {
  readonly #connection: Connection;
  readonly #stopListening: () => void;
  #client: WaitingClient | undefined;
  /** The last write. Writes run one after the other, since WAIT covers all earlier writes of its connection. */
  #last: Promise<unknown> = Promise.resolve();
  /** The number of writes that have not ended. */
  #size = 0;
  #closed = false;
  /** Is the connection older than the last connection of the gate? A write in progress may end on it. */
  #isOutdated = false;

  constructor(connection: Connection) {
    this.#connection = connection;
    // There may be another master now, which this connection would not notice.
    this.#stopListening = connection.onConnect(() => (this.#isOutdated = true));
  }

  /**
   * Rejects with a StoreFault if too few replicas have the write in time. The master has it all the same, unless too many
   * writes wait ("overloaded").
   */
  async write(
    script: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
    replicas: number,
  ): Promise<void> {
    if (this.#connection.isCluster) throw new TypeError("replicas cannot be waited for in a Cluster");
    if (this.#size >= maxWaiting) throw new StoreFault("overloaded");
    this.#size += 1;
    const dueAt = monotonicNow() + queueTimeoutMs;
    const turn = this.#last
      .then(() => {
        // Earlier writes have timed out.
        if (monotonicNow() > dueAt) throw new StoreFault("timeout");
        return this.#write(script, keys, args, replicas);
      })
      .finally(() => (this.#size -= 1));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  close(): void {
    this.#closed = true;
    this.#stopListening();
    this.#drop();
  }

  async #write(
    script: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
    replicas: number,
  ): Promise<void> {
    let reached: number;
    try {
      const client = await this.#open();
      readInteger(await runScript(client, script, keys, args));
      reached = readInteger(await client.call("WAIT", replicas, replicaTimeoutMs));
    } catch (error) {
      const fault = faultOfError(error);
      this.#connection.unreadable?.("revocation", fault);
      // The connection may stay silent until TCP gives up, while another master serves.
      if (fault.reply === undefined) this.#drop();
      throw fault;
    }
    if (reached < replicas) throw new StoreFault("refused", "NOREPLICAS");
  }

  async #open(): Promise<WaitingClient> {
    if (this.#isOutdated || this.#client?.status === "end") this.#drop();
    this.#isOutdated = false;
    const client = this.#closed ? undefined : (this.#client ?? this.#create());
    if (client === undefined) throw new StoreFault("unreachable");
    this.#client = client;
    if (client.status === "wait") await client.connect();
    if (this.#client !== client) {
      client.disconnect();
      throw new StoreFault("unreachable");
    }
    return client;
  }

  #create(): WaitingClient | undefined {
    const client = this.#connection.client.duplicate?.(waitingOptions) as WaitingClient | undefined;
    client?.on("error", () => undefined);
    return client;
  }

  /** Drops the connection. The next write makes a new one. */
  #drop(): void {
    this.#client?.disconnect();
    this.#client = undefined;
  }
}

interface WaitingClient extends RedisLike {
  connect(): Promise<unknown>;
  disconnect(): void;
}

const waitingOptions = {
  lazyConnect: true,
  connectionName: "portcullis-wait",
  // The client of an application may have ten seconds, and all writes wait for the first.
  connectTimeout: replicaTimeoutMs,
  commandTimeout: replicaTimeoutMs + 500,
  socketTimeout: undefined,
  // No automatic reconnection: the next write connects anew.
  retryStrategy: () => null,
};
