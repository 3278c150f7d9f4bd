import type { Redis } from "ioredis";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";

/**
 * What becomes of a script call: it arrives, it never does, or it runs and its answer does not come, or is late; or something
 * on the way answers in its place, with an error of its own words or with nothing.
 */
export type Fate = "pass" | "lose request" | "lose reply" | "delay reply" | "answer an error" | "answer nothing";

/** A connection to a real Redis on which script calls have the fates of a list, and pass after it. */
export interface FlakyConnection {
  readonly connection: Connection;
  /** Script calls as they were sent. */
  readonly sent: (string | number)[][];
  fates: Fate[];
  up: boolean;
  /** Replies that were delayed arrive. */
  arrive(): void;
  /** A connection is made anew. */
  reconnect(): void;
}

export function openFlaky(client: Redis, isCluster = false): FlakyConnection {
  const listeners = new Set<() => void>();
  const sent: (string | number)[][] = [];
  let arrive: () => void = () => undefined;
  const delay = new Promise<void>((resolve) => (arrive = resolve));

  type Send = (command: string, ...words: (string | number)[]) => Promise<unknown>;
  const call: Send = async (command, ...words) => send((...all) => client.call(...all), command, words);
  const callBuffer: Send = async (command, ...words) => send((...all) => client.callBuffer(...all), command, words);
  const evalshaBuffer = async (...words: string[]): Promise<unknown> => callBuffer("EVALSHA", ...words);
  const evalBuffer = async (...words: string[]): Promise<unknown> => callBuffer("EVAL", ...words);

  async function send(pass: Send, command: string, words: (string | number)[]): Promise<unknown> {
    if (!command.startsWith("EVAL")) return pass(command, ...words);
    sent.push([command, ...words]);
    const fate = flaky.fates.shift() ?? "pass";
    if (fate === "lose request") throw new Error("Connection is closed.");
    if (fate === "answer an error") throw Object.assign(new Error("ERR upstream failure"), { name: "ReplyError" });
    if (fate === "answer nothing") return null;
    let reply: unknown;
    try {
      reply = await pass(command, ...words);
    } catch (error) {
      // The text follows the digest, as a part of the same call.
      if (error instanceof Error && error.message.startsWith("NOSCRIPT") && fate !== "pass") flaky.fates.unshift(fate);
      throw error;
    }
    if (fate === "delay reply") await delay;
    if (fate === "lose reply") throw new Error("Connection is closed.");
    return reply;
  }

  const flaky: FlakyConnection = {
    sent,
    fates: [],
    up: true,
    arrive: () => arrive(),
    reconnect: () => listeners.forEach((listener) => listener()),
    connection: {
      client: { status: "ready", call, evalshaBuffer, evalBuffer } as unknown as RedisLike,
      isCluster,
      unsafeOptions: [],
      hasConnected: () => true,
      isUp: () => flaky.up,
      onConnect(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      leaveReplica: () => undefined,
      close: () => Promise.resolve(),
    },
  };
  return flaky;
}
