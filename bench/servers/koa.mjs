// Koa alone: what every ratio of a Koa target is against.
import Koa from "koa";
import { answer, rateLimitHeaders } from "../lib/settings.mjs";
import { serve } from "./serve.mjs";

const app = new Koa();
app.use((ctx) => {
  ctx.set(rateLimitHeaders);
  ctx.body = answer;
});
serve(app.callback());
