import { clearInterval, setInterval } from "../../lib/real-timers.js";

import type { RedisLike } from "./client.js";
import { connectMasters } from "./cluster-nodes.js";
import { mastersOf } from "./listening-client.js";
import { faultOfError } from "./replies.js";

/** The part of an ioredis client of one server that tells of its connection. */
interface ConnectedClient {
  readonly options: { socketTimeout?: number | undefined };
  /** The commands whose replies are pending. */
  readonly commandQueue?: { readonly length: number };
  readonly stream?: { readonly bytesRead: number; readonly destroyed: boolean; destroy(error: Error): unknown };
}

/** The clients of the nodes of a Cluster. */
interface NodesClient {
  nodes(): readonly object[];
}

/** A connection as it was at the last tick. */
interface Sight {
  readonly bytesRead: number;
  /** Ticks in a row at which replies were pending and nothing had come. */
  readonly silentTicks: number;
}

/** Ticks within the limit. The first one may come just before a command is sent. */
const ticks = 5;

/**
 * Closes every connection of a client that has been silent while replies were pending, in three to five fifths of
 * `limitMs`; also while it is set up, and the connections to the nodes of a Cluster. Returns a function that stops this.
 *
 * It replaces the options `socketTimeout` and `commandTimeout` of ioredis, which set timers for each command and each
 * reply. A process that stood still closes nothing: between two ticks it reads what has come.
 */
export function closeSilent(client: object, limitMs: number): () => void {
  const sights = new WeakMap<object, Sight>();

  function look(node: ConnectedClient): void {
    const { stream, commandQueue } = node;
    if (stream === undefined || stream.destroyed) return;
    if (typeof commandQueue?.length !== "number" || typeof stream.bytesRead !== "number") {
      // Another version of ioredis keeps them elsewhere.
      node.options.socketTimeout ??= limitMs;
      return;
    }
    const { bytesRead } = stream;
    const last = sights.get(stream);
    const isSilent = commandQueue.length > 0 && last?.bytesRead === bytesRead;
    const silentTicks = isSilent ? last.silentTicks + 1 : 0;
    sights.set(stream, { bytesRead, silentTicks });
    if (silentTicks >= ticks - 1) stream.destroy(new Error("Redis has not answered"));
  }

  const timer = setInterval(() => {
    const nodes = "nodes" in client ? (client as NodesClient).nodes() : [client];
    for (const node of nodes) look(node as ConnectedClient);
  }, limitMs / ticks);
  timer.unref();
  return () => clearInterval(timer);
}

export interface AnswerOptions {
  /** Is the client our own? Then its silent connections are closed, and made again. */
  readonly own: boolean;
  readonly deadlineMs: number;
}

/** Do all connections of a client still answer? */
export async function stillAnswers(client: RedisLike, options: AnswerOptions): Promise<boolean> {
  if (client.isCluster === true) await connectMasters(client);
  const nodes = client.isCluster === true ? mastersOf(client) : [client];
  const answers = await Promise.all(nodes.map((node) => nodeAnswers(node, options)));
  return answers.length > 0 && answers.every(Boolean);
}

async function nodeAnswers(node: RedisLike, { own, deadlineMs }: AnswerOptions): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => setImmediate(() => resolve(undefined)), deadlineMs);
  });
  // A refusal is an answer.
  const answer = node.call("PING").then(
    () => true,
    (error: unknown) => faultOfError(error).reply !== undefined,
  );
  const answers = await Promise.race([answer, silence]);
  clearTimeout(timer);
  if (answers === undefined && own)
    (node as Partial<ConnectedClient>).stream?.destroy(new Error("Redis has not answered"));
  return answers === true;
}
