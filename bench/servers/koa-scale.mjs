// The gate on Koa with as many limits as BENCH_SCALE says, by user and by address in turn.
import Koa from "koa";
import { portcullis } from "../../packages/koa/dist/index.js";
import { answer, gateOptions, neverReached } from "../lib/settings.mjs";
import { serve } from "./serve.mjs";

const { redis, policies, mode } = JSON.parse(process.env.BENCH_SCALE);
const gate = portcullis({
  ...gateOptions(redis, mode),
  limits: Array.from({ length: policies }, (_, index) => ({
    name: `p${index + 1}`,
    per: index % 2 === 0 ? "user" : "ip",
    limit: neverReached,
    window: "1h",
    ...(mode === "leased" && { precision: "leased" }),
  })),
});
const app = new Koa();
app.use(gate.guard());
app.use((ctx) => {
  ctx.body = answer;
});
serve(app.callback(), () => ({ rss: process.memoryUsage().rss }));
