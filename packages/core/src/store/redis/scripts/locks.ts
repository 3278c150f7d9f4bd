import type { Script } from "./lua.js";
import { defineScript, wholeLua } from "./lua.js";

/**
 * Lua for locks. A lock holds its owner, with a + at the end if somebody waits for it. `failed` tells whether a reply is
 * an error, which ends the script.
 */
const lockLua = `${wholeLua}
local owner = ARGV[1]
local function isOurs(holder) return holder == owner or holder == owner .. '+' end
local function failed(reply) return type(reply) == 'table' and reply.err end
local function fenceIn(key)
  local stored = redis.pcall('GET', key)
  if failed(stored) then return nil, stored end
  if not stored then return 0 end
  local number = natural(stored)
  if not number then return nil, redis.error_reply('WRONGTYPE not a fence') end
  return number
end
`;

/**
 * Takes locks, all or none. KEYS: the note of the withdrawal, then a lock and its fence for each name. ARGV: owner, ms of
 * the lease, ms of the fence, "1" if the caller waits. Returns `1, fence`, or `0, ms` while another owner holds a lock.
 * All locks get the same fence. A lock without an end, which only foreign commands can make, gets an end.
 */
export const takeLocksScript: Script = defineScript(`${lockLua}
local lease, keep, waits = ARGV[2], ARGV[3], ARGV[4] == '1'
if redis.call('EXISTS', KEYS[1]) == 1 then return { 0, 0 } end
local time = redis.call('TIME')
local fence, wait, held = time[1] * 1000000 + time[2], 0, {}
for i = 2, #KEYS, 2 do
  local holder = redis.pcall('GET', KEYS[i])
  if failed(holder) then return holder end
  if holder and not isOurs(holder) then
    held[#held + 1] = { KEYS[i], holder, redis.call('PTTL', KEYS[i]) }
  end
  local stored, problem = fenceIn(KEYS[i + 1])
  if problem then return problem end
  fence = math.max(fence, stored + 1)
end
if #held > 0 then
  for _, one in ipairs(held) do
    local key, holder, left = one[1], one[2], one[3]
    if left < 0 then
      local reply = redis.pcall('PEXPIRE', key, lease)
      if failed(reply) then return reply end
      left = tonumber(lease)
    end
    if waits and string.sub(holder, -1) ~= '+' then
      local reply = redis.pcall('SET', key, holder .. '+', 'XX', 'KEEPTTL')
      if failed(reply) then return reply end
    end
    wait = math.max(wait, left)
  end
  return { 0, math.max(1, wait) }
end
local text = whole(fence)
for i = 2, #KEYS, 2 do
  local reply = redis.pcall('SET', KEYS[i + 1], text, 'PX', keep)
  if not failed(reply) then reply = redis.pcall('SET', KEYS[i], owner, 'PX', lease) end
  if failed(reply) then
    for j = 2, i, 2 do redis.pcall('DEL', KEYS[j]) end
    return reply
  end
end
return { 1, text }
`);

/**
 * Renews leases. KEYS: a lock and its fence for each name. ARGV: owner, ms of the lease, ms of the fence, fence. Returns 1,
 * or 0 if the owner no longer holds all locks. A lease that lasts longer stays: an older call may arrive later. A stored fence that is lower is raised: in a Cluster the locks of one owner
 * get their fences on several nodes.
 */
export const extendLocksScript: Script = defineScript(`${lockLua}
local lease, keep, fence = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local raised, left = {}, {}
for i = 1, #KEYS, 2 do
  local holder = redis.pcall('GET', KEYS[i])
  if failed(holder) then return holder end
  if not isOurs(holder) then return 0 end
  local stored, problem = fenceIn(KEYS[i + 1])
  if problem then return problem end
  raised[i], left[i] = whole(math.max(stored, fence)), redis.call('PTTL', KEYS[i])
end
for i = 1, #KEYS, 2 do
  local reply = redis.pcall('SET', KEYS[i + 1], raised[i], 'PX', keep)
  if not failed(reply) and left[i] < lease then reply = redis.pcall('PEXPIRE', KEYS[i], ARGV[2]) end
  if failed(reply) then return reply end
end
return 1
`);

/**
 * Gives locks back. KEYS: a lock for each name; then, for a take that was not answered, the note of its withdrawal. ARGV:
 * owner, channel, ms of the note or "", then a message for each lock. Returns the number of locks that the owner held. A
 * lock that somebody waits for is told on the channel.
 */
export const releaseLocksScript: Script = defineScript(`${lockLua}
local channel, note, count = ARGV[2], ARGV[3], #ARGV - 3
local holders, released = {}, 0
for i = 1, count do
  local holder = redis.pcall('GET', KEYS[i])
  if failed(holder) then return holder end
  holders[i] = holder
end
if note ~= '' then
  local reply = redis.pcall('SET', KEYS[count + 1], '1', 'PX', note)
  if failed(reply) then return reply end
end
for i = 1, count do
  if isOurs(holders[i]) then
    local reply = redis.pcall('DEL', KEYS[i])
    if failed(reply) then return reply end
    released = released + 1
    if holders[i] ~= owner then redis.pcall('PUBLISH', channel, ARGV[3 + i]) end
  end
end
return released
`);
