import { bucketLua, clockLua, slidingLua, wholeLua } from "./algorithms.js";
import type { Script } from "./script.js";
import { defineScript } from "./script.js";

/** Looks at one charge: how much is consumed, when there is more, and whether it fits. Writes nothing. */
const peekLua = `
local function read(charge)
  local value = redis.pcall('GET', charge.key)
  if type(value) == 'table' then charge.fault = value.err end
  return value
end

local function peekWindow(charge)
  local value = read(charge)
  if charge.fault then return end
  if value and not string.match(value, '^%d+$') then
    charge.fault = 'WRONGTYPE not a counter'
    return
  end
  local ends = value and redis.call('PEXPIRETIME', charge.key) or now
  if ends < 0 then
    ends = now + charge.window
    redis.pcall('PEXPIREAT', charge.key, ends)
  end
  charge.fresh = ends <= now
  charge.consumed = charge.fresh and 0 or tonumber(value)
  charge.reset = charge.fresh and charge.window or ends - now
  charge.refused = charge.consumed + charge.cost > charge.limit
end

local function peekSliding(charge)
  local value = read(charge)
  if charge.fault then return end
  if value and not string.match(value, '^[%d:,]+$') then
    charge.fault = 'WRONGTYPE not a sliding window'
    return
  end
  local size = charge.window / 20
  local parts, number, consumed = readParts(value, size), math.floor(now / size), 0
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
  local held = redis.pcall('ZCOUNT', charge.key, '(' .. whole(now), '+inf')
  if type(held) == 'table' then
    charge.fault = held.err
    return
  end
  charge.consumed, charge.refused = held, held + charge.cost > charge.limit
  charge.reset = charge.refused and 1000 or 0
end
`;

/** Counts one charge that fits: each returns the reply of its write, and leaves a receipt if the charge has a rule. */
const countLua = `
local function countWindow(charge)
  charge.receipt = now + charge.reset
  if charge.fresh then return redis.pcall('SET', charge.key, charge.cost, 'PXAT', charge.receipt) end
  if charge.cost > 0 then return redis.pcall('INCRBY', charge.key, charge.cost) end
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
  redis.pcall('ZREMRANGEBYSCORE', charge.key, '-inf', whole(now))
  local reply = redis.pcall('ZADD', charge.key, whole(now + charge.window), charge.extra)
  redis.pcall('PEXPIRE', charge.key, charge.window)
  return reply
end
`;

/** A block: "<until>:<level>:<strikes>:<end of the strikes>". Strikes are refusals within one window. */
const blockLua = `
local function peekBlock(charge)
  local value = redis.pcall('GET', charge.blockKey)
  if type(value) == 'table' then
    charge.fault = value.err
    return
  end
  local ends, level, strikes, strikesEnd = string.match(value or '0:0:0:0', '^(%d+):(%d+):(%d+):(%d+)$')
  if not ends then
    charge.fault = 'WRONGTYPE not a block'
    return
  end
  ends, strikesEnd = tonumber(ends), tonumber(strikesEnd)
  local forgotten = math.max(ends, strikesEnd) + charge.longest <= now
  charge.level, charge.strikes, charge.strikesEnd = forgotten and 0 or tonumber(level), tonumber(strikes), strikesEnd
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
  redis.pcall('SET', charge.blockKey, table.concat({ whole(ends), whole(level), whole(strikes), whole(strikesEnd) }, ':'),
    'PXAT', whole(math.max(ends, strikesEnd) + charge.longest))
end
`;

/**
 * Decides about a batch of requests in one call (see {@link Question} for the order of the parts).
 *
 * KEYS, for each request: the charges before the token, the revocation record and the cut-offs, the use, the charges after
 * it. ARGV, for each request: `before`, `tokens`, `issuedAt` ("" if none), `useMs` ("" if none), `after`, where `before`,
 * `tokens` and `after` say how many there are of each kind; then the charges in the same order: of a plain fixed
 * window its key, and `limit, windowMs, cost`; of one with a rule its key and that of its block if it has one, and
 * `kind, limit, windowMs, cost, burst or slot, shadow (1 or ""), strikes to a block ("" if none), first and longest block`.
 *
 * Returns one flat list: the time in ms, then for each request `revoked` (1, 0, -1 not reached, or an error text),
 * `repeated` (the same) if there is a use, and for each charge `consumed` (-1 not reached, -2 blocked, or an error text),
 * `resetMs`, and if it has a rule its receipt (-1 if it was not counted).
 *
 * It reads first and writes last, and every call that may fail goes through `pcall`: a poisoned key or a full memory
 * harms one part of one answer. There is no `#!lua` line, with which Redis would refuse the whole script under OOM.
 */
