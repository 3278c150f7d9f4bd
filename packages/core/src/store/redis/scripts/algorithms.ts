/**
 * The Lua of the algorithms that scripts share. Each works on whole numbers below 2^53, so that Redis and the in-process
 * store decide alike; `now` is Redis' clock in ms. Numbers become text by `whole`, since Lua's own way rounds.
 */

export const clockLua = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

export const wholeLua = `
local function whole(number) return string.format('%.0f', number) end
`;

/**
 * Sliding window: "<part>:<count>,...", a count for each twentieth of the window. A part is counted until its end is a whole
 * window ago, so that no window of any position holds more than the limit.
 */
export const slidingLua = `
local function readParts(value, size)
  local parts, oldest = {}, math.floor(now / size) - 20
  for part, count in string.gmatch(value or '', '(%d+):(%d+)') do
    if tonumber(part) >= oldest then parts[#parts + 1] = { tonumber(part), tonumber(count) } end
  end
  return parts
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
 * Token bucket as GCRA does it: "<debt>:<time>". The debt is what was taken and has not flowed back, in units of one request
 * divided by the window's milliseconds, so that \`limit\` of them flow back each millisecond.
 */
export const bucketLua = `
local function readDebt(value, limit)
  local debt, at = string.match(value or '0:0', '^(%d+):(%d+)$')
  if not debt then return nil end
  return math.max(0, tonumber(debt) - math.max(0, now - tonumber(at)) * limit)
end

local function writeDebt(key, debt, limit)
  if debt <= 0 then return redis.pcall('DEL', key) end
  local ttl = math.max(1, math.min(math.ceil(debt / limit), 3e12))
  return redis.pcall('SET', key, whole(debt) .. ':' .. whole(now), 'PX', whole(ttl))
end
`;
