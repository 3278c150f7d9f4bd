// What people write today on Koa: koa-jwt, a hand-written EXISTS, koa-ratelimit for addresses and for users.
// In process (then without revocation across processes) unless BENCH_REDIS_URL names a server.
import { Redis } from "ioredis";
import Koa from "koa";
import jwt from "koa-jwt";
import ratelimit from "koa-ratelimit";
import { algorithm, answer, audience, issuer, limits, neverReached, secretKey } from "../lib/settings.mjs";
import { serve } from "./serve.mjs";

const url = process.env.BENCH_REDIS_URL;
const redis = url === undefined ? undefined : new Redis(url);
const revoked = new Set();

function limit({ name, windowSeconds }, id) {
  return ratelimit({
    driver: redis === undefined ? "memory" : "redis",
    db: redis ?? new Map(),
    duration: windowSeconds * 1000,
    max: neverReached,
    id: (ctx) => `${name}:${id(ctx)}`,
  });
}

async function isRevoked(ctx, { jti }) {
  return redis === undefined ? revoked.has(jti) : (await redis.exists(`auth:revoked:${jti}`)) === 1;
}

const app = new Koa();
app.use(limit(limits.ip, (ctx) => ctx.ip));
app.use(jwt({ secret: secretKey, algorithms: [algorithm], audience, issuer, isRevoked }));
app.use(limit(limits.user, (ctx) => ctx.state.user.sub));
app.use((ctx) => {
  ctx.body = answer;
});
serve(app.callback());
