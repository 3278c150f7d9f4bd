import { jwtVerify } from "jose";
import { algorithm, audience, issuer, limits, neverReached, secretKey } from "./settings.mjs";

/** The options of the guard by hand: the same secret and the same two limits as in every other row. */
export function floorOptions(redis) {
  const limitOf = ({ windowSeconds }) => ({ limit: neverReached, windowMs: windowSeconds * 1000 });
  return {
    redis,
    mode: process.env.BENCH_MODE,
    limits: { ip: limitOf(limits.ip), user: limitOf(limits.user) },
    async verify(token) {
      const { payload } = await jwtVerify(token, secretKey, { issuer, audience, algorithms: [algorithm] });
      return payload;
    },
  };
}
