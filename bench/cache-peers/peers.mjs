// The caches that the gate's is compared with, each as its documentation sets it up, kindly.
import { createKeyv } from "@keyv/redis";
import { createCache as createDedupe } from "async-cache-dedupe";
import { BentoCache, bentostore } from "bentocache";
import { memoryDriver } from "bentocache/drivers/memory";
import { redisDriver } from "bentocache/drivers/redis";
import { createCache } from "cache-manager";
import { Cacheable, createKeyv as createMemory } from "cacheable";
import { Redis } from "ioredis";
import { mostEntries, ttlMs, valueOf } from "../lib/cache-values.mjs";

/** @typedef {import("../lib/cache-contenders.mjs").Contender} Contender */

/** Values are serialized in process too, so that no reader can change them for the others. @returns {Promise<Contender>} */
export async function openBentocache(redis, prefix) {
  const connection = new Redis(redis);
  const memory = memoryDriver({ maxItems: mostEntries });
  const bento = new BentoCache({
    default: "both",
    prefix,
    ttl: ttlMs,
    stores: {
      both: bentostore().useL1Layer(memory).useL2Layer(redisDriver({ connection })),
      remote: bentostore().useL2Layer(redisDriver({ connection })),
    },
  });
  const remote = bento.use("remote");
  return {
    name: "bentocache",
    tiers: 2,
    local: (key) => bento.get({ key }),
    remote: (key) => remote.get({ key }),
    make: (key, factory) => bento.getOrSet({ key, factory }),
    async seed(keys) {
      for (const key of keys) await bento.set({ key, value: valueOf(key) });
    },
    async close() {
      await bento.disconnectAll();
      connection.disconnect();
    },
  };
}

/** @returns {Promise<Contender>} */
export async function openCacheable(redis, namespace) {
  const [shared, alone] = [createKeyv(redis, { namespace }), createKeyv(redis, { namespace })];
  const both = new Cacheable({ primary: createMemory({ lruSize: mostEntries }), secondary: shared, ttl: ttlMs });
  const remote = new Cacheable({ primary: alone, ttl: ttlMs });
  return {
    name: "cacheable",
    tiers: 2,
    local: (key) => both.get(key),
    remote: (key) => remote.get(key),
    make: (key, factory) => both.getOrSet(key, factory),
    async seed(keys) {
      for (const key of keys) await both.set(key, valueOf(key));
    },
    close: async () => void (await Promise.all([shared.disconnect(), alone.disconnect()])),
  };
}

/** @returns {Promise<Contender>} */
export async function openCacheManager(redis, namespace) {
  const [shared, alone] = [createKeyv(redis, { namespace }), createKeyv(redis, { namespace })];
  const both = createCache({ stores: [createMemory({ lruSize: mostEntries }), shared], ttl: ttlMs });
  const remote = createCache({ stores: [alone], ttl: ttlMs });
  return {
    name: "cache-manager",
    tiers: 2,
    local: (key) => both.get(key),
    remote: (key) => remote.get(key),
    make: (key, factory) => both.wrap(key, factory),
    async seed(keys) {
      for (const key of keys) await both.set(key, valueOf(key));
    },
    close: async () => void (await Promise.all([shared.disconnect(), alone.disconnect()])),
  };
}

/** It has one storage at a time, and calls functions that were defined before. @returns {Promise<Contender>} */
export async function openDedupe(redis, prefix) {
  const client = new Redis(redis, { keyPrefix: prefix });
  const memory = createDedupe({ ttl: ttlMs / 1000, storage: { type: "memory", options: { size: mostEntries } } });
  const remote = createDedupe({ ttl: ttlMs / 1000, storage: { type: "redis", options: { client } } });
  const factories = new Map();
  memory.define("read", (key) => Promise.resolve(valueOf(key)));
  remote.define("read", (key) => Promise.resolve(valueOf(key)));
  remote.define("make", (key) => factories.get(key)());
  return {
    name: "async-cache-dedupe",
    local: (key) => memory.read(key),
    remote: (key) => remote.read(key),
    make(key, factory) {
      factories.set(key, factory);
      return remote.make(key);
    },
    async seed(keys) {
      for (const key of keys) await Promise.all([memory.read(key), remote.read(key)]);
    },
    close: async () => client.disconnect(),
  };
}

/**
 * Variants of which only hits in process are worth a look: values that all readers share and anybody may change, and a Map
 * without bounds.
 *
 * @returns {Contender[]}
 */
export function openVariants() {
  const memory = memoryDriver({ maxItems: mostEntries, serialize: false });
  const bento = new BentoCache({ default: "own", ttl: ttlMs, stores: { own: bentostore().useL1Layer(memory) } });
  const map = createCache({ ttl: ttlMs });
  return [
    {
      name: "bentocache, serialize: false, no Redis",
      local: (key) => bento.get({ key }),
      async seed(keys) {
        for (const key of keys) await bento.set({ key, value: valueOf(key) });
      },
      close: () => bento.disconnectAll(),
    },
    {
      name: "cache-manager, unbounded Map, no Redis",
      local: (key) => map.get(key),
      async seed(keys) {
        for (const key of keys) await map.set(key, valueOf(key));
      },
      close: () => Promise.resolve(),
    },
  ];
}
