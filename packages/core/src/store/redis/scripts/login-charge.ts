import { naturalLua } from "./algorithms.js";
import { undoableLua } from "./once.js";
import type { Script } from "./script.js";
import { defineScript } from "./script.js";

/**
 * Admits an attempt to sign in, or refuses it, and counts it everywhere or nowhere (see `AttemptQuestion`).
 *
 * After what `undoableLua` reads, ARGV: the limit and the window in ms of the address; those of the pair, and the spelling of
 * the account; those of the account, the pace in ms or "", and how many counters the account has. A limit is "" if there is
 * none. KEYS, as far as there are limits: the address; the pair, the pardon; the counters of the account, the known place, the
 * pace. In a Cluster the address is asked apart, since it is in another slot.
 *
 * A pair is a hash: `n` attempts, since `s`, until `u` (ms), `l` times used up, `b` for blocked, and for each spelling how
 * many of the attempts are its own, as `x:<spelling>`. The pace holds the time of the attempt that it let pass. The others are
 * plain counters. An attempt that is counted leaves a note for `loginSettleScript`, by which it is taken back if its reply is
 * lost: when it began and ended to be counted, and 1 or 0 for: by the account.
 *
 * Returns who refuses ("" for nobody), ms until the next attempt, and 1 or 0 for: exhausted, counted by the account. An error
 * text in their place if something could not be read or written.
 */
export const loginChargeScript: Script = defineScript(`${undoableLua}${naturalLua}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
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
