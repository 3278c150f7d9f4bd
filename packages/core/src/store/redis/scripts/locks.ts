import type { Script } from "./lua.js";
import { defineScript } from "./lua.js";

/**
 * One key for each name holds the last fence; while it is held, or after a withdrawal, `<fence>:<owner>:<notes>`. The
 * owner has a + at its end if somebody waits, and is empty after a withdrawal. Until `notes` there may be notes of
 * withdrawals: microseconds of Redis' clock. The key outlives the lease by a day, so that its own TTL tells the lease.
 *
 * The locks of every request run through these scripts, so they define no functions, take few arguments, and format no
 * numbers where a text is at hand. GET fails for a value of another type.
 */
const heldLua = "'^(%d+):([^:]*):(%d*)$'";

/** `text` is the time of Redis in microseconds, and `now` its number. */
const nowLua = `
local time = redis.call('TIME')
local text = time[2]
if #text < 6 then text = string.rep('0', 6 - #text) .. text end
text = time[1] .. text
local now = tonumber(text)
`;

/**
 * Takes locks, all or none. KEYS: a lock for each name; then, if ARGV[4] is given, the note of the withdrawal. ARGV: owner,
 * ms of the key, "1" if the caller does not wait. All locks get the same fence, which is returned. Otherwise returns -ms
 * while another owner holds a lock, 0 after a withdrawal, and nothing if the call must be repeated with the note. So a late
 * call takes nothing, and other calls need not send the key of a note. A lease that ends in more than two days, since the
 * clock went back by more than a day or somebody took the TTL away, ends after the lease of the caller. The longest lease
 * is a day.
 */
export const takeLocksScript: Script = defineScript(`
${nowLua}
local owner, count, fence, values, held, notes = ARGV[1], #KEYS, now, {}, nil, ''
if ARGV[4] then count = count - 1 end
for i = 1, count do
  local value = redis.call('GET', KEYS[i])
  values[i] = value
  if value then
    local last, holder, noted = value, '', ''
    if not string.find(value, '^%d+$') then last, holder, noted = string.match(value, ${heldLua}) end
    last = tonumber(last)
    if not last or last >= 9007199254740991 then return redis.error_reply('WRONGTYPE not a lock') end
    if last >= fence then fence = last + 1 end
    if holder ~= '' and holder ~= owner and holder ~= owner .. '+' then
      local left = redis.call('PTTL', KEYS[i])
      left = left < 0 and 172800001 or left - 86400000
      if left > 0 then
        held = held or {}
        held[i] = left
      end
    end
    if i == 1 and noted ~= '' and tonumber(noted) > now then
      if not ARGV[4] then return false end
      if redis.call('EXISTS', KEYS[#KEYS]) == 1 then return 0 end
      notes = noted
    end
  end
end
if held then
  local wait = 1
  for i, left in pairs(held) do
    local last, holder, noted = string.match(values[i], ${heldLua})
    local isLong, tells = left > 172800000, ARGV[3] ~= '1' and string.sub(holder, -1) ~= '+'
    if tells then holder = holder .. '+' end
    local reply = {}
    if isLong then
      left = ARGV[2] - 86400000
      reply = redis.pcall('SET', KEYS[i], last .. ':' .. holder .. ':' .. noted, 'PX', ARGV[2])
    elseif tells then
      reply = redis.pcall('SET', KEYS[i], last .. ':' .. holder .. ':' .. noted, 'KEEPTTL')
    end
    if reply.err then return reply end
    wait = math.max(wait, left)
  end
  return -wait
end
local first = text
if fence > now then first = string.format('%.0f', fence) end
for i = 1, count do
  local reply = redis.pcall('SET', KEYS[i], first .. ':' .. owner .. ':' .. notes, 'PX', ARGV[2])
  if reply.err then
    for j = 1, i - 1 do
      if redis.pcall('SET', KEYS[j], first, 'KEEPTTL').err then redis.pcall('DEL', KEYS[j]) end
    end
    return reply
  end
  -- The other names have no notes for this claim, and may have some for claims in which they are the first.
  notes = values[i + 1] and string.match(values[i + 1], ':(%d*)$') or ''
end
return fence
`);

/**
 * Renews leases. KEYS: a lock for each name. ARGV: owner, ms of the key, fence. Returns 1, or 0 if the owner no longer holds
 * all locks. A lease that lasts longer stays: an older call may arrive later. A stored fence that is lower is raised: in a
 * Cluster the locks of one owner get their fences on several nodes.
 */
export const extendLocksScript: Script = defineScript(`
local owner, fence, texts, stays = ARGV[1], tonumber(ARGV[3]), {}, {}
for i = 1, #KEYS do
  local last, holder, noted = string.match(redis.call('GET', KEYS[i]) or '', ${heldLua})
  if not last or holder ~= owner and holder ~= owner .. '+' then return 0 end
  local left = redis.call('PTTL', KEYS[i])
  if left >= 0 and left <= 86400000 then return 0 end
  stays[i] = left > tonumber(ARGV[2])
  if tonumber(last) < fence then last = string.format('%.0f', fence) end
  texts[i] = last .. ':' .. holder .. ':' .. noted
end
for i = 1, #KEYS do
  local reply
  if stays[i] then
    reply = redis.pcall('SET', KEYS[i], texts[i], 'KEEPTTL')
  else
    reply = redis.pcall('SET', KEYS[i], texts[i], 'PX', ARGV[2])
  end
  if reply.err then return reply end
end
return 1
`);

/**
 * Gives locks back. KEYS: a lock for each name. ARGV: owner, channel, then the head of a message for each lock, whose rest
 * is the key; then, if the client puts a prefix in front of its keys, where they begin behind it. Returns the number of
 * locks that the owner held. Nobody else has held a lock that still has its owner, so the lease is not looked at. A lock
 * that somebody waits for is told on the channel.
 */
export const releaseLocksScript: Script = defineScript(`
local owner, released = ARGV[1], 0
for i = 1, #KEYS do
  local value = redis.call('GET', KEYS[i])
  if value then
    local last, holder, notes = string.match(value, ${heldLua})
    if holder == owner or holder == owner .. '+' then
      if notes ~= '' then last = last .. '::' .. notes end
      local reply = redis.pcall('SET', KEYS[i], last, 'KEEPTTL')
      if reply.err then return reply end
      released = released + 1
      if holder ~= owner then redis.pcall('PUBLISH', ARGV[2], ARGV[2 + i] .. string.sub(KEYS[i], ARGV[3 + #KEYS] or 1)) end
    end
  end
end
return released
`);

/**
 * Notes that an owner gives up a take that was not answered. KEYS: the first lock of the take, and the note. ARGV: owner,
 * ms of the note. The locks are given back by {@link releaseLocksScript}. A value that is no lock stays, and lets no call take it. Returns 1.
 */
export const noteWithdrawalScript: Script = defineScript(`
${nowLua}
local value, left = redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])
local last, holder = string.match(value or '0', ${heldLua})
if not last then last, holder = string.match(value or '0', '^%d+$'), '' end
local reply = redis.pcall('SET', KEYS[2], '1', 'PX', ARGV[2])
if reply.err then return reply end
if last and tonumber(last) < 9007199254740991 then
  local noted = last .. ':' .. holder .. ':' .. string.format('%.0f', now + ARGV[2] * 1000)
  if value and (left < 0 or left > tonumber(ARGV[2])) then
    reply = redis.pcall('SET', KEYS[1], noted, 'KEEPTTL')
  else
    reply = redis.pcall('SET', KEYS[1], noted, 'PX', ARGV[2])
  end
  if reply.err then return reply end
end
return 1
`);
