// The gate on Koa; in process unless BENCH_REDIS_URL names a server.
import Koa from "koa";
import { portcullis } from "../../packages/koa/dist/index.js";
import { answer, gateOptions } from "../lib/settings.mjs";
import { serve } from "./serve.mjs";

const gate = portcullis(gateOptions(process.env.BENCH_REDIS_URL ?? "memory", process.env.BENCH_MODE));
const app = new Koa();
app.use(gate.guard());
app.use((ctx) => {
  ctx.body = answer;
});
serve(app.callback());
