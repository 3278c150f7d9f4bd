import { Router, json } from "express";
import { sendProblem } from "./answers.js";
import type { RedisSwitch } from "./redis-switch.js";

/**
 * What the button "Stop Redis" of the page calls. Only in development: anybody may call it. A page of another origin cannot
 * send JSON without being asked first.
 */
export function developmentRoutes(redis: RedisSwitch): Router {
  const router = Router();

  router.get("/development/redis", (req, res) => {
    res.set("Cache-Control", "no-store").json({ state: redis.state });
  });

  router.put("/development/redis", json({ limit: 1024 }), (req, res) => {
    const { running } = Object(req.body) as { running?: unknown };
    if (typeof running !== "boolean") return sendProblem(res, 400);
    redis.turn(running);
    res.json({ state: redis.state });
  });

  return router;
}
