/**
 * The first part of a script whose calls are repeated until Redis has answered. Each call takes effect once.
 *
 * KEYS[1]: the record of the calls of one process (any key for a call without a number). ARGV[1]: the number of the call,
 * or 0 for a call that may run twice. ARGV[2]: the number up to which all calls are finished. ARGV[3]: the time in ms
 * during which a repetition may arrive. ARGV[4]: the time since the first attempt in ms. The rest of the script gets
 * `KEYS` and `ARGV` without these, and the last time as `age`.
 *
 * The number `-n` undoes the call `n` by the note of its effects, which the rest of the script gets as `note`. If the
 * call has not run, the number is recorded, so that the call does nothing when it arrives late.
 *
 * The record is a sorted set of numbers; the score of `low` stands for all numbers up to it. So the set contains only
 * unfinished calls, and a call that arrives years late still finds its number. A server without free memory refuses the
 * number first, so that no call runs in part.
 */
const numberLua = `
local age, memory, id, low, life = tonumber(ARGV[4]), KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local undone, taken, note = string.match(id, '^%-(%d+)$'), nil, nil
id = undone or id
table.remove(KEYS, 1)
for _ = 1, 4 do table.remove(ARGV, 1) end

if id ~= '0' then
  local seen = redis.pcall('ZMSCORE', memory, id, 'low')
  if seen.err then return seen.err end
  taken = seen[1]
  if seen[2] and tonumber(seen[2]) >= tonumber(id) then return redis.status_reply('OK') end
  if taken and not undone then return redis.status_reply('OK') end
end

-- The text of an error, if the number cannot be taken.
local function takeNumber()
  if id == '0' then return nil end
  local reply
  if taken then
    reply = redis.pcall('ZRANGEBYSCORE', memory, id, id)
    if reply.err then return reply.err end
    for _, member in ipairs(reply) do note = string.match(member, '^%d+:(.*)$') or note end
    if not note then return nil end
    reply = redis.pcall('ZREM', memory, id .. ':' .. note)
  else
    reply = redis.pcall('ZADD', memory, id, id)
  end
  if type(reply) == 'table' and reply.err then return reply.err end
  redis.pcall('ZADD', memory, 'GT', low, 'low')
  redis.pcall('ZREMRANGEBYSCORE', memory, '-inf', '(' .. low)
  if redis.call('PTTL', memory) < tonumber(life) then redis.pcall('PEXPIRE', memory, life) end
  return nil
end
`;

/** The first part of a script: ends a call whose number is recorded, and records the number otherwise. */
export const numberedCallLua: string = `${numberLua}
do
  local problem = takeNumber()
  if problem then return problem end
  if undone and not note then return redis.status_reply('OK') end
end
`;

/**
 * The same first part for a script that may have no effect. The script calls `takeNumber` before its first write, and
 * `leaveNote(text)` after its last write. The note allows to undo the call.
 */
export const undoableCallLua: string = `${numberLua}
local function leaveNote(text)
  if id ~= '0' then redis.pcall('ZADD', memory, id, id .. ':' .. text) end
end
`;
