// What all targets share: one secret, one shape of token, limits that never trip.
import { createHmac, createSecretKey } from "node:crypto";

export const secret = "bench-secret-".padEnd(64, "0123456789abcdef");
/** jsonwebtoken takes a string for a public key first and throws inside, which doubles the cost of a request. */
export const secretKey = createSecretKey(Buffer.from(secret));
export const issuer = "https://issuer.test";
export const audience = "bench-api";
export const algorithm = "HS256";

export const users = 2000;
export const tokenCount = 2000;

/** High enough that no run reaches it, so that every request is counted and none refused. */
export const neverReached = 1_000_000_000;

/** The same two policies for every target: by address and by user. */
export const limits = {
  ip: { name: "ip", windowSeconds: 60 },
  user: { name: "user", windowSeconds: 3600 },
};

/**
 * The options of the gate, the same in both frameworks.
 *
 * @param {string | object} redis
 * @param {"exact" | "leased"} mode leased: parts of quotas and answers about revocation are held in the process
 */
export function gateOptions(redis, mode = "exact") {
  const isLeased = mode === "leased";
  return {
    redis,
    ...(isLeased && { revocation: { check: "tracked" } }),
    auth: { secret, issuer, audience, algorithms: [algorithm] },
    limits: Object.values(limits).map(({ name, windowSeconds }) => ({
      name,
      per: name,
      limit: neverReached,
      window: `${windowSeconds}s`,
      ...(isLeased && { precision: "leased" }),
    })),
  };
}

/** What a bare framework answers with, so that it writes as many header bytes as the gate. */
export const rateLimitHeaders = {
  "RateLimit-Policy": `"ip";q=${neverReached};w=${limits.ip.windowSeconds}, "user";q=${neverReached};w=${limits.user.windowSeconds}`,
  RateLimit: `"ip";r=${neverReached - 5000};t=42, "user";r=${neverReached - 5000};t=3000`,
};

export const answer = { ok: true };

/** Signs with Node alone: 100,000 tokens take about a second. */
export function signToken({ jti, subject, lifetimeSeconds = 3600, iat = Math.floor(Date.now() / 1000) }) {
  const payload = { iss: issuer, aud: audience, sub: subject, jti, iat, exp: iat + lifetimeSeconds, scope: "read" };
  const input = `${encode({ alg: algorithm, typ: "JWT" })}.${encode(payload)}`;
  return `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`;
}

/** The tokens of a load: so many, of so many users. */
export function signTokens(count = tokenCount, of = users) {
  return Array.from({ length: count }, (_, index) =>
    signToken({ jti: `token-${index}-${process.pid}`, subject: `user-${index % of}` }),
  );
}

/** JSON as base64url, as in a JWT. */
export function encode(value) {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
