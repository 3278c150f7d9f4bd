import { clockLua, naturalLua, defineScript } from "./lua.js";
import { undoableCallLua, numberedCallLua } from "./numbered-call.js";
import type { Script } from "./lua.js";

/**
 * Admits or refuses an attempt to sign in. An admitted attempt counts in all counters, a refused one in none (see
 * `AttemptQuestion`).
 *
 * ARGV after those of `undoableCallLua`: limit and window in ms of the address; limit and window of account and address
 * together ("the pair"), and the spelling of the account; limit and window of the account, its minimum interval in ms or
 * "", and the number of its counters. A missing limit is "". KEYS of the limits that are not missing: the address; the
 * pair and its reset; the counters of the account, the known address, the interval. In a Cluster the address has a call of
 * its own, since it is in another slot.
 *
 * The pair is a hash: `n` attempts, since `s`, until `u` (ms), exhausted `l` times, `b` for blocked, and the number of
 * attempts of each spelling as `x:<spelling>`. The key of the interval contains the time of the last attempt that was
 * admitted by it. The other keys are plain counters. A counted attempt leaves a note, by which `loginSettleScript` takes
 * it back if its reply is lost: the time before and after it was counted, and 1 if the account counted it, 0 otherwise.
 *
 * Returns the limit that refuses ("" if none does), the ms until the next attempt, 1 or 0 for an exhausted account, and 1
 * or 0 for an attempt that the account counted; or an error text.
 */
export const loginChargeScript: Script = defineScript(`${undoableCallLua}${naturalLua}${clockLua}
local at, fault = 0, nil

local function key()
  at = at + 1
  return KEYS[at]
end

local function try(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then fault = fault or reply.err end
  return reply
end

local function peek(name, window)
  local value = try('GET', name)
  if fault or not value then return 0, 0 end
  if not natural(value) then
    fault = 'WRONGTYPE not a counter'
    return 0, 0
  end
  local left = redis.call('PTTL', name)
  if left < 0 then
    try('PEXPIRE', name, window)
    left = window
  end
  return natural(value), left
end

local function number(value)
  if not value then return 0 end
  if not natural(value) then fault = fault or 'WRONGTYPE not an attempt' end
  return natural(value) or 0
end

local function count(name, known, window)
  if known > 0 then try('INCR', name) else try('SET', name, 1, 'PX', window) end
end

local addressLimit, pairLimit, accountLimit = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[6])
local address, addressCount, pair, pardoned, tries, pace, known
local counters = {}
local exhausted = false

if addressLimit then
  address = key()
  local left
  addressCount, left = peek(address, tonumber(ARGV[2]))
  if not fault and addressCount >= addressLimit then return { 'address', left, 0, 0 } end
end

if pairLimit then
  pair = key()
  pardoned = try('GET', key())
  tries = try('HMGET', pair, 'n', 's', 'u', 'l')
  if fault then return fault end
  local tried, since, untilMs = number(tries[1]), number(tries[2]), number(tries[3])
  pardoned = pardoned and number(pardoned)
  tries = { fresh = untilMs <= now, forget = pardoned and since <= pardoned, level = number(tries[4]) }
  if fault then return fault end
  if not tries.fresh and not tries.forget and tried >= pairLimit then return { 'pair', untilMs - now, 0, 0 } end
end

if accountLimit then
  local window = tonumber(ARGV[7])
  for i = 1, tonumber(ARGV[9]) do counters[i] = { name = key() } end
  known, pace = try('EXISTS', key()) == 1, key()
  if not known then
    for _, counter in ipairs(counters) do
      local left
      counter.count, left = peek(counter.name, window)
      if pardoned and now - window + left <= pardoned then counter.count = 0 end
      exhausted = exhausted or counter.count >= accountLimit
    end
    if exhausted and ARGV[8] ~= '' then
      local wait = redis.call('PTTL', pace)
      if wait > 0 then return { 'account', wait, 1, 0 } end
    end
  end
end

if fault then return fault end
local problem = takeNumber()
if problem then return problem end
local counted = accountLimit and not known and 1 or 0
local stamp = string.format('%.0f', now)
if address then count(address, addressCount, ARGV[2]) end
if pair then
  local spelling = 'x:' .. ARGV[5]
  if tries.fresh or tries.forget then
    -- How often it was used up outlives its window, but no pardon.
    local level, left = tries.level, math.max(redis.call('PTTL', pair), tonumber(ARGV[4]))
    if tries.forget then level, left = 0, ARGV[4] end
    try('DEL', pair)
    try('HSET', pair, 'n', 1, 's', now, 'u', now + tonumber(ARGV[4]), 'b', 0, 'l', level, spelling, 1)
    redis.call('PEXPIRE', pair, left)
  else
    try('HINCRBY', pair, 'n', 1)
    try('HINCRBY', pair, spelling, 1)
  end
end
if counted == 1 then
  for _, counter in ipairs(counters) do count(counter.name, counter.count, ARGV[7]) end
  if exhausted and ARGV[8] ~= '' then try('SET', pace, stamp, 'PX', ARGV[8]) end
end
-- The clock goes on while a script runs: no window that this attempt has begun is younger than its note.
time = redis.call('TIME')
leaveNote(string.format('%s:%.0f:%d', stamp, time[1] * 1000 + math.floor(time[2] / 1000), counted))
if fault then return fault end
return { '', 0, exhausted and 1 or 0, counted }
`);

