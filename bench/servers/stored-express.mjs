// A stored response on Express, by BENCH_STORED: "alone", "gate", "gate-store" (nothing in process), "peer" or "hand".
import express from "express";
import { Redis } from "ioredis";
import { portcullis } from "../../packages/express/dist/index.js";
import { gateOptions } from "../lib/settings.mjs";
import { body, cacheControl, openByHand, otherFields } from "../lib/stored-values.mjs";
import { openApicache } from "../response-peers/peers.mjs";
import { serve } from "./serve.mjs";

const { BENCH_STORED: what, BENCH_REDIS_URL: url } = process.env;
const app = express();
const client = url === undefined || what.startsWith("gate") ? undefined : new Redis(url);
let made = 0;

function handle(_req, res) {
  made += 1;
  res.set("Cache-Control", cacheControl);
  res.json(body);
}

if (what === "alone") {
  app.get("/", (_req, res) => {
    res.set(otherFields);
    res.json(body);
  });
} else if (what === "hand") {
  const read = await openByHand(client);
  app.get("/", async (_req, res) => {
    const stored = await read();
    for (const name in stored.fields) res.setHeader(name, stored.fields[name]);
    res.end(stored.body);
  });
} else if (what === "peer") {
  app.get("/", openApicache(client), handle);
} else {
  const gate = portcullis({ ...gateOptions(url ?? "memory"), responses: what === "gate" ? {} : { local: false } });
  app.get("/", gate.cacheResponse(), handle);
}
serve(app, () => ({ made }));
