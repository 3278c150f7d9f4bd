import type { Script } from "./script.js";
import { defineScript } from "./script.js";

/**
 * Moves a cut-off to now by Redis' own clock, never back. KEYS[1]: the cut-off. ARGV[1]: how long it is kept, in seconds.
 * ARGV[2]: an earlier time, to repeat a cut-off, or "". Returns the cut-off in unix seconds.
 */
export const cutOffScript: Script = defineScript(`
local at = tonumber(redis.call('TIME')[1])
if ARGV[2] ~= '' and tonumber(ARGV[2]) < at then at = tonumber(ARGV[2]) end
local known = tonumber(redis.call('GET', KEYS[1]) or 0)
if known and known > at then at = known end
redis.call('SET', KEYS[1], string.format('%.0f', at), 'EX', ARGV[1])
return at
`);
