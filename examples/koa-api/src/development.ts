import type { Middleware } from "koa";
import { sendProblem } from "./answers.js";
import { readJson } from "./body.js";
import type { RedisSwitch } from "./redis-switch.js";
import { route } from "./router.js";

/**
 * What the button "Stop Redis" of the page calls. Only in development: anybody may call it. A page of another origin cannot
 * send JSON without being asked first.
 */
export function developmentRoutes(redis: RedisSwitch): Middleware[] {
  return [
    route("GET", "/development/redis", (ctx) => {
      ctx.set("Cache-Control", "no-store");
      ctx.body = { state: redis.state };
    }),
    route("PUT", "/development/redis", async (ctx) => {
      const { running } = Object(await readJson(ctx, 1024)) as { running?: unknown };
      if (typeof running !== "boolean") return sendProblem(ctx, 400);
      redis.turn(running);
      ctx.body = { state: redis.state };
    }),
  ];
}
