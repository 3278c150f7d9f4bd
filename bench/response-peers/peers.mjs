// The caches of responses that Portcullis is compared with, as their documentation sets them up.
import apicache from "apicache";
import cash from "koa-cash";
import { body, lifetimeSeconds } from "../lib/stored-values.mjs";

/** In process, or with a client of Redis. It asks the client whether it is connected, which ioredis calls its status. */
export function openApicache(redis) {
  if (redis !== undefined) redis.connected = true;
  return apicache
    .newInstance(redis === undefined ? {} : { redisClient: redis })
    .middleware(`${lifetimeSeconds} seconds`);
}

/**
 * Its store is two functions: here a Map without bounds, or one key of Redis for each response. `onMade` is called when the
 * handler makes a response.
 */
export function openKoaCash(redis, onMade) {
  const map = new Map();
  const maxAge = lifetimeSeconds * 1000;
  const store =
    redis === undefined
      ? { get: (key) => map.get(key), set: (key, value) => void map.set(key, value) }
      : {
          get: async (key) => JSON.parse((await redis.get(`cash:${key}`)) ?? "null"),
          set: (key, value) => redis.set(`cash:${key}`, JSON.stringify(value), "PX", maxAge),
        };
  const middleware = cash({ maxAge, ...store });
  const handle = async (ctx) => {
    if (await ctx.cashed()) return;
    onMade();
    ctx.set("Cache-Control", `max-age=${lifetimeSeconds}`);
    ctx.body = body;
  };
  return { middleware, handle };
}
