import type { Script } from "./script.js";
import { defineScript } from "./script.js";

/**
 * Decides about a batch of requests in one call (see {@link Question} for the order of the parts).
 *
 * KEYS, for each request: the charges before the token, the revocation record and the cut-offs, the use, the charges after
 * it. ARGV, for each request: `before`, `tokens`, `issuedAt` ("" if none), `useMs` ("" if none), `after`, where `before`,
 * `tokens` and `after` say how many keys there are of each kind; then `limit, windowMs, cost` for each charge in the same
 * order as the keys.
 *
 * Returns one flat list: the time in ms, then for each request `revoked` (1, 0, -1 not reached, or an error text),
 * `repeated` (the same) if there is a use, and for each charge `consumed` (-1 not reached, or an error text) and `resetMs`.
 *
 * It reads first and writes last, and every call that may fail goes through `pcall`: a poisoned key or a full memory
 * harms one part of one answer. There is no `#!lua` line, with which Redis would refuse the whole script under OOM.
 */
export const admitScript: Script = defineScript(`
local out, key, arg = {}, 1, 1

local function peek(count, limits)
  local charges, refused = {}, false
  for i = 1, count do
    local charge = { key = KEYS[key], limit = tonumber(ARGV[limits]), window = tonumber(ARGV[limits + 1]),
      cost = tonumber(ARGV[limits + 2]), consumed = 0 }
    key, limits = key + 1, limits + 3
    local value = redis.pcall('GET', charge.key)
    if type(value) == 'table' then
      charge.fault = value.err
    elseif not value then
      charge.fresh, charge.reset = true, charge.window
    elseif not string.match(value, '^%d+$') then
      charge.fault = 'WRONGTYPE not a counter'
    else
      charge.consumed, charge.reset = tonumber(value), redis.call('PTTL', charge.key)
      if charge.reset < 0 then
        redis.pcall('PEXPIRE', charge.key, charge.window)
        charge.reset = charge.window
      end
    end
    if not charge.fault and charge.consumed + charge.cost > charge.limit then
      charge.refused, refused = true, true
    end
    charges[i] = charge
  end
  return charges, refused
end

local function count(charges)
  for _, charge in ipairs(charges) do
    if not charge.fault and charge.cost > 0 then
      local reply
      if charge.fresh then
        reply = redis.pcall('SET', charge.key, charge.cost, 'PX', charge.window)
      else
        reply = redis.pcall('INCRBY', charge.key, charge.cost)
      end
      if type(reply) == 'table' and reply.err then
        charge.fault = reply.err
      else
        charge.consumed = charge.consumed + charge.cost
      end
    end
  end
end

local function revoked(keys, issued)
  local record = redis.pcall('EXISTS', KEYS[key])
  if type(record) == 'table' then return record.err end
  if record == 1 then return 1 end
  for i = key + 1, key + keys - 1 do
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

local function report(charges, expected)
  for i = 1, expected do
    local charge = charges and charges[i]
    if not charge then
      out[#out + 1], out[#out + 2] = -1, 0
    elseif charge.fault then
      out[#out + 1], out[#out + 2] = charge.fault, 0
    else
      out[#out + 1] = charge.refused and charge.consumed + charge.cost or charge.consumed
      out[#out + 1] = charge.reset
    end
  end
end

local time = redis.call('TIME')
out[1] = time[1] * 1000 + math.floor(time[2] / 1000)

while arg <= #ARGV do
  local before, tokens, issued = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1]), ARGV[arg + 2]
  local useMs, after = tonumber(ARGV[arg + 3]), tonumber(ARGV[arg + 4])
  local firstLimit, firstKey, uses = arg + 5, key, useMs and 1 or 0
  local verdict, used, last = -1, -1, nil
  local first, refused = peek(before, firstLimit)
  if not refused then
    if tokens > 0 then verdict = revoked(tokens, issued) end
    key = firstKey + before + tokens + uses
    if useMs and verdict ~= 1 then used = repeated(KEYS[key - 1], useMs) end
    if verdict == 1 or (useMs and used ~= 0) then
      count(first)
    else
      last, refused = peek(after, firstLimit + 3 * before)
      if not refused then
        count(first)
        count(last)
      end
    end
  end
  out[#out + 1] = verdict
  if useMs then out[#out + 1] = used end
  report(first, before)
  report(last, after)
  key = firstKey + before + tokens + uses + after
  arg = firstLimit + 3 * (before + after)
end

return out
`);
