import { blockLua, bucketLua, peekLua, slidingLua } from "./counting.js";
import type { Script } from "./lua.js";
import { clockLua, defineScript, wholeLua } from "./lua.js";

/**
 * Reads a counter as `decideScript` does, and writes nothing: its writes are replaced by a function without an effect. KEYS:
 * the counter, and the block of the client if the consumption has one. ARGV: the terms of the consumption as `decideScript`
 * takes them, with the kind also for a plain fixed window. Returns the state that a request gets now: what is consumed with the
 * request (-2 for a blocked client) or an error text, and the ms until more is available.
 */
export const inspectCounterScript: Script = defineScript(`
local tonumber, type, match = tonumber, type, string.match
local reads = { GET = true, ZCOUNT = true }
local call = redis.call
local function pcall(command, ...)
  return reads[command] and redis.pcall(command, ...) or nil
end
${clockLua}${wholeLua}${slidingLua}${bucketLua}${peekLua}${blockLua}
local peekers = { window = peekWindow, sliding = peekSliding, bucket = peekBucket, slots = peekSlots }
local kind = ARGV[1]
local consumption = { key = KEYS[1], limit = tonumber(ARGV[2]), window = tonumber(ARGV[3]), cost = tonumber(ARGV[4]),
  after = tonumber(ARGV[7]), consumed = 0, reset = 0 }
consumption.extra = kind == 'bucket' and tonumber(ARGV[5]) or ARGV[5]
if consumption.after then
  local first = tonumber(ARGV[8])
  consumption.blockKey, consumption.first = KEYS[2], math.abs(first)
  consumption.extends, consumption.longest = first < 0, tonumber(ARGV[9])
  peekBlock(consumption)
end
if not consumption.blocked and not consumption.fault then peekers[kind](consumption) end
if consumption.refused and consumption.after and consumption.after > 0 then
  if not consumption.blocked then strike(consumption) elseif consumption.extends then extend(consumption) end
end
if consumption.fault then return { consumption.fault, 0 } end
if consumption.blocked then return { -2, consumption.reset } end
-- With the request, whether it is counted or refused.
return { consumption.consumed + consumption.cost, consumption.reset }
`);
