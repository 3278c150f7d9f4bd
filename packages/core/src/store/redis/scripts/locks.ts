import type { Script } from "./lua.js";
import { defineScript } from "./lua.js";

/**
 * Takes locks, all or none. KEYS: the note of the withdrawal, then a lock and its fence for each name. ARGV: owner, ms of
 * the lease, ms of the fence, "1" if the caller waits. Returns `1, fence`, or `0, ms` while another owner holds a lock.
 * All locks get the same fence. A lock holds its owner, with a + at the end if somebody waits for it. A lock without an
 * end, which only foreign commands can make, gets an end.
 *
 * The locks of every request run through it, so it defines no functions. MGET reads a value of another type as none, and
 * NX then keeps it.
 */
export const takeLocksScript: Script = defineScript(`
local found = redis.call('MGET', unpack(KEYS))
if found[1] then return { 0, 0 } end
local owner, lease, keep = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local fence, free = time[1] * 1000000 + time[2], true
for i = 2, #KEYS, 2 do
  local holder, stored = found[i], found[i + 1]
  if holder and holder ~= owner and holder ~= owner .. '+' then free = false end
  if stored then
    local last = #stored <= 16 and string.find(stored, '^%d+$') and tonumber(stored)
    if not last or last >= 2 ^ 53 - 1 then return redis.error_reply('WRONGTYPE not a fence') end
    if last >= fence then fence = last + 1 end
  end
end
if not free then
  local wait = 1
  for i = 2, #KEYS, 2 do
    local key, holder = KEYS[i], found[i]
    if holder and holder ~= owner and holder ~= owner .. '+' then
      local left, reply = redis.call('PTTL', key), false
      if left < 0 then
        reply, left = redis.pcall('PEXPIRE', key, lease), tonumber(lease)
        if type(reply) == 'table' then return reply end
      end
      if ARGV[4] == '1' and string.sub(holder, -1) ~= '+' then
        reply = redis.pcall('SET', key, holder .. '+', 'XX', 'KEEPTTL')
        if reply and reply.err then return reply end
      end
      wait = math.max(wait, left)
    end
  end
  return { 0, wait }
end
local text = string.format('%.0f', fence)
for i = 2, #KEYS, 2 do
  local reply = redis.pcall('SET', KEYS[i + 1], text, 'PX', keep, found[i + 1] and 'XX' or 'NX')
  if reply and not reply.err then
    reply = redis.pcall('SET', KEYS[i], owner, 'PX', lease, found[i] and 'XX' or 'NX')
  end
  if not reply or reply.err then
    for j = 2, i - 2, 2 do redis.pcall('DEL', KEYS[j]) end
    return reply or redis.error_reply('WRONGTYPE not a lock')
  end
end
return { 1, text }
`);

/**
 * Renews leases. KEYS: a lock and its fence for each name. ARGV: owner, ms of the lease, ms of the fence, fence. Returns 1,
 * or 0 if the owner no longer holds all locks. A lease that lasts longer stays: an older call may arrive later. A stored fence that is lower is raised: in a Cluster the locks of one owner
 * get their fences on several nodes.
 */
export const extendLocksScript: Script = defineScript(`
local owner, lease, keep, fence = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local found, fences, left = redis.call('MGET', unpack(KEYS)), {}, {}
for i = 1, #KEYS, 2 do
  local holder, stored = found[i], found[i + 1]
  if holder ~= owner and holder ~= owner .. '+' then return 0 end
  local last = stored and #stored <= 16 and string.find(stored, '^%d+$') and tonumber(stored)
  if stored and not last then return redis.error_reply('WRONGTYPE not a fence') end
  fences[i], left[i] = string.format('%.0f', math.max(last or 0, fence)), redis.call('PTTL', KEYS[i])
end
for i = 1, #KEYS, 2 do
  local reply = redis.pcall('SET', KEYS[i + 1], fences[i], 'PX', keep, found[i + 1] and 'XX' or 'NX')
  if not reply then return redis.error_reply('WRONGTYPE not a fence') end
  if reply.err then return reply end
  if left[i] < lease then
    reply = redis.pcall('PEXPIRE', KEYS[i], ARGV[2])
    if type(reply) == 'table' then return reply end
  end
end
return 1
`);

/**
 * Gives locks back. KEYS: a lock for each name; then, for a take that was not answered, the note of its withdrawal. ARGV:
 * owner, channel, ms of the note or "", then a message for each lock. Returns the number of locks that the owner held. A
 * lock that somebody waits for is told on the channel.
 */
export const releaseLocksScript: Script = defineScript(`
local owner, note, count, released = ARGV[1], ARGV[3], #ARGV - 3, 0
local holders = redis.call('MGET', unpack(KEYS, 1, count))
if note ~= '' then
  local reply = redis.pcall('SET', KEYS[count + 1], '1', 'PX', note)
  if reply.err then return reply end
end
for i = 1, count do
  local holder = holders[i]
  if holder == owner or holder == owner .. '+' then
    local reply = redis.pcall('DEL', KEYS[i])
    if type(reply) == 'table' then return reply end
    released = released + 1
    if holder ~= owner then redis.pcall('PUBLISH', ARGV[2], ARGV[3 + i]) end
  end
end
return released
`);
