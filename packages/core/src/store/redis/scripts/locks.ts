import type { Script } from "./lua.js";
import { defineScript } from "./lua.js";

/**
 * One key for each name holds the last fence; while it is held, or after a withdrawal,
 * `<fence>:<owner>:<since>:<lease>:<notes>`. The owner has a + at its end if somebody waits, and is empty after a
 * withdrawal. The lease is in ms and begins at `since`. Until `notes` there may be notes of withdrawals. Times are
 * microseconds of Redis' clock. The key outlives the lease by a day.
 *
 * The locks of every request run through these scripts, so they define no functions, and format no numbers where a text
 * is at hand. GET fails for a value of another type.
 */
const heldLua = "'^(%d+):([^:]*):(%d*):(%d*):(%d*)$'";

/** `text` is the time of Redis in microseconds, and `now` its number. */
const nowLua = `
local time = redis.call('TIME')
local text = time[2]
if #text < 6 then text = string.rep('0', 6 - #text) .. text end
text = time[1] .. text
local now = tonumber(text)
`;

/**
 * Takes locks, all or none. KEYS: a lock for each name; then, if ARGV[5] is given, the note of the withdrawal. ARGV: owner,
 * ms of the lease, ms of the key, "1" if the caller waits. All locks get the same fence, which is returned. Otherwise
 * returns -ms while another owner holds a lock, 0 after a withdrawal, and nothing if the call must be repeated with the
 * note. So a late call takes nothing, and other calls need not send the key of a note. A lease that begins in more than a
 * day, since the clock went back, ends after the lease of the caller.
 */
export const takeLocksScript: Script = defineScript(`
${nowLua}
local owner, count, fence, values, busy, notes = ARGV[1], #KEYS, now, {}, false, ''
if ARGV[5] then count = count - 1 end
for i = 1, count do
  local value = redis.call('GET', KEYS[i])
  values[i] = value
  if value then
    local last, holder, since, lease, noted = value, '', '', '', ''
    if not string.find(value, '^%d+$') then last, holder, since, lease, noted = string.match(value, ${heldLua}) end
    last = tonumber(last)
    if not last or last >= 9007199254740991 or holder ~= '' and (since == '' or lease == '') then
      return redis.error_reply('WRONGTYPE not a lock')
    end
    if last >= fence then fence = last + 1 end
    if holder ~= '' and holder ~= owner and holder ~= owner .. '+' and since + lease * 1000 > now then busy = true end
    if i == 1 and noted ~= '' and tonumber(noted) > now then
      if not ARGV[5] then return false end
      if redis.call('EXISTS', KEYS[#KEYS]) == 1 then return 0 end
      notes = noted
    end
  end
end
if busy then
  local wait = 1
  for i = 1, count do
    local last, holder, since, lease, noted = string.match(values[i] or '', ${heldLua})
    if last and holder ~= '' and holder ~= owner and holder ~= owner .. '+' then
      local left, tells = since + lease * 1000 - now, ARGV[4] == '1' and string.sub(holder, -1) ~= '+'
      if left > 0 then
        local isStrange = since - now > 86400000000
        if isStrange then since, lease, left = text, ARGV[2], ARGV[2] * 1000 end
        if isStrange or tells then
          if tells then holder = holder .. '+' end
          local held = table.concat({ last, holder, since, lease, noted }, ':')
          local reply = redis.pcall('SET', KEYS[i], held, 'KEEPTTL')
          if reply.err then return reply end
        end
        wait = math.max(wait, math.ceil(left / 1000))
      end
    end
  end
  return -wait
end
local first = text
if fence > now then first = string.format('%.0f', fence) end
local held = first .. ':' .. owner .. ':' .. text .. ':' .. ARGV[2] .. ':'
for i = 1, count do
  local reply = redis.pcall('SET', KEYS[i], held .. notes, 'PX', ARGV[3])
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
 * Renews leases. KEYS: a lock for each name. ARGV: owner, ms of the lease, ms of the key, fence. Returns 1, or 0 if the
 * owner no longer holds all locks. A lease that lasts longer stays: an older call may arrive later. A stored fence that is
 * lower is raised: in a Cluster the locks of one owner get their fences on several nodes.
 */
export const extendLocksScript: Script = defineScript(`
${nowLua}
local owner, fence, texts, stays = ARGV[1], tonumber(ARGV[4]), {}, {}
for i = 1, #KEYS do
  local last, holder, since, lease, noted = string.match(redis.call('GET', KEYS[i]) or '', ${heldLua})
  if not last or holder ~= owner and holder ~= owner .. '+' then return 0 end
  local left = tonumber(since) and tonumber(lease) and since + lease * 1000 - now
  if not left or left <= 0 then return 0 end
  stays[i] = left > ARGV[2] * 1000
  if not stays[i] then since, lease = text, ARGV[2] end
  if tonumber(last) < fence then last = string.format('%.0f', fence) end
  texts[i] = table.concat({ last, holder, since, lease, noted }, ':')
end
for i = 1, #KEYS do
  local reply
  if stays[i] then
    reply = redis.pcall('SET', KEYS[i], texts[i], 'KEEPTTL')
  else
    reply = redis.pcall('SET', KEYS[i], texts[i], 'PX', ARGV[3])
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
    local last, holder, notes = string.match(value, '^(%d+):([^:]*):%d*:%d*:(%d*)$')
    if holder == owner or holder == owner .. '+' then
      if notes ~= '' then last = last .. '::::' .. notes end
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
local value, left = redis.call('GET', KEYS[1]) or '0', redis.call('PTTL', KEYS[1])
local last, holder, since, lease = string.match(value, ${heldLua})
if string.find(value, '^%d+$') then last, holder, since, lease = value, '', '', '' end
local reply = redis.pcall('SET', KEYS[2], '1', 'PX', ARGV[2])
if reply.err then return reply end
if last and tonumber(last) < 9007199254740991 and (holder == '' or since ~= '' and lease ~= '') then
  local notes = string.format('%.0f', now + ARGV[2] * 1000)
  local noted = table.concat({ last, holder, since, lease, notes }, ':')
  reply = redis.pcall('SET', KEYS[1], noted, 'PX', math.max(left, tonumber(ARGV[2])))
  if reply.err then return reply end
end
return 1
`);
