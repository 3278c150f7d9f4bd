/**
 * The beginning of a script whose calls are repeated until one is answered, so that each takes effect once.
 *
 * KEYS[1]: what Redis remembers of the calls of one process (of an unnumbered call, any key). ARGV: the number of the call,
 * 0 for one that does no harm when it runs twice; the number up to which no call of the process is open; how long a repetition
 * may come, in ms; and for how long the call has been tried, in ms. The rest of the script finds `KEYS` and `ARGV` without
 * them, and the time of trying as `age`.
 *
 * The memory is a sorted set of numbers, with `low` for all up to its score: it holds the calls that are open, and no more,
 * but a call that a network delivers years late still finds its number taken. A full memory refuses the number first, so that
 * nothing is done by halves.
 */
export const onceLua = `
local age = tonumber(ARGV[4])
do
  local memory, id, low, life = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
  table.remove(KEYS, 1)
  for _ = 1, 4 do table.remove(ARGV, 1) end
  if id ~= '0' then
    local seen = redis.pcall('ZMSCORE', memory, id, 'low')
    if seen.err then return seen.err end
    if seen[1] or (seen[2] and tonumber(seen[2]) >= tonumber(id)) then return redis.status_reply('OK') end
    local noted = redis.pcall('ZADD', memory, id, id)
    if type(noted) == 'table' and noted.err then return noted.err end
    redis.pcall('ZADD', memory, 'GT', low, 'low')
    redis.pcall('ZREMRANGEBYSCORE', memory, '-inf', '(' .. low)
    if redis.call('PTTL', memory) < tonumber(life) then redis.pcall('PEXPIRE', memory, life) end
  end
end
`;