export function admitScriptWith(clock: string): Script {
  return defineScript(`${clock}${wholeLua}${slidingLua}${bucketLua}${peekLua}${countLua}${blockLua}
local peekers = { window = peekWindow, sliding = peekSliding, bucket = peekBucket, slots = peekSlots }
local counters = { window = countWindow, sliding = countSliding, bucket = countBucket, slots = countSlots }
local out, key, arg = { now }, 1, 1

local function parse(count)
  local charges = {}
  for i = 1, count do
    local charge, at = { key = KEYS[key], kind = 'window', consumed = 0 }, arg
    key, arg = key + 1, arg + 3
    charge.limit = tonumber(ARGV[at])
    if not charge.limit then
      charge.rule, charge.kind, charge.limit = true, ARGV[at], tonumber(ARGV[at + 1])
      charge.extra, charge.shadow = ARGV[at + 4], ARGV[at + 5] == '1'
      if charge.kind == 'bucket' then charge.extra = tonumber(charge.extra) end
      charge.after = tonumber(ARGV[at + 6])
      if charge.after then
        charge.blockKey, key = KEYS[key], key + 1
        charge.first, charge.longest = tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
      end
      at, arg = at + 1, at + 9
    end
    charge.window, charge.cost = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    charges[i] = charge
  end
  return charges
end

local function peek(charges)
  local refused = false
  for _, charge in ipairs(charges) do
    if charge.after then peekBlock(charge) end
    if not charge.blocked and not charge.fault then peekers[charge.kind](charge) end
    if charge.refused and not charge.shadow then refused = true end
    charge.reached = true
  end
  return refused
end

local function count(charges)
  for _, charge in ipairs(charges) do
    if not charge.fault and not charge.refused and (charge.cost > 0 or charge.rule) then
      local reply = counters[charge.kind](charge)
      if type(reply) == 'table' and reply.err then
        charge.fault = reply.err
      else
        charge.consumed, charge.counted = charge.consumed + charge.cost, true
      end
    end
  end
end

local function punish(charges)
  for _, charge in ipairs(charges) do
    if charge.refused and not charge.blocked and charge.after and charge.after > 0 then strike(charge) end
  end
end

local function revoked(first, keys, issued)
  local record = redis.pcall('EXISTS', KEYS[first])
  if type(record) == 'table' then return record.err end
  if record == 1 then return 1 end
  for i = first + 1, first + keys - 1 do
    local cutoff = redis.pcall('GET', KEYS[i])
    if type(cutoff) == 'table' then return cutoff.err end
    if cutoff then
      local at = tonumber(cutoff)
      if not at then return 'WRONGTYPE not a cut-off' end
      if issued == '' or tonumber(issued) <= at then return 1 end
    end
  end
  return 0
end

local function repeated(key, ms)
  local reply = redis.pcall('SET', key, '1', 'NX', 'PX', ms)
  if type(reply) == 'table' and reply.err then return reply.err end
  return reply and 0 or 1
end

local function report(charges)
  for _, charge in ipairs(charges) do
    if not charge.reached then
      out[#out + 1], out[#out + 2] = -1, 0
    elseif charge.fault then
      out[#out + 1], out[#out + 2] = charge.fault, 0
    elseif charge.blocked then
      out[#out + 1], out[#out + 2] = -2, charge.reset
    else
      out[#out + 1] = charge.refused and charge.consumed + charge.cost or charge.consumed
      out[#out + 1] = charge.reset
    end
    if charge.rule then out[#out + 1] = charge.counted and charge.receipt or -1 end
  end
end

while arg <= #ARGV do
  local before, tokens, issued = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1]), ARGV[arg + 2]
  local useMs, after = tonumber(ARGV[arg + 3]), tonumber(ARGV[arg + 4])
  arg = arg + 5
  local verdict, used = -1, -1
  local first = parse(before)
  local record = key
  key = key + tokens + (useMs and 1 or 0)
  local use = KEYS[key - 1]
  local last = parse(after)
  if not peek(first) then
    if tokens > 0 then verdict = revoked(record, tokens, issued) end
    if useMs and verdict ~= 1 then used = repeated(use, useMs) end
    if verdict == 1 or (useMs and used ~= 0) then
      count(first)
    elseif not peek(last) then
      count(first)
      count(last)
    end
  end
  punish(first)
  punish(last)
  out[#out + 1] = verdict
  if useMs then out[#out + 1] = used end
  report(first)
  report(last)
end

return out
`);
}

export const admitScript: Script = admitScriptWith(clockLua);