/**
 * Reads counters of attempts, and writes nothing. KEYS: the time of the last reset, the interval, the counters of an account,
 * then those of the pair and of the known address if there is an address. ARGV: the number of counters, their window in ms.
 * Returns the attempts in the fullest counter and the ms until its window ends, the ms until an exhausted account may be tried
 * again; with an address also the attempts of the pair, the ms until its window or block ends, and 1 for a known address.
 */
export const readAccountScript: Script = defineScript(`${naturalLua}${clockLua}
local function number(value)
  if not value then return 0 end
  return natural(value) or error({ err = 'WRONGTYPE not an attempt' })
end

local reset, count, window = redis.call('GET', KEYS[1]), tonumber(ARGV[1]), tonumber(ARGV[2])
reset = reset and number(reset)
local fullest, left = 0, 0
for i = 3, count + 2 do
  local attempts, ends = number(redis.call('GET', KEYS[i])), redis.call('PTTL', KEYS[i])
  local isVoid = reset and now - window + ends <= reset
  if attempts > fullest and not isVoid then fullest, left = attempts, math.max(0, ends) end
end
local out = { fullest, left, math.max(0, redis.call('PTTL', KEYS[2])) }
if #KEYS > count + 2 then
  local state = redis.call('HMGET', KEYS[count + 3], 'n', 's', 'u')
  local attempts, since, ends = number(state[1]), number(state[2]), number(state[3])
  if ends <= now or (reset and since <= reset) then attempts, ends = 0, now end
  out[4], out[5], out[6] = attempts, ends - now, redis.call('EXISTS', KEYS[count + 4])
end
return out
`);

/** Returns the attempts in a counter, and the ms until its window ends. KEYS[1]: the counter. It writes nothing. */
export const readAddressScript: Script = defineScript(`${naturalLua}
local value = redis.call('GET', KEYS[1])
if value and not natural(value) then return redis.error_reply('WRONGTYPE not a counter') end
return { value and natural(value) or 0, math.max(0, redis.call('PTTL', KEYS[1])) }
`);

/**
 * Records the results of attempts to sign in: one operation for each key. ARGV after those of `numberedCallLua`: for each
 * key the operation and four arguments. An operation that arrives late, after a failed attempt of the call, does not change
 * counts that began after the call. An operation that undoes an attempt whose reply was lost does not change counts that
 * began after the attempt.
 *
 * - `clear` deletes a counter or a pair.
 * - `refund windowMs` takes one attempt back from a counter; `refund-account windowMs` from a counter of an account, if it
 *   has counted the attempt; `refund-pair spelling` from a pair, unless the attempts of the spelling were reset. The TTL
 *   stays. A key without another attempt is deleted: otherwise a client whose attempts are taken back could fill Redis with
 *   names.
 * - `release-pace` lets an exhausted account be tried again, if the interval is that of the undone attempt.
 * - `forgive spelling` takes the attempts of a spelling back from a pair, and deletes a pair without other attempts.
 * - `block limit windowMs longestMs memoryMs` blocks an exhausted pair for its window, and twice as long each further time.
 * - `fail ms` counts a failure for other services: its TTL starts with the first failure, and is set again if it is missing.
 * - `note ms` writes the time under the key of a known address or of a reset.
 *
 * Returns OK, or the text of the first error.
 */
export const loginSettleScript: Script = defineScript(`${numberedCallLua}${clockLua}
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
