import { clockLua, naturalLua, wholeLua } from "./algorithms.js";
import type { Script } from "./script.js";
import { defineScript } from "./script.js";

/** Blocks a client by hand, in the form that the admitting script reads. KEYS[1]: the record. ARGV[1]: how long, in ms. */
export const blockScript: Script = defineScript(`${clockLua}${wholeLua}
redis.call('SET', KEYS[1], whole(now + tonumber(ARGV[1])) .. ':1:0:0', 'PX', ARGV[1])
return 1
`);

/** Milliseconds until a block ends, 0 if there is none. KEYS[1]: the record. */
export const readBlockScript: Script = defineScript(`${clockLua}${naturalLua}
local value = redis.call('GET', KEYS[1])
local ends = string.match(value or '0:0:0:0', '^(%d+):%d+:%d+:%d+$')
if not ends or not natural(ends) then return redis.error_reply('WRONGTYPE not a block') end
return math.max(0, natural(ends) - now)
`);
