import { numberedCallLua } from "./numbered-call.js";
import { bucketLua, slidingLua } from "./counting.js";
import { clockLua, errorTextLua, wholeLua, defineScript } from "./lua.js";
import type { Script } from "./lua.js";

/**
 * Corrects counted consumptions, each within the window of its receipt: never below zero, and with the same TTL. After
 * the keys and arguments of `numberedCallLua`, KEYS[i] is a counter. ARGV has five arguments for each counter: `kind,
 * limit, windowMs, by, receipt`. A negative `by` gives back. For concurrency, `receipt` is the slot: `slots` gives it
 * back, `renew` holds it longer, `expire` ends it after `windowMs` at the latest. A slot that was given back or has
 * expired is not held again.
 *
 * Returns OK, or an error text of Redis. The error of an outage takes precedence over the error of one unreadable key.
 */
export function adjustScriptWith(clock: string): Script {
  return defineScript(`${clock}${numberedCallLua}${wholeLua}${slidingLua}${bucketLua}${errorTextLua}
local adjusters = {}

function adjusters.window(key, _, _, by, receipt)
  local consumed = tonumber(redis.call('GET', key) or nil)
  if not consumed or redis.call('PEXPIRETIME', key) ~= tonumber(receipt) or tonumber(receipt) <= now then return end
  local change = math.max(by, -consumed)
  if change ~= 0 then redis.call('INCRBY', key, change) end
end

function adjusters.sliding(key, _, window, by, receipt)
  local size, number = window / 20, tonumber(receipt)
  if number < math.floor(now / size) - 20 then return end
  local parts = readParts(redis.call('GET', key), size)
  addToPart(parts, number, by)
  writeParts(key, parts, window)
end

function adjusters.bucket(key, limit, window, by, receipt)
  local debt = readDebt(redis.call('GET', key), limit)
  if not debt or limit == 0 then return end
  -- What has flowed back since the consumption was there for others, so that it is not given back a second time.
  local back = math.max(0, tonumber(receipt) - now) * limit
  if by < 0 then debt = debt - math.min(-by * window, back, debt) else debt = math.min(debt + by * window, 2 ^ 53 - 1) end
  writeDebt(key, debt, limit)
end

function adjusters.slots(key, _, _, _, slot)
  redis.call('ZREM', key, slot)
end

function adjusters.renew(key, _, window, _, slot)
  local ends = redis.call('ZSCORE', key, slot)
  if not ends or tonumber(ends) <= now then return end
  redis.call('ZADD', key, 'XX', whole(now + window), slot)
  redis.call('PEXPIRE', key, whole(window))
end

function adjusters.expire(key, _, after, _, slot)
  redis.call('ZADD', key, 'XX', 'LT', whole(now + after), slot)
end

local fault
for i, key in ipairs(KEYS) do
  local at = i * 5 - 4
  -- A poisoned key harms itself alone.
  local ok, problem = pcall(adjusters[ARGV[at]], key, tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]),
    tonumber(ARGV[at + 3]), ARGV[at + 4])
  -- What begins otherwise is an error of Lua, and ERR one of a command, about a value that is no count.
  local text = not ok and string.match(textOf(problem), '^%u+ .*$')
  if text and not string.find(text, '^ERR ') and (not fault or string.find(fault, 'WRONGTYPE', 1, true)) then fault = text end
end
return fault or redis.status_reply('OK')
`);
}

export const adjustScript: Script = adjustScriptWith(clockLua);
