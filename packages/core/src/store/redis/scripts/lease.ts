import { naturalLua } from "./algorithms.js";
import type { Script } from "./script.js";
import { defineScript } from "./script.js";

/** A process is granted at most this part of what remains: with little left nobody hoards it, and every request asks. */
const share = 16;

/**
 * Changes the parts that a process holds of quotas counted in fixed windows. KEYS[i]: a counter. ARGV, for each:
 * `limit, take, giveBack, windowEnd`. Returns four numbers for each: what is granted (or an error text), the counter, the
 * milliseconds until its window ends, and when that is. Points go back only into the window they came from, and without a
 * window there is nothing to take: a request begins it.
 */
export const leaseScript: Script = defineScript(`${naturalLua}
local out, time = {}, redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function change(key, limit, take, back, ends)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then return value.err, 0, 0 end
  if not value then return 0, 0, 0 end
  local consumed = natural(value)
  if not consumed then return 'WRONGTYPE not a counter', 0, 0 end
  local till, granted = redis.call('PEXPIRETIME', key), 0
  if back > 0 and till == ends then
    local reply = redis.pcall('DECRBY', key, math.min(back, consumed))
    if type(reply) == 'table' then return reply.err, 0, 0 end
    consumed = reply
  end
  if till > now then granted = math.min(take, math.floor((limit - consumed) / ${share})) end
  if granted > 0 then
    local reply = redis.pcall('INCRBY', key, granted)
    if type(reply) == 'table' then return reply.err, 0, 0 end
    consumed = reply
  end
  return math.max(0, granted), consumed, till
end

for i, key in ipairs(KEYS) do
  local at = 4 * i - 3
  local granted, consumed, till =
    change(key, tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]))
  out[#out + 1], out[#out + 2], out[#out + 3], out[#out + 4] = granted, consumed, math.max(0, till - now), till
end

return out
`);
