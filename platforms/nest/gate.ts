import { portcullis } from "@portcullis/express";

export const gate = portcullis({
  redis: process.env.REDIS_URL,
  // The machine of the check may be busy.
  deadline: "2s",
  auth: { secret: process.env.JWT_SECRET, algorithms: ["HS256"], audience: "orders-api" },
  limits: [{ name: "ip", per: "ip", limit: 300, window: "1m" }],
});
