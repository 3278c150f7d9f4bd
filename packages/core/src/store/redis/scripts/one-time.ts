import { clockLua, declaredLua, defineScript } from "./lua.js";
import type { Script } from "./lua.js";

/**
 * The text of a value: `1` and its content; or, after its consumption, `0`, the id of the consumption (22 characters)
 * and the content. A consumed value stays for some seconds, so that the same consumption can be asked again.
 *
 * An error of GET says nothing about the value: it may be on another node, while its slot moves there. Its set must keep it.
 */
const isLiveLua = `
local function isLive(key)
  local text = redis.pcall('GET', key)
  if type(text) == 'string' then return string.sub(text, 1, 1) == '1' end
  if text and string.sub(text.err, 1, 9) ~= 'WRONGTYPE' then return false, text end
  return false
end
`;

/**
 * Issues a value. KEYS: the value, and the sorted set of its subject's values (their keys by the time of issue) if it
 * has a subject; then values of the set that the script has asked for. ARGV: the content, its life in ms, the maximum number
 * of values of a subject, the key of the value as a member of the set, and the key prefix of the client. Returns `issued`,
 * the end of the value in unix ms, and how many older values were dropped. The set is written first: no value exists that
 * its subject cannot revoke.
 *
 * The older values are looked at only if the set is full. One that was added since the script has asked is live: it was
 * just issued.
 */
export const issueOneTimeScript: Script = defineScript(`${clockLua}${isLiveLua}
local client, most = ARGV[5], tonumber(ARGV[3])
${declaredLua}
local value, subject, life = KEYS[1], KEYS[2], tonumber(ARGV[2])
local gone, surplus = {}, {}

if subject then
  local members = redis.pcall('ZRANGE', subject, 0, -1)
  if members.err then return members end
  local live, knows = {}, #KEYS > 2
  for _, member in ipairs(#members >= most and members or {}) do
    if member == ARGV[4] then
      -- An issue that comes twice.
    elseif not declared[client .. member] then
      live[#live + 1] = member
    else
      local found, fault = isLive(client .. member)
      if fault then return fault end
      if found then live[#live + 1] = member else gone[#gone + 1] = member end
    end
  end
  for i = 1, #live - most + 1 do surplus[i] = live[i] end
  for _, member in ipairs(knows and surplus or live) do
    if #surplus > 0 then need(member) end
  end
  if #missing > 0 then return { 'keys', missing } end
  local left = redis.pcall('PTTL', subject)
  if type(left) == 'table' then return left end
  local added = redis.pcall('ZADD', subject, time[1] * 1000000 + time[2], ARGV[4])
  if type(added) == 'table' then return added end
  local kept = redis.pcall('PEXPIRE', subject, math.max(left, life))
  if type(kept) == 'table' then
    redis.pcall('ZREM', subject, ARGV[4])
    return kept
  end
end

local set = redis.pcall('SET', value, '1' .. ARGV[1], 'PX', life)
if set.err then
  if subject then redis.pcall('ZREM', subject, ARGV[4]) end
  return set
end
for _, member in ipairs(surplus) do
  if type(redis.pcall('DEL', client .. member)) == 'number' then gone[#gone + 1] = member end
end
for _, member in ipairs(gone) do redis.pcall('ZREM', subject, member) end
return { 'issued', now + life, #surplus }
`);

/**
 * Consumes a value. KEYS: the value. ARGV: the id of the consumption, and how long it can be asked again, in ms.
 * Returns the content, or nil. The first line makes Redis refuse the script where it takes no writes: without it, a replica
 * that is behind would say that a good token is worth nothing.
 */
export const consumeOneTimeScript: Script = defineScript(`#!lua
local text = redis.pcall('GET', KEYS[1])
if type(text) ~= 'string' then return text end
local state = string.sub(text, 1, 1)
if state == '0' then
  return string.sub(text, 2, 23) == ARGV[1] and string.sub(text, 24)
end
if state ~= '1' then return redis.error_reply('WRONGTYPE not a one-time value') end
local content = string.sub(text, 2)
local noted = redis.pcall('SET', KEYS[1], '0' .. ARGV[1] .. content, 'PX', ARGV[2])
if noted.err then return noted end
return content
`);

/**
 * Ends all values of a subject. KEYS: the sorted set of their keys, and values of the set that the script has asked for.
 * ARGV: the key prefix of the client. Returns `revoked` and the number of values that were live. A value that was just consumed stays for the repetition of its consumption.
 */
export const revokeOneTimeScript: Script = defineScript(`${isLiveLua}
local client = ARGV[1]
${declaredLua}
local members = redis.pcall('ZRANGE', KEYS[1], 0, -1)
if members.err then return members end
for _, member in ipairs(members) do need(member) end
if #missing > 0 then return { 'keys', missing } end

local live, ended = {}, 0
for _, member in ipairs(members) do
  local found, fault = isLive(client .. member)
  if fault then return fault end
  if found then live[#live + 1] = member end
end
for _, member in ipairs(live) do
  local reply = redis.pcall('DEL', client .. member)
  if type(reply) == 'table' then return reply end
  ended = ended + 1
end
local reply = redis.pcall('DEL', KEYS[1])
if type(reply) == 'table' then return reply end
return { 'revoked', ended }
`);
