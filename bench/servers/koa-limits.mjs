// The gate on Koa with the options that BENCH_LIMITS holds as JSON, counting its writes to Redis.
import Koa from "koa";
import { portcullis } from "../../packages/koa/dist/index.js";
import { answer, gateOptions } from "../lib/settings.mjs";
import { countSocketWrites } from "../lib/socket-writes.mjs";
import { serve } from "./serve.mjs";

const { redis, ports, precision, check } = JSON.parse(process.env.BENCH_LIMITS);
const writes = countSocketWrites(ports);
const options = gateOptions(redis);
const gate = portcullis({
  ...options,
  prefix: `bench:${process.pid}:`,
  revocation: { check },
  limits: options.limits.map((limit) => ({ ...limit, precision })),
});
const app = new Koa();
app.use(gate.guard());
app.use((ctx) => {
  ctx.body = answer;
});
serve(app.callback(), () => ({ writes: writes() }));
