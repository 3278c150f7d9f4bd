import { naturalLua, defineScript } from "./lua.js";
import type { Script } from "./lua.js";

/**
 * The divisor of the remaining quota: a process gets one sixteenth at most. Near the limit every request asks the
 * store.
 */
const share = 16;

/**
 * Takes parts of quotas counted in fixed windows for a process. KEYS[i]: a counter. ARGV, for each: `limit, take`.
 * Returns four numbers for each: the granted points (or an error text), the counter, the milliseconds until its window
 * ends, and the time of that end. Without a window nothing is granted: a request begins the window.
 */
export const leaseScript: Script = defineScript(`${naturalLua}
local out, time = {}, redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function take(key, limit, most)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then return value.err, 0, 0 end
  if not value then return 0, 0, 0 end
  local consumed = natural(value)
  if not consumed then return 'WRONGTYPE not a counter', 0, 0 end
  local till, granted = redis.call('PEXPIRETIME', key), 0
  if till > now then granted = math.min(most, math.floor((limit - consumed) / ${share})) end
  if granted > 0 then
    local reply = redis.pcall('INCRBY', key, granted)
    if type(reply) == 'table' then return reply.err, 0, 0 end
    consumed = reply
  end
  return math.max(0, granted), consumed, till
end

for i, key in ipairs(KEYS) do
  local granted, consumed, till = take(key, tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i]))
  out[#out + 1], out[#out + 2], out[#out + 3], out[#out + 4] = granted, consumed, math.max(0, till - now), till
end

return out
`);
