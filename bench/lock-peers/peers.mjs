// The locks that the gate's are compared with, each as its documentation sets it up, on a connection of its own.
import { Verrou } from "@verrou/core";
import { redisStore } from "@verrou/core/drivers/redis";
import { Redis } from "ioredis";
import redlock from "redlock";

/** The module is CommonJS for Node. */
const Redlock = redlock.default ?? redlock;
const leaseMs = 10_000;

/** @typedef {{ name: string, cycle: (lock: string) => Promise<void>, close: () => unknown }} Contender */

/** @returns {Contender} */
export function openRedlock(url) {
  const client = new Redis(url);
  const locks = new Redlock([client], { retryCount: 0 });
  return {
    name: "redlock",
    async cycle(name) {
      const lock = await locks.acquire([name], leaseMs);
      await lock.release();
    },
    close: () => client.disconnect(),
  };
}

/** @returns {Contender} */
export function openVerrou(url) {
  const client = new Redis(url);
  const verrou = new Verrou({
    default: "redis",
    stores: { redis: { driver: redisStore({ connection: client }) } },
    logger: undefined,
  });
  return {
    name: "@verrou/core",
    async cycle(name) {
      const lock = verrou.createLock(name, leaseMs);
      if (!(await lock.acquireImmediately())) throw new Error("the lock is held");
      await lock.release();
    },
    close: () => client.disconnect(),
  };
}
