// The guard by hand on Koa: what the work itself costs. Its file is not part of this repository.
import { Redis } from "ioredis";
import Koa from "koa";
import { answer } from "../lib/settings.mjs";
import { floorOptions } from "../lib/floor-options.mjs";
import { serve } from "./serve.mjs";

const { koaFloor } = await import(process.env.BENCH_FLOOR);
const app = new Koa();
app.use(koaFloor(floorOptions(new Redis(process.env.BENCH_REDIS_URL))));
app.use((ctx) => {
  ctx.body = answer;
});
serve(app.callback());
