/**
 * The Lua of the algorithms that scripts share. Each works on whole numbers below 2^53, so that Redis and the in-process
 * store decide alike; `now` is Redis' clock in ms. Numbers become text by `whole`, since Lua's own way rounds.
 */

export const clockLua = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

/** Reads a whole number below 2^53. `tonumber` alone takes "nan", "inf", "0x10" and blanks for numbers. */
export const naturalLua: string = `
local function natural(text)
  local number = #text <= 16 and string.match(text, '^%d+$') and tonumber(text)
  return number and number < 2 ^ 53 and number or nil
end
`;

export const wholeLua: string = `${naturalLua}
local function whole(number) return string.format('%.0f', number) end
`;

/**
 * Sliding window: "<part>:<count>,...", a count for each twentieth of the window. A part is counted until its end is a whole
 * window ago, so that no window of any position holds more than the limit.
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
 * Token bucket as GCRA does it: "<debt>:<time>". The debt is what was taken and has not flowed back, in units of one request
 * divided by the window's milliseconds, so that \`limit\` of them flow back each millisecond.
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
