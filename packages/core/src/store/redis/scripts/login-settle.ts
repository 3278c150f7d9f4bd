import { onceLua } from "./once.js";
import type { Script } from "./script.js";
import { defineScript } from "./script.js";

/**
 * What becomes of attempts to sign in: one operation for each key. After what `onceLua` reads, ARGV, for each key: the
 * operation and four arguments. An operation that comes late, since it failed at first, leaves alone what began after it; one
 * that undoes an attempt whose reply was lost, what began after the attempt.
 *
 * - `clear` forgets a counter, or a pair.
 * - `refund windowMs` takes one attempt back from a counter, `refund-account windowMs` from one of an account, if it has counted
 *   the attempt that is undone, `refund-pair spelling` from a pair, unless the attempts of the spelling were forgotten: keeping
 *   its TTL, or nothing at all if that was its only attempt, since whoever gets each attempt back could fill Redis with names.
 * - `release-pace` lets an exhausted account be tried again, if the pace is that of the attempt that is undone.
 * - `forgive spelling` takes back what a spelling has counted in a pair, and forgets the pair if nothing is left.
 * - `block limit windowMs longestMs memoryMs`: a pair whose attempts are used up is blocked for its window, then twice as long
 *   each time.
 * - `fail ms` counts a failure for other services: its TTL starts with the first and is healed if it is missing.
 * - `note ms` writes the time under a key: of a known place, of a pardon.
 *
 * Returns OK, or the text of the first error.
 */
export const loginSettleScript: Script = defineScript(`${onceLua}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fault = nil
local began, ended, byAccount = string.match(note or '', '^(%d+):(%d+):(%d)$')
if ended then age = now - tonumber(ended) end

local function try(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    fault = fault or reply.err
    return nil
  end
  return reply
end

-- Was this pair tried before the operation?
local function isOld(key)
  if age == 0 then return true end
  local since = tonumber(try('HGET', key, 's') or nil)
  return since and since <= now - age
end

local function block(key, limit, window, longest, memory)
  local state = try('HMGET', key, 'n', 'u', 'l', 'b')
  if not state or not isOld(key) then return end
  local count, untilMs, level = tonumber(state[1]) or 0, tonumber(state[2]) or 0, tonumber(state[3]) or 0
  if count < limit or untilMs <= now or state[4] == '1' then return end
  local ms = math.min(longest, window * 2 ^ math.min(level, 30))
  if try('HSET', key, 'u', string.format('%.0f', now + ms), 'l', level + 1, 'b', 1) then
    redis.call('PEXPIRE', key, string.format('%.0f', math.max(ms, memory)))
  end
end

local function take(key, spelling)
  local field = 'x:' .. spelling
  local state = try('HMGET', key, 'n', field, 'l')
  if not state then return end
  local count, tried = tonumber(state[1]) or 0, tonumber(state[2]) or 0
  if tried == 0 then return end
  if count <= 1 and (tonumber(state[3]) or 0) == 0 then
    try('DEL', key)
    return
  end
  if count > 0 then try('HINCRBY', key, 'n', -1) end
  if tried > 1 then try('HINCRBY', key, field, -1) else try('HDEL', key, field) end
end

local function refund(key, window)
  local count = tonumber(try('GET', key) or nil)
  local isSame = age == 0 or redis.call('PTTL', key) <= window - age
  if count and count > 0 and isSame then try(count > 1 and 'DECR' or 'DEL', key) end
end

local function forgive(key, spelling)
  local field = 'x:' .. spelling
  local state = try('HMGET', key, 'n', field)
  if not state then return end
  local count, tried = tonumber(state[1]) or 0, tonumber(state[2]) or 0
  if count <= tried then
    try('DEL', key)
  elseif try('HSET', key, 'n', count - tried) then
    redis.pcall('HDEL', key, field)
  end
end

for i, key in ipairs(KEYS) do
  local first = 5 * i - 4
  local operation, a, b = ARGV[first], ARGV[first + 1], ARGV[first + 2]
  if operation == 'clear' then
    if isOld(key) then try('DEL', key) end
  elseif operation == 'refund' then
    refund(key, tonumber(a))
  elseif operation == 'refund-account' then
    if byAccount ~= '0' then refund(key, tonumber(a)) end
  elseif operation == 'refund-pair' then
    if isOld(key) then take(key, a) end
  elseif operation == 'release-pace' then
    if began and try('GET', key) == began then try('DEL', key) end
  elseif operation == 'forgive' then
    if isOld(key) then forgive(key, a) end
  elseif operation == 'block' then
    block(key, tonumber(a), tonumber(b), tonumber(ARGV[first + 3]), tonumber(ARGV[first + 4]))
  elseif operation == 'fail' then
    if try('INCR', key) and redis.call('TTL', key) < 0 then redis.call('PEXPIRE', key, a) end
  elseif operation == 'note' then
    try('SET', key, string.format('%.0f', now), 'PX', a)
  end
end
return fault or redis.status_reply('OK')
`);
