/**
 * The beginning of a script whose calls are repeated until one is answered, so that each takes effect once.
 *
 * KEYS[1]: what Redis remembers of the calls of one process (of an unnumbered call, any key). ARGV: the number of the call,
 * 0 for one that does no harm when it runs twice; the number up to which no call of the process is open; how long a repetition
 * may come, in ms; and for how long the call has been tried, in ms. The rest of the script finds `KEYS` and `ARGV` without
 * them, and the time of trying as `age`.
 *
 * `-n` for a number undoes the call `n`, if that has left a note of what it did, which the rest of the script finds as `note`.
 * If it never ran, its number is taken, so that it does nothing when it comes late.
 *
 * The memory is a sorted set of numbers, with `low` for all up to its score: it holds the calls that are open, and no more,
 * but a call that a network delivers years late still finds its number taken. A full memory refuses the number first, so that
 * nothing is done by halves.
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

export const onceLua: string = `${numberLua}
do
  local problem = takeNumber()
  if problem then return problem end
  if undone and not note then return redis.status_reply('OK') end
end
`;

/**
 * The same for a script that may have nothing to do: it calls `takeNumber` before its first write, and after its last one
 * `leaveNote(text)`, by which the call can be undone.
 */
export const undoableLua: string = `${numberLua}
local function leaveNote(text)
  if id ~= '0' then redis.pcall('ZADD', memory, id, id .. ':' .. text) end
end
`;
