// Fastify alone.
import fastify from "fastify";
import { answer, rateLimitHeaders } from "../lib/settings.mjs";
import { serve, serverOptions } from "./serve.mjs";

const app = fastify(serverOptions);
app.get("/", async (request, reply) => {
  reply.headers(rateLimitHeaders);
  return answer;
});
await app.ready();
serve(app.server);
