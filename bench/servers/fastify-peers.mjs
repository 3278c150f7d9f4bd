// What people write today on Fastify: @fastify/jwt with its cache, a hand-written EXISTS, @fastify/rate-limit on Redis.
// One limit, by user; or two, by address and by user, if BENCH_LIMIT_COUNT is 2.
import jwt from "@fastify/jwt";
import rateLimit from "@fastify/rate-limit";
import fastify from "fastify";
import { Redis } from "ioredis";
import { algorithm, answer, audience, issuer, limits, neverReached, secret } from "../lib/settings.mjs";
import { serve, serverOptions } from "./serve.mjs";

const redis = new Redis(process.env.BENCH_REDIS_URL);
const app = fastify(serverOptions);
await app.register(jwt, {
  secret,
  // The cache of verified tokens holds 1000 by default, fewer than the load has.
  verify: { algorithms: [algorithm], allowedIss: issuer, allowedAud: audience, cache: 10_000 },
});
await app.register(rateLimit, { global: false, redis });

async function authenticate(request, reply) {
  await request.jwtVerify();
  if ((await redis.exists(`auth:revoked:${request.user.jti}`)) === 1) return reply.code(401).send();
}

function options({ name, windowSeconds }, key) {
  return {
    max: neverReached,
    timeWindow: windowSeconds * 1000,
    enableDraftSpec: true,
    keyGenerator: (request) => `${name}:${key(request)}`,
  };
}

// Its handlers run once for a request, so that a second limit goes through its function.
const byAddress = app.createRateLimit(options(limits.ip, (request) => request.ip));
async function limitAddress(request, reply) {
  const { isExceeded } = await byAddress(request);
  if (isExceeded) return reply.code(429).send();
}

const byUser = app.rateLimit(options(limits.user, (request) => request.user.sub));
const onRequest = process.env.BENCH_LIMIT_COUNT === "2" ? [limitAddress, authenticate] : [authenticate];
app.get("/", { onRequest, preHandler: byUser }, async () => answer);
await app.ready();
serve(app.server);
