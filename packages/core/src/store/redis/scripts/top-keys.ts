import type { Script } from "./script.js";
import { defineScript } from "./script.js";

const minuteLua = `
local time = redis.call('TIME')
local minute = math.floor(time[1] / 60)
`;

/**
 * Adds to what was asked for in this minute. KEYS: the sorted sets of even and of odd minutes; each expires when the
 * next minute of its kind begins. ARGV: how many members are kept, then points and member in turn.
 */
export const addTopKeysScript: Script = defineScript(`${minuteLua}
local key = KEYS[minute % 2 + 1]
for i = 2, #ARGV, 2 do redis.call('ZINCRBY', key, ARGV[i], ARGV[i + 1]) end
redis.call('ZREMRANGEBYRANK', key, 0, -ARGV[1] - 1)
redis.call('PEXPIREAT', key, string.format('%.0f', (minute + 2) * 60000))
return 1
`);

/** What was asked for in this minute and the one before. KEYS: as above. ARGV[1]: how many. Returns members and points in turn. */
export const readTopKeysScript: Script = defineScript(`
local all, out = redis.call('ZUNION', 2, KEYS[1], KEYS[2], 'WITHSCORES'), {}
for i = #all - 1, 1, -2 do
  if #out >= 2 * ARGV[1] then break end
  out[#out + 1], out[#out + 2] = all[i], all[i + 1]
end
return out
`);
