import { naturalLua } from "./algorithms.js";
import type { Script } from "./script.js";
import { defineScript } from "./script.js";

/**
 * Admits an attempt to sign in, or refuses it, and counts it everywhere or nowhere (see `AttemptQuestion`).
 *
 * ARGV: the limit and the window in ms of the address, of the pair and of the account, each limit "" if there is none; then
 * the pace in ms, or "". KEYS, as far as there are limits: the address; the pair, the pardon; the account, the known place,
 * the pace. In a Cluster the address is asked apart, since it is in another slot.
 *
 * A pair is a hash: `n` attempts, since `s`, until `u` (ms), `l` times used up, `b` for blocked. The others are plain counters.
 *
 * Returns who refuses ("" for nobody), ms until the next attempt, and 1 or 0 for: exhausted, counted by the account. An error
 * text in their place if something could not be read or written.
 */
export const loginChargeScript: Script = defineScript(`${naturalLua}
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

local addressLimit, pairLimit, accountLimit = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[5])
local address, addressCount, pair, tries, account, accountCount, pace, known
local exhausted = false

if addressLimit then
  address = key()
  local left
  addressCount, left = peek(address, tonumber(ARGV[2]))
  if not fault and addressCount >= addressLimit then return { 'address', left, 0, 0 } end
end

if pairLimit then
  pair = key()
  local pardoned = try('GET', key())
  tries = try('HMGET', pair, 'n', 's', 'u')
  if fault then return fault end
  local tried, since, untilMs = number(tries[1]), number(tries[2]), number(tries[3])
  tries = { fresh = untilMs <= now, forget = pardoned and since <= number(pardoned) }
  if fault then return fault end
  if not tries.fresh and not tries.forget and tried >= pairLimit then return { 'pair', untilMs - now, 0, 0 } end
end

if accountLimit then
  account, known, pace = key(), try('EXISTS', key()) == 1, key()
  if not known then
    local left
    accountCount, left = peek(account, tonumber(ARGV[6]))
    exhausted = accountCount >= accountLimit
    if exhausted and ARGV[7] ~= '' then
      local wait = redis.call('PTTL', pace)
      if wait > 0 then return { 'account', wait, 1, 0 } end
    end
  end
end

if fault then return fault end
if address then count(address, addressCount, ARGV[2]) end
if pair then
  if tries.forget then try('DEL', pair) end
  if tries.fresh or tries.forget then
    try('HSET', pair, 'n', 1, 's', now, 'u', now + tonumber(ARGV[4]), 'b', 0)
    if redis.call('PTTL', pair) < tonumber(ARGV[4]) then redis.call('PEXPIRE', pair, ARGV[4]) end
  else
    try('HINCRBY', pair, 'n', 1)
  end
end
if account and not known then
  count(account, accountCount, ARGV[6])
  if exhausted and ARGV[7] ~= '' then try('SET', pace, 1, 'PX', ARGV[7]) end
end
if fault then return fault end
return { '', 0, exhausted and 1 or 0, account and not known and 1 or 0 }
`);
