import type { Script } from "./script.js";
import { defineScript } from "./script.js";

/**
 * Records a revocation until a time by Redis' own clock. KEYS[1]: the record. ARGV[1]: unix seconds.
 * A token that is dead by then needs no record. A longer life that the record already has is kept.
 */
export const revokeScript: Script = defineScript(`
local now, till = tonumber(redis.call('TIME')[1]), tonumber(ARGV[1])
if till <= now then return 0 end
local ttl = redis.call('TTL', KEYS[1])
if ttl >= 0 and now + ttl >= till then return 1 end
redis.call('SET', KEYS[1], 'revoked', 'EXAT', ARGV[1])
return 1
`);
