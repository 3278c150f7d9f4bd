import { StoreFault } from "../ports.js";
import type { Connection, RedisLike } from "./connect.js";
import { faultOfError } from "./faults.js";
import type { Script } from "./scripts/script.js";
import { runScript } from "./scripts/script.js";

/** How long replicas may take. */
const patienceMs = 1000;

/**
 * Writes that wait for replicas (WAIT), on a connection of their own: a connection that waits answers nobody else. It is made
 * when it is first needed.
 */
export class ReplicatedWriter {
  readonly #connection: Connection;
  #client: WaitingClient | undefined;
  /** One write after the other: WAIT counts for everything its connection has written before. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Rejects with a StoreFault if fewer replicas have it in time; the master then has it all the same. */
  async write(
    script: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
    replicas: number,
  ): Promise<void> {
    if (this.#connection.isCluster) throw new TypeError("replicas cannot be waited for in a Cluster");
    const turn = this.#last.then(() => this.#write(script, keys, args, replicas));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  close(): void {
    this.#client?.disconnect();
  }

  async #write(
    script: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
    replicas: number,
  ): Promise<void> {
    let reached: unknown;
    try {
      const client = await this.#open();
      await runScript(client, script, keys, args);
      reached = await client.call("WAIT", replicas, patienceMs);
    } catch (error) {
      throw faultOfError(error);
    }
    if (Number(reached) < replicas) throw new StoreFault("refused", "NOREPLICAS");
  }

  async #open(): Promise<WaitingClient> {
    if (this.#client === undefined) {
      const client = this.#connection.client.duplicate?.(waitingOptions) as WaitingClient | undefined;
      if (client === undefined) throw new StoreFault("unreachable");
      this.#client = client;
      this.#client.on("error", () => undefined);
    }
    if (this.#client.status === "wait" || this.#client.status === "end") await this.#client.connect();
    return this.#client;
  }
}

interface WaitingClient extends RedisLike {
  connect(): Promise<unknown>;
  disconnect(): void;
}

const waitingOptions = {
  lazyConnect: true,
  connectionName: "portcullis-wait",
  commandTimeout: patienceMs + 500,
  socketTimeout: undefined,
  // Nobody waits for it to come back: the next write that needs it connects anew.
  retryStrategy: () => null,
};
