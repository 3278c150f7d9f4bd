import type { Script } from "./script.js";
import { defineScript } from "./script.js";

/** Arguments of one operation, after its name. */
export const cacheArguments = 5;

/**
 * Runs operations of the cache, each on a key and its lease (two KEYS; a third for lease and withdraw: where the withdrawal of
 * this owner is noted). ARGV: the channel on which news is told; then for each operation its name and five arguments:
 *
 * | operation | arguments |
 * |---|---|
 * | set | value, ms, "", message |
 * | del | "", "", "", message |
 * | gen: the generation there, or this one | generation, ms |
 * | renew | generation, ms |
 * | lease | owner, ms, "1" to take it from its owner |
 * | extend | owner, ms |
 * | settle | owner, ms, value or "", message, letter |
 * | withdraw | owner, ms of the note, "", message, letter |
 *
 * A lease is its owner, with a + at the end if somebody waits. A message is completed by a letter (store/cache-store.ts).
 * Returns for each operation a list, or the text of an error. Every call that may fail goes through `pcall`.
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

local k = 0
for i = 1, (#ARGV - 1) / 6 do
  local a = 6 * i - 4
  local name, x, ms, y, message = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  local key, lease, withdrawal = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  k = k + ((name == 'lease' or name == 'withdraw') and 3 or 2)
  if name == 'set' then
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
    local found = text(redis.pcall('GET', key))
    if found and string.match(found, '^[%w_-]+$') and #found <= 16 then
      if redis.call('PTTL', key) < tonumber(ms) / 2 then redis.pcall('PEXPIRE', key, ms) end
      out[i] = { found }
    else
      out[i] = fault(redis.pcall('SET', key, x, 'PX', ms)) or { x }
    end
  elseif name == 'renew' then
    out[i] = fault(redis.pcall('SET', key, x, 'PX', ms)) or { 1 }
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
end
return out
`);
