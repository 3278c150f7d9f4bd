// What people write today on Express: express-jwt, a hand-written EXISTS, express-rate-limit for addresses and for users.
// In process (then without revocation across processes) unless BENCH_REDIS_URL names a server.
import express from "express";
import { expressjwt } from "express-jwt";
import { ipKeyGenerator, rateLimit } from "express-rate-limit";
import { Redis } from "ioredis";
import { RedisStore } from "rate-limit-redis";
import { algorithm, answer, audience, issuer, limits, neverReached, secretKey } from "../lib/settings.mjs";
import { serve } from "./serve.mjs";

const url = process.env.BENCH_REDIS_URL;
const redis = url === undefined ? undefined : new Redis(url);
const revoked = new Set();

function limit({ name, windowSeconds }, keyGenerator) {
  return rateLimit({
    windowMs: windowSeconds * 1000,
    limit: neverReached,
    identifier: name,
    standardHeaders: "draft-8",
    legacyHeaders: false,
    keyGenerator,
    store: redis && new RedisStore({ prefix: `rl:${name}:`, sendCommand: (...words) => redis.call(...words) }),
  });
}

async function isRevoked(req, { payload: { jti } }) {
  return redis === undefined ? revoked.has(jti) : (await redis.exists(`auth:revoked:${jti}`)) === 1;
}

const app = express();
app.use(limit(limits.ip, (req) => ipKeyGenerator(req.ip)));
app.use(expressjwt({ secret: secretKey, algorithms: [algorithm], audience, issuer, isRevoked }));
app.use(limit(limits.user, (req) => req.auth.sub));
app.get("/", (req, res) => res.json(answer));
// Express' own handler prints each error.
app.use((error, req, res, next) => (res.headersSent ? next(error) : res.status(error.status ?? 500).end()));
serve(app);
