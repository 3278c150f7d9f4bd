/**
 * The algorithms work on whole numbers below 2^53, so that Redis and the store in process decide alike.
 */

/**
 * Sliding window: "<part>:<count>,...", a count for each twentieth of the window. A part counts until one window after
 * its end, so that no window at any position contains more than the limit.
 */
export const slidingLua = `
-- Nil for a value that is not a list of parts through and through.
local function readParts(value, size)
  local parts, oldest, read = {}, math.floor(now / size) - 20, 0
  if not value then return parts end
  for text, amount in string.gmatch(value, '(%d+):(%d+)') do
    local part, count = natural(text), natural(amount)
    if not part or not count then return nil end
    read = read + #text + #amount + 2
    if part >= oldest then parts[#parts + 1] = { part, count } end
  end
  return read == #value + 1 and parts or nil
end

local function writeParts(key, parts, window)
  local texts, newest = {}, 0
  for _, part in ipairs(parts) do
    texts[#texts + 1] = whole(part[1]) .. ':' .. whole(part[2])
    newest = math.max(newest, part[1])
  end
  if #texts == 0 then return redis.pcall('DEL', key) end
  return redis.pcall('SET', key, table.concat(texts, ','), 'PXAT', whole((newest + 1) * window / 20 + window))
end

local function addToPart(parts, number, by)
  for i, part in ipairs(parts) do
    if part[1] == number then
      part[2] = math.max(0, part[2] + by)
      if part[2] == 0 then table.remove(parts, i) end
      return
    end
    if part[1] > number then
      if by > 0 then table.insert(parts, i, { number, by }) end
      return
    end
  end
  if by > 0 then parts[#parts + 1] = { number, by } end
end
`;

/**
 * Token bucket (GCRA): "<debt>:<time>". The debt is the tokens that were taken and have not flowed back, in units of
 * one request divided by the window's milliseconds, so that \`limit\` of them flow back each millisecond.
 */
export const bucketLua = `
local function readDebt(value, limit)
  local debt, at = string.match(value or '0:0', '^(%d+):(%d+)$')
  debt, at = debt and natural(debt), at and natural(at)
  if not debt or not at then return nil end
  return math.max(0, debt - math.max(0, now - at) * limit)
end

local function writeDebt(key, debt, limit)
  if debt <= 0 then return redis.pcall('DEL', key) end
  local ttl = math.max(1, math.min(math.ceil(debt / limit), 3e12))
  return redis.pcall('SET', key, whole(debt) .. ':' .. whole(now), 'PX', whole(ttl))
end
`;

/** Reads the counter of one consumption: sets `consumed`, `reset` and `refused`. Writes nothing. */
export const peekLua = `
local function peekWindow(consumption)
  local value = pcall('GET', consumption.key)
  local consumed, window = 0, consumption.window
  if not value then
    consumption.fresh, consumption.reset = true, window
  elseif type(value) == 'table' then
    consumption.fault = value.err
    return
  else
    local number = natural(value)
    if not number then
      consumption.fault = 'WRONGTYPE not a counter'
      return
    end
    local ends = call('PEXPIRETIME', consumption.key)
    if ends < 0 then
      ends = now + window
      pcall('PEXPIREAT', consumption.key, ends)
    end
    if ends > now then
      consumed, consumption.reset = number, ends - now
    else
      consumption.fresh, consumption.reset = true, window
    end
  end
  consumption.consumed = consumed
  if consumed + consumption.cost > consumption.limit then consumption.refused = true end
end

local function read(consumption)
  local value = pcall('GET', consumption.key)
  if type(value) == 'table' then consumption.fault = value.err end
  return value
end

local function peekSliding(consumption)
  local value = read(consumption)
  if consumption.fault then return end
  local size = consumption.window / 20
  local parts, number, consumed = readParts(value, size), math.floor(now / size), 0
  if not parts then
    consumption.fault = 'WRONGTYPE not a sliding window'
    return
  end
  for _, part in ipairs(parts) do consumed = consumed + part[2] end
  consumption.parts, consumption.number, consumption.consumed = parts, number, consumed
  consumption.refused = consumed + consumption.cost > consumption.limit
  local left, last = consumed, parts[1] and parts[1][1] or number
  for _, part in ipairs(parts) do
    if left + consumption.cost <= consumption.limit then break end
    left, last = left - part[2], part[1]
  end
  consumption.reset = (last + 1) * size + consumption.window - now
end

local function peekBucket(consumption)
  local value = read(consumption)
  if consumption.fault then return end
  local debt = readDebt(value, consumption.limit)
  if not debt then
    consumption.fault = 'WRONGTYPE not a token bucket'
    return
  end
  local window, limit = consumption.window, consumption.limit
  local capacity = limit == 0 and 0 or consumption.extra
  local next = debt + consumption.cost * window
  consumption.debt, consumption.consumed, consumption.refused = debt, math.ceil(debt / window), next > capacity * window
  if consumption.refused then
    -- With a limit of 0 nothing flows back.
    local never = consumption.cost > capacity or limit == 0
    consumption.reset = never and window or math.ceil((next - capacity * window) / limit)
  elseif next == 0 then
    consumption.reset = 0
  else
    local more = math.floor((capacity * window - next) / window) + 1
    consumption.reset = math.ceil((next - math.max(0, (capacity - more) * window)) / limit)
  end
end

local function peekSlots(consumption)
  local held = pcall('ZCOUNT', consumption.key, '(' .. whole(now), '+inf')
  if type(held) == 'table' then
    consumption.fault = held.err
    return
  end
  consumption.consumed, consumption.refused = held, held + consumption.cost > consumption.limit
  consumption.reset = consumption.refused and 1000 or 0
end
`;

