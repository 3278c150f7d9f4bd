import type { Script } from "./lua.js";
import { clockLua, defineScript } from "./lua.js";

/**
 * A log is a stream, and a head, which outlives it: the id of the last message, a blank, and the time in ms at which the
 * log began. An id is `<ms>-<number>-<tag>`; the stream knows the first two parts, and each entry has the tag (`t`), the process (`o`) and the body (`m`).
 *
 * `append` adds an entry. Its id comes after the last one also if the clock went back, or if the stream has ended. If the
 * head cannot be written, no entry is left. Returns the id, or an error. What cannot be read as a head is none.
 */
const headLua = "^((%d+)%-(%d+)%-%x+) (%d+)$";

const appendLua = `
${clockLua}
local head = redis.pcall('GET', KEYS[2])
if type(head) == 'table' then return head end
local last, ms, number, begun = string.match(head or '', '${headLua}')
last = last or ''

local function append(tag, origin, body, length, life, headLife)
  local id = '*'
  if ms and #ms < 16 and #number < 16 and tonumber(ms) >= now then
    id = ms .. '-' .. string.format('%.0f', tonumber(number) + 1)
  end
  local added = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', length, id, 't', tag, 'o', origin, 'm', body)
  if type(added) == 'table' and id ~= '*' and string.find(added.err, 'equal or smaller') then
    added = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', length, '*', 't', tag, 'o', origin, 'm', body)
  end
  if type(added) == 'table' then return added end
  local kept = redis.pcall('PEXPIRE', KEYS[1], life)
  if type(kept) == 'number' then
    local text = added .. '-' .. tag .. ' ' .. (begun or string.match(added, '^%d+'))
    kept = redis.pcall('SET', KEYS[2], text, 'PX', headLife)
  end
  if kept.err then
    redis.pcall('XDEL', KEYS[1], added)
    return kept
  end
  redis.pcall('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', math.max(0, now - life)))
  return added .. '-' .. tag
end
`;

/**
 * Appends a message and announces it. KEYS: the stream and its head. ARGV: tag, process, body, length, ms of the stream, ms
 * of the head, the channel, and the begin of the announcement. Returns the id. A message that cannot be announced is kept:
 * readers find it when they look.
 */
export const appendEventScript: Script = defineScript(`${appendLua}
local id = append(ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6])
if type(id) == 'string' then redis.pcall('PUBLISH', ARGV[7], ARGV[8] .. id .. ' ' .. last .. ' ' .. ARGV[3]) end
return id
`);

/**
 * Returns the head of a log, and begins the log if there is none. KEYS: the stream and its head. ARGV: tag, process, length,
 * ms of the stream and ms of the head.
 */
export const beginLogScript: Script = defineScript(`${appendLua}
if last ~= '' then return last end
return append(ARGV[1], ARGV[2], '', ARGV[3], tonumber(ARGV[4]), ARGV[5])
`);

/**
 * Reads entries after an id. KEYS: the stream and its head. ARGV: the id in the stream, its tag, the maximum number of
 * entries, and the size from which no further one is added. Returns the last id, when the log began, 1 if the log knows the id,
 * the first id of the stream, and then for each entry its id, tag, process and body. All of an entry that no release has written are empty
 * but its id. It is no read-only script: a replica that is behind must refuse it.
 */
export const readEventsScript: Script = defineScript(`#!lua flags=allow-oom
local head = redis.pcall('GET', KEYS[2])
if type(head) == 'table' then return head end
local last, _, _, begun = string.match(head or '', '${headLua}')
local function fields(entry)
  local values, found = entry[2] or {}, {}
  for i = 1, #values, 2 do found[values[i]] = values[i + 1] end
  if found.t and found.o and found.m then return found.t, found.o, found.m end
  return '', '', ''
end

local at = redis.pcall('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if at.err then return at end
local first = redis.pcall('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
if first.err then return first end
local isKnown = last == ARGV[1] .. '-' .. ARGV[2] or (at[1] and fields(at[1]) == ARGV[2])
local reply = { last or '', begun or '0', isKnown and 1 or 0, first[1] and first[1][1] or '' }
local after, left, size = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
while left > 0 and size > 0 do
  local entries = redis.pcall('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', math.min(left, 16))
  if entries.err then return entries end
  if not entries[1] then break end
  for _, entry in ipairs(entries) do
    if size > 0 then
      local tag, origin, body = fields(entry)
      after = entry[1]
      reply[#reply + 1], reply[#reply + 2], reply[#reply + 3], reply[#reply + 4] = after, tag, origin, body
      size = size - #body
      left = left - 1
    end
  end
end
return reply
`);
