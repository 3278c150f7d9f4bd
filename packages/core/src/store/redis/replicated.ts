import { StoreFault } from "../ports/decisions.js";
import type { Connection } from "./connect.js";
import type { RedisLike } from "./client.js";
import { faultOfError, readInteger } from "./replies.js";
import type { Script } from "./scripts/script.js";
import { runScript } from "./scripts/script.js";

/** How long replicas may take. */
const replicaTimeoutMs = 1000;
/** How long a write may wait for those before it. */
const queueTimeoutMs = 2000;

/**
 * Writes that wait for replicas (WAIT), on a connection of their own: a connection that waits answers nobody else. It is made
 * when it is first needed.
 */
export class ReplicatedWriter {
  readonly #connection: Connection;
  readonly #stopListening: () => void;
  #client: WaitingClient | undefined;
  /** One write after the other: WAIT counts for everything its connection has written before. */
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;
  /** Was its connection made before the last that the gate made? The write that is under way may end on it. */
  #isOutdated = false;

  constructor(connection: Connection) {
    this.#connection = connection;
    // The master may be another one now, which the connection that waits would not notice.
    this.#stopListening = connection.onConnect(() => (this.#isOutdated = true));
  }

  /** Rejects with a StoreFault if fewer replicas have it in time; the master then has it all the same. */
  async write(
    script: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
    replicas: number,
  ): Promise<void> {
    if (this.#connection.isCluster) throw new TypeError("replicas cannot be waited for in a Cluster");
    const dueAt = performance.now() + queueTimeoutMs;
    const turn = this.#last.then(() => {
      // Those before it have waited in vain.
      if (performance.now() > dueAt) throw new StoreFault("timeout");
      return this.#write(script, keys, args, replicas);
    });
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
      // It may be silent for as long as TCP hopes, while another master serves.
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

  /** The next write makes another. */
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
  commandTimeout: replicaTimeoutMs + 500,
  socketTimeout: undefined,
  // Nobody waits for it to come back: the next write that needs it connects anew.
  retryStrategy: () => null,
};