/**
 * Counts one consumption that fits. Returns the reply of the write, and sets a receipt if the consumption has a counting mode.
 */
export const countLua = `
local function countWindow(consumption)
  if consumption.mode then consumption.receipt = now + consumption.reset end
  if consumption.fresh then return pcall('SET', consumption.key, consumption.cost, 'PXAT', now + consumption.reset) end
  if consumption.cost > 0 then return pcall('INCRBY', consumption.key, consumption.cost) end
end

local function countSliding(consumption)
  consumption.receipt = consumption.number
  if consumption.cost == 0 then return end
  addToPart(consumption.parts, consumption.number, consumption.cost)
  return writeParts(consumption.key, consumption.parts, consumption.window)
end

local function countBucket(consumption)
  local debt = consumption.debt + consumption.cost * consumption.window
  consumption.receipt = consumption.limit == 0 and now or now + math.ceil(debt / consumption.limit)
  if consumption.cost > 0 then return writeDebt(consumption.key, debt, consumption.limit) end
end

local function countSlots(consumption)
  consumption.receipt = 0
  if consumption.cost == 0 then return end
  pcall('ZREMRANGEBYSCORE', consumption.key, '-inf', whole(now))
  local reply = pcall('ZADD', consumption.key, whole(now + consumption.window), consumption.extra)
  pcall('PEXPIRE', consumption.key, consumption.window)
  return reply
end
`;

/** A block: "<until>:<level>:<strikes>:<end of the strikes>". Strikes are refusals within one window. */
export const blockLua = `
local function peekBlock(consumption)
  local value = pcall('GET', consumption.blockKey)
  if type(value) == 'table' then
    consumption.fault = value.err
    return
  end
  local ends, level, strikes, strikesEnd = match(value or '0:0:0:0', '^(%d+):(%d+):(%d+):(%d+)$')
  ends, strikesEnd = ends and natural(ends), ends and natural(strikesEnd)
  level, strikes = ends and natural(level), ends and natural(strikes)
  if not (ends and strikesEnd and level and strikes) then
    consumption.fault = 'WRONGTYPE not a block'
    return
  end
  local forgotten = math.max(ends, strikesEnd) + consumption.longest <= now
  consumption.level, consumption.strikes, consumption.strikesEnd = forgotten and 0 or level, strikes, strikesEnd
  if ends > now then consumption.blocked, consumption.refused, consumption.reset = true, true, ends - now end
end

local function strike(consumption)
  local level, strikes, strikesEnd, ends = consumption.level, consumption.strikes + 1, consumption.strikesEnd, 0
  if strikesEnd <= now then strikes, strikesEnd = 1, now + consumption.window end
  if strikes >= consumption.after then
    level, strikes = math.min(level + 1, 40), 0
    consumption.reset = math.min(consumption.first * 2 ^ (level - 1), consumption.longest)
    consumption.blocked, ends = true, now + consumption.reset
  end
  pcall('SET', consumption.blockKey, table.concat({ whole(ends), whole(level), whole(strikes), whole(strikesEnd) }, ':'),
    'PXAT', whole(math.max(ends, strikesEnd) + consumption.longest))
end

local function extend(consumption)
  local level, strikes, strikesEnd = consumption.level, consumption.strikes, consumption.strikesEnd
  local lasts = math.min(consumption.first * 2 ^ (math.max(level, 1) - 1), consumption.longest)
  if lasts <= consumption.reset then return end
  consumption.reset = lasts
  local ends = now + lasts
  pcall('SET', consumption.blockKey, table.concat({ whole(ends), whole(level), whole(strikes), whole(strikesEnd) }, ':'),
    'PXAT', whole(math.max(ends, strikesEnd) + consumption.longest))
end
`;
