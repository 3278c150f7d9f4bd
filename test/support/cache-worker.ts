import { createGate } from "@portcullis/core/adapter";
import type { CacheOptions } from "@portcullis/core";
import { Redis } from "ioredis";
import { silentLogger } from "./logger.js";

/** What a process with a cache of the fleet is told. */
export type CacheCommand =
  | {
      readonly op: "open";
      readonly url: string;
      /** Where makings are counted, if not there. */
      readonly counterUrl?: string;
      readonly prefix: string;
      readonly cache: CacheOptions;
      readonly service?: string;
    }
  | { readonly op: "get"; readonly key: string; readonly namespace?: string }
  | { readonly op: "set"; readonly key: string; readonly value: unknown; readonly namespace?: string }
  | { readonly op: "delete"; readonly key: string }
  | { readonly op: "deleteByTag"; readonly tag: string }
  /** Asks `count` times at once for a value that takes `ms` to make; each making counts under `<prefix>calls`. */
  | {
      readonly op: "obtain";
      readonly key: string;
      readonly count: number;
      readonly ms: number;
      readonly options: object;
    }
  | { readonly op: "close" };

let gate: ReturnType<typeof createGate> | undefined;
let counter: Redis | undefined;
let counted = "";

async function run(command: CacheCommand): Promise<unknown> {
  if (command.op === "open") {
    const { url, counterUrl = url, prefix, cache, service } = command;
    await gate?.close();
    counter?.disconnect();
    counter = new Redis(counterUrl);
    counter.on("error", () => undefined);
    counted = `${prefix}calls`;
    const options = { redis: url, prefix, cache, service, deadline: 1000, logger: silentLogger };
    gate = createGate(options, (check) => check);
    // The nodes of a Cluster are not all there with the first; a read from the store proves that they are.
    for (let round = 0; round < 500; round += 1) {
      const [keys, fresh] = [
        Array.from({ length: 30 }, (_, index) => `warm ${round} ${index}`),
        { ttl: "1m" } as const,
      ];
      await gate.cache.setMany(
        keys.map((key) => [key, 1]),
        fresh,
      );
      if ((await gate.cache.getMany<number>(keys)).every((value) => value === 1)) return undefined;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error("the cache does not work");
  }
  if (gate === undefined) throw new Error("not open");
  const { cache } = gate;
  const within = "namespace" in command ? cache.namespace(command.namespace) : cache;
  switch (command.op) {
    case "get":
      return within.get(command.key);
    case "set":
      return within.set(command.key, command.value, { ttl: "10m", tags: ["t"] });
    case "delete":
      return cache.delete(command.key);
    case "deleteByTag":
      return cache.deleteByTag(command.tag);
    case "obtain": {
      const { key, count, ms, options } = command;
      const make = async (): Promise<unknown> => {
        const call = await counter?.incr(counted);
        await new Promise((resolve) => setTimeout(resolve, ms));
        return { call, pid: process.pid };
      };
      return Promise.all(
        Array.from({ length: count }, async () =>
          cache.getOrSet({ key, ...options }, make).catch((error: unknown) => String(error)),
        ),
      );
    }
    case "close":
      await gate.close();
      counter?.disconnect();
  }
  return undefined;
}

process.on("message", ({ id, command }: { id: number; command: CacheCommand }) => {
  run(command).then(
    (value) => {
      process.send?.({ id, value });
      if (command.op === "close") process.disconnect();
    },
    (error: unknown) => process.send?.({ id, error: String(error) }),
  );
});
