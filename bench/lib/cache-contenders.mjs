// The cache of the gate beside the others.
import { Redis } from "ioredis";
import { openBentocache, openCacheManager, openCacheable, openDedupe, openVariants } from "../cache-peers/peers.mjs";
import { ttlMs, valueOf } from "./cache-values.mjs";
import { FakeExchange, createBareGate } from "./checks.mjs";

/**
 * One cache: `local` reads from its tier in process (of two tiers: there first), `remote` from Redis and nowhere else, `make`
 * is its getOrSet on both tiers. `seed` puts the values there.
 *
 * @typedef {{ name: string, tiers?: 2, local?: (key: string) => Promise<unknown>, remote?: (key: string) => Promise<unknown>,
 *   make?: (key: string, factory: () => Promise<unknown>) => Promise<unknown>, seed(keys: readonly string[]): Promise<void>,
 *   memo?: (key: string) => Promise<unknown>, close(): Promise<void> }} Contender
 */

const logger = { debug: () => undefined, warn: () => undefined };

/** @returns {Promise<Contender>} */
async function openPortcullis(redis, prefix) {
  const local = createBareGate({ redis, prefix, logger, cache: { ttl: ttlMs, local: { ttl: ttlMs } } });
  const remote = createBareGate({ redis, prefix, logger, cache: { ttl: ttlMs, local: false } });
  const request = new FakeExchange();
  await local.requestCache()(request);
  const { cache } = request.state.facts;
  return {
    name: "Portcullis",
    tiers: 2,
    local: (key) => local.cache.get(key),
    remote: (key) => remote.cache.get(key),
    memo: (key) => cache.get(key),
    make: (key, factory) => local.cache.getOrSet({ key }, factory),
    async seed(keys) {
      for (const key of keys) await local.cache.set(key, valueOf(key));
    },
    close: async () => void (await Promise.all([local.close(), remote.close()])),
  };
}

/**
 * What a hit in Redis cannot go below on ioredis: one MGET for all readers of a turn and JSON.parse, without checking,
 * ageing, emptying, a deadline or anything else.
 */
async function openBare(redis, prefix) {
  const client = new Redis(redis);
  let readers = [];
  async function flush() {
    const together = readers;
    readers = [];
    const texts = await client.mget(...together.map(({ key }) => prefix + key));
    for (const [index, { resolve }] of together.entries()) resolve(JSON.parse(texts[index]));
  }
  return {
    name: "MGET and JSON.parse by hand",
    remote: (key) =>
      new Promise((resolve) => {
        if (readers.push({ key, resolve }) === 1) setImmediate(flush);
      }),
    async seed(keys) {
      for (const key of keys) await client.set(prefix + key, JSON.stringify(valueOf(key)));
    },
    close: async () => client.disconnect(),
  };
}

const openers = [openPortcullis, openBentocache, openCacheable, openCacheManager, openDedupe, openBare];

/** All of them, on one Redis, each with keys of its own. @returns {Promise<Contender[]>} */
export async function openContenders(redis, run) {
  const contenders = [];
  for (const [index, open] of openers.entries()) contenders.push(await open(redis, `bench${run}-${index}:`));
  return [...contenders, ...openVariants()];
}
