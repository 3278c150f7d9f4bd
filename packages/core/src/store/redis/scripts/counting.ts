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

/** Reads the counter of one charge (a consumption): sets `consumed`, `reset` and `refused`. Writes nothing. */
export const peekLua = `
local function peekWindow(charge)
  local value = pcall('GET', charge.key)
  local consumed, window = 0, charge.window
  if not value then
    charge.fresh, charge.reset = true, window
  elseif type(value) == 'table' then
    charge.fault = value.err
    return
  else
    local number = natural(value)
    if not number then
      charge.fault = 'WRONGTYPE not a counter'
      return
    end
    local ends = call('PEXPIRETIME', charge.key)
    if ends < 0 then
      ends = now + window
      pcall('PEXPIREAT', charge.key, ends)
    end
    if ends > now then
      consumed, charge.reset = number, ends - now
    else
      charge.fresh, charge.reset = true, window
    end
  end
  charge.consumed = consumed
  if consumed + charge.cost > charge.limit then charge.refused = true end
end

local function read(charge)
  local value = pcall('GET', charge.key)
  if type(value) == 'table' then charge.fault = value.err end
  return value
end

local function peekSliding(charge)
  local value = read(charge)
  if charge.fault then return end
  local size = charge.window / 20
  local parts, number, consumed = readParts(value, size), math.floor(now / size), 0
  if not parts then
    charge.fault = 'WRONGTYPE not a sliding window'
    return
  end
  for _, part in ipairs(parts) do consumed = consumed + part[2] end
  charge.parts, charge.number, charge.consumed = parts, number, consumed
  charge.refused = consumed + charge.cost > charge.limit
  local left, last = consumed, parts[1] and parts[1][1] or number
  for _, part in ipairs(parts) do
    if left + charge.cost <= charge.limit then break end
    left, last = left - part[2], part[1]
  end
  charge.reset = (last + 1) * size + charge.window - now
end

local function peekBucket(charge)
  local value = read(charge)
  if charge.fault then return end
  local debt = readDebt(value, charge.limit)
  if not debt then
    charge.fault = 'WRONGTYPE not a token bucket'
    return
  end
  local window, limit = charge.window, charge.limit
  local capacity = limit == 0 and 0 or charge.extra
  local next = debt + charge.cost * window
  charge.debt, charge.consumed, charge.refused = debt, math.ceil(debt / window), next > capacity * window
  if charge.refused then
    local never = charge.cost > capacity
    charge.reset = never and window or math.ceil((next - capacity * window) / limit)
  elseif next == 0 then
    charge.reset = 0
  else
    local more = math.floor((capacity * window - next) / window) + 1
    charge.reset = math.ceil((next - math.max(0, (capacity - more) * window)) / limit)
  end
end

local function peekSlots(charge)
  local held = pcall('ZCOUNT', charge.key, '(' .. whole(now), '+inf')
  if type(held) == 'table' then
    charge.fault = held.err
    return
  end
  charge.consumed, charge.refused = held, held + charge.cost > charge.limit
  charge.reset = charge.refused and 1000 or 0
end
`;

/**
 * Counts one charge that fits. Returns the reply of the write, and sets a receipt if the charge has a counting mode.
 */
export const countLua = `
local function countWindow(charge)
  if charge.rule then charge.receipt = now + charge.reset end
  if charge.fresh then return pcall('SET', charge.key, charge.cost, 'PXAT', now + charge.reset) end
  if charge.cost > 0 then return pcall('INCRBY', charge.key, charge.cost) end
end

local function countSliding(charge)
  charge.receipt = charge.number
  if charge.cost == 0 then return end
  addToPart(charge.parts, charge.number, charge.cost)
  return writeParts(charge.key, charge.parts, charge.window)
end

local function countBucket(charge)
  local debt = charge.debt + charge.cost * charge.window
  charge.receipt = charge.limit == 0 and now or now + math.ceil(debt / charge.limit)
  if charge.cost > 0 then return writeDebt(charge.key, debt, charge.limit) end
end

local function countSlots(charge)
  charge.receipt = 0
  if charge.cost == 0 then return end
  pcall('ZREMRANGEBYSCORE', charge.key, '-inf', whole(now))
  local reply = pcall('ZADD', charge.key, whole(now + charge.window), charge.extra)
  pcall('PEXPIRE', charge.key, charge.window)
  return reply
end
`;

/** A block: "<until>:<level>:<strikes>:<end of the strikes>". Strikes are refusals within one window. */
export const blockLua = `
local function peekBlock(charge)
  local value = pcall('GET', charge.blockKey)
  if type(value) == 'table' then
    charge.fault = value.err
    return
  end
  local ends, level, strikes, strikesEnd = match(value or '0:0:0:0', '^(%d+):(%d+):(%d+):(%d+)$')
  ends, strikesEnd = ends and natural(ends), ends and natural(strikesEnd)
  level, strikes = ends and natural(level), ends and natural(strikes)
  if not (ends and strikesEnd and level and strikes) then
    charge.fault = 'WRONGTYPE not a block'
    return
  end
  local forgotten = math.max(ends, strikesEnd) + charge.longest <= now
  charge.level, charge.strikes, charge.strikesEnd = forgotten and 0 or level, strikes, strikesEnd
  if ends > now then charge.blocked, charge.refused, charge.reset = true, true, ends - now end
end

local function strike(charge)
  local level, strikes, strikesEnd, ends = charge.level, charge.strikes + 1, charge.strikesEnd, 0
  if strikesEnd <= now then strikes, strikesEnd = 1, now + charge.window end
  if strikes >= charge.after then
    level, strikes = math.min(level + 1, 40), 0
    charge.reset = math.min(charge.first * 2 ^ (level - 1), charge.longest)
    charge.blocked, ends = true, now + charge.reset
  end
  pcall('SET', charge.blockKey, table.concat({ whole(ends), whole(level), whole(strikes), whole(strikesEnd) }, ':'),
    'PXAT', whole(math.max(ends, strikesEnd) + charge.longest))
end
`;
