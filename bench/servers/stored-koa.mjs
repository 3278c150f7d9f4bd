// A stored response on Koa, by BENCH_STORED: "alone", "gate", "gate-store" (nothing in process), "peer" or "hand".
import { Redis } from "ioredis";
import Koa from "koa";
import { portcullis } from "../../packages/koa/dist/index.js";
import { gateOptions } from "../lib/settings.mjs";
import { body, cacheControl, openByHand, otherFields } from "../lib/stored-values.mjs";
import { openKoaCash } from "../response-peers/peers.mjs";
import { serve } from "./serve.mjs";

const { BENCH_STORED: what, BENCH_REDIS_URL: url } = process.env;
const app = new Koa();
let made = 0;
const client = url === undefined || what.startsWith("gate") ? undefined : new Redis(url);

if (what === "alone") {
  app.use((ctx) => {
    ctx.set(otherFields);
    ctx.set("ETag", 'W/"b-Ai2R8hgEarLmHKwesT1qcY913ys"');
    ctx.body = body;
  });
} else if (what === "hand") {
  const read = await openByHand(client);
  app.use(async (ctx) => {
    const stored = await read();
    ctx.set(stored.fields);
    ctx.body = stored.body;
  });
} else if (what === "peer") {
  const { middleware, handle } = openKoaCash(client, () => (made += 1));
  app.use(middleware);
  app.use(handle);
} else {
  const gate = portcullis({ ...gateOptions(url ?? "memory"), responses: what === "gate" ? {} : { local: false } });
  app.use(gate.cacheResponse());
  app.use((ctx) => {
    made += 1;
    ctx.set("Cache-Control", cacheControl);
    ctx.body = body;
  });
}
serve(app.callback(), () => ({ made }));
