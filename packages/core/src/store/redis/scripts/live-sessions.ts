import type { Script } from "./lua.js";
import { clockLua, defineScript } from "./lua.js";

/** Returns the number of live sessions in all of KEYS. */
export const countLiveScript: Script = defineScript(`${clockLua}
local count = 0
for _, key in ipairs(KEYS) do count = count + redis.call('ZCOUNT', key, '(' .. string.format('%.0f', now), '+inf') end
return count
`);

/**
 * Reads live sessions in ascending order of their ends. KEYS: those of live sessions, the first of which was read in part.
 * ARGV: the end of the session that was read last there, or 0; its id; the maximum number. It may have ended meanwhile, as may
 * others with the same end, so that the place behind it is looked for by the id. Returns the time, and a flat list: for each session the position of its key, from 1, its member and its end.
 */
export const readLiveScript: Script = defineScript(`${clockLua}
local from, last, most, out = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), {}

-- Redis orders by bytes, and Lua's operators by the locale of the server.
local function isBehind(id)
  for i = 1, math.min(#id, #last) do
    local one, other = string.byte(id, i), string.byte(last, i)
    if one ~= other then return one > other end
  end
  return #id > #last
end

-- The number of sessions with this end up to the one that was read last.
local function countRead(key)
  local low, high = 0, redis.call('ZCOUNT', key, ARGV[1], ARGV[1])
  while low < high do
    local middle = math.floor((low + high) / 2)
    local member = redis.call('ZRANGEBYSCORE', key, ARGV[1], ARGV[1], 'LIMIT', middle, 1)[1]
    if isBehind(string.match(member, '^[^ ]*')) then high = middle else low = middle + 1 end
  end
  return low
end

for i, key in ipairs(KEYS) do
  local left = most - #out / 3
  if left <= 0 then break end
  -- Those that have ended are not read.
  local isResumed = i == 1 and from > now
  local skipped = isResumed and countRead(key) or 0
  if not isResumed then from = now + 1 end
  local found = redis.call('ZRANGEBYSCORE', key, string.format('%.0f', from), '+inf', 'WITHSCORES', 'LIMIT', skipped, left)
  for j = 1, #found, 2 do
    out[#out + 1], out[#out + 2], out[#out + 3] = i, found[j], found[j + 1]
  end
end
return { now, out }
`);

/**
 * Returns the session at which a subject is listed, or "", and the number of its live sessions: the session that ends first of
 * those that were there when the list began, or of all. KEYS: the index, and the records. ARGV[1]: the time at which the list
 * began. A record that cannot be read counts as later. Of a subject with very many sessions, the first hundred are looked at.
 */
export const listedSessionScript: Script = defineScript(`${clockLua}
local low, started = '(' .. string.format('%.0f', now), tonumber(ARGV[1])

local function isOlder(id)
  local text = redis.pcall('HGET', KEYS[2], id)
  local isJson, record = pcall(cjson.decode, type(text) == 'string' and text or '')
  return isJson and type(record) == 'table' and type(record.createdAt) == 'number' and record.createdAt <= started
end

local ids = redis.call('ZRANGEBYSCORE', KEYS[1], low, '+inf', 'LIMIT', 0, 100)
local listed = ids[1] or ''
for _, id in ipairs(#ids > 1 and ids or {}) do
  if isOlder(id) then listed = id break end
end
return { listed, redis.call('ZCOUNT', KEYS[1], low, '+inf') }
`);
