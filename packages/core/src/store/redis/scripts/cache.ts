import type { Script } from "./lua.js";
import { defineScript } from "./lua.js";

/** Arguments of one operation, after its name; keep has more. */
export const cacheArguments = 5;

/**
 * Runs operations of the cache. An operation has two KEYS, the key of an entry and the key of its lease; `gen` and
 * `renew` have one, the key of a generation; `lease` and `withdraw` have a third, the note that this owner has withdrawn.
 * ARGV: the channel of the events; then the name and five arguments of each operation:
 *
 * | operation | effect | arguments |
 * |---|---|---|
 * | set | stores an entry | value, ms, "", message |
 * | del | deletes an entry | "", "", "", message |
 * | gen | returns the generation, and creates it if it is missing | generation, ms |
 * | renew | replaces a generation; a longer TTL stays; tells other processes where there was one | generation, ms, "", message |
 * | lease | takes a lease | owner, ms, "1" to take it from another owner |
 * | extend | extends a lease | owner, ms |
 * | settle | ends a lease | owner, ms, value or "", message, letter |
 * | withdraw | gives a lease up | owner, ms of the note, "", message, letter |
 *
 * `keep` stores a response. Its KEYS are those of the claims, then those of the entries. Its arguments are the number of
 * claims, the number of entries, the minimum TTL of the generations in ms, and the time in Unix ms after which no
 * generation is created; then for each claim its generation, and "1" if the key had none; then for each entry its value,
 * its TTL in ms, and "1" if an equal stored value keeps a longer TTL. It stores the entries if every claim names the
 * current generation. It returns the generation of each claim.
 *
 * The value of a lease is its owner, with a + at the end if a process waits. The script adds a letter to a message
 * (store/ports/cache.ts). Returns a list or an error text for each operation. Every call that may fail goes through
 * `pcall`.
 */
export const cacheScript: Script = defineScript(`
local out, channel = {}, ARGV[1]

local function text(reply)
  return type(reply) == 'string' and reply or false
end
local function fault(reply)
  return type(reply) == 'table' and reply.err
end
local function tell(message, letter)
  redis.pcall('PUBLISH', channel, message .. letter)
end
local function awaited(holder)
  return holder and string.sub(holder, -1) == '+'
end
local function generation(key)
  local found = text(redis.pcall('GET', key))
  return found and #found <= 16 and string.match(found, '^[%w_-]+$') and found or false
end
local function life(key)
  local left = redis.pcall('PTTL', key)
  return type(left) == 'number' and left or -2
end

-- Its answer, and how many arguments and keys it has, its name among them. It reads all, and only then writes.
local function keep(a, k)
  local claims, entries, ms, last = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), ARGV[a + 3], tonumber(ARGV[a + 4])
  local arguments, keys = 5 + 2 * claims + 3 * entries, claims + entries
  local found, granted, missing = {}, true, false
  for c = 1, claims do
    local named, new = ARGV[a + 3 + 2 * c], ARGV[a + 4 + 2 * c] == '1'
    found[c] = generation(KEYS[k + c]) or ''
    if found[c] == '' and new then missing = true
    elseif found[c] ~= named then granted = false end
  end
  if granted and missing then
    local time = redis.call('TIME')
    granted = time[1] * 1000 + time[2] / 1000 <= last
  end
  if not granted then return found, arguments, keys end
  local failure = false
  for c = 1, claims do
    local key, named = KEYS[k + c], ARGV[a + 3 + 2 * c]
    if found[c] == '' then failure = failure or fault(redis.pcall('SET', key, named, 'PX', ms))
    elseif life(key) < tonumber(ms) then failure = failure or fault(redis.pcall('PEXPIRE', key, ms)) end
    found[c] = named
  end
  for e = 1, entries do
    local key, at = KEYS[k + claims + e], a + 2 + 2 * claims + 3 * e
    local value, own = ARGV[at], ARGV[at + 1]
    local longer = ARGV[at + 2] == '1' and redis.pcall('GET', key) == value and life(key) > tonumber(own)
    if not longer then failure = failure or fault(redis.pcall('SET', key, value, 'PX', own)) end
  end
  return failure or found, arguments, keys
end

local keysOf = { gen = 1, renew = 1, lease = 3, withdraw = 3 }
local i, a, k = 0, 2, 0
while ARGV[a] do
  i = i + 1
  local name, x, ms, y, message = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  local key, lease, withdrawal = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local arguments, keys = 6, keysOf[name] or 2
  if name == 'keep' then
    out[i], arguments, keys = keep(a, k)
  elseif name == 'set' then
    local holder = text(redis.pcall('GET', lease))
    if holder then redis.pcall('DEL', lease) end
    local reply = redis.pcall('SET', key, x, 'PX', ms)
    if awaited(holder) then tell(message, 'f') end
    out[i] = fault(reply) or { 1 }
  elseif name == 'del' then
    local reply = redis.pcall('DEL', key, lease)
    if not fault(reply) then tell(message, 'd') end
    out[i] = fault(reply) or { 1 }
  elseif name == 'gen' then
    local found = generation(key)
    if found then
      if life(key) < tonumber(ms) / 2 then redis.pcall('PEXPIRE', key, ms) end
      out[i] = { found }
    else
      out[i] = fault(redis.pcall('SET', key, x, 'PX', ms)) or { x }
    end
  elseif name == 'renew' then
    local left = life(key)
    local failure = fault(redis.pcall('SET', key, x, 'PX', left > tonumber(ms) and left or ms))
    -- Without a generation there is no entry that another process could keep.
    if left ~= -2 and not failure then tell(message, 'd') end
    out[i] = failure or { 1 }
  elseif name == 'lease' then
    local holder, value = text(redis.pcall('GET', lease)), text(redis.pcall('GET', key)) or ''
    local left = holder and redis.call('PTTL', lease) or 0
    if redis.pcall('EXISTS', withdrawal) == 1 then
      -- Nobody waits for this answer any more.
      out[i] = { 1, value }
    elseif left > 0 and y ~= '1' then
      if not awaited(holder) then redis.pcall('SET', lease, holder .. '+', 'KEEPTTL') end
      out[i] = { left, value }
    else
      out[i] = fault(redis.pcall('SET', lease, x .. (awaited(holder) and '+' or ''), 'PX', ms)) or { 0, value }
    end
  else
    local holder = text(redis.pcall('GET', lease))
    if holder ~= x and holder ~= x .. '+' then
      out[i] = name == 'withdraw' and fault(redis.pcall('SET', withdrawal, '1', 'PX', ms)) or { 0 }
    elseif name == 'extend' then
      out[i] = fault(redis.pcall('PEXPIRE', lease, ms)) or { 1 }
    else
      local letter, failure = ARGV[a + 5], false
      if letter == 'f' then failure = fault(redis.pcall('SET', key, y, 'PX', ms)) end
      redis.pcall('DEL', lease)
      if awaited(holder) then tell(message, failure and 'n' or letter) end
      out[i] = failure or { 1 }
    end
  end
  a, k = a + arguments, k + keys
end
return out
`);
