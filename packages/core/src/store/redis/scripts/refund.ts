import type { Script } from "./script.js";
import { defineScript } from "./script.js";

/** Takes back what was counted: only while the counter lives, never below zero, keeping its TTL. KEYS[i], ARGV[i]: cost. */
export const refundScript: Script = defineScript(`
for i, key in ipairs(KEYS) do
  local consumed, cost = tonumber(redis.pcall('GET', key) or nil), tonumber(ARGV[i])
  if consumed then redis.pcall('DECRBY', key, math.min(consumed, cost)) end
end
return redis.status_reply('OK')
`);
