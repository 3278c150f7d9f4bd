import { bucketLua, slidingLua, blockLua, countLua, peekLua } from "./counting.js";
import { clockLua, packLua, wholeLua, defineScript } from "./lua.js";
import type { Script } from "./lua.js";

/** Globals cost a look-up each time. */
const localsLua = `
local KEYS, ARGV, redis, string, tonumber, type, unpack = KEYS, ARGV, redis, string, tonumber, type, unpack
local call, pcall, match = redis.call, redis.pcall, string.match
`;

/**
 * Decides about a batch of requests in one call. The order of the parts is that of `decide` in store/ports/decide.ts,
 * the only twin of the loop at the end: a change here is a change there.
 *
 * KEYS begin with those of revocation, of all requests: the record and the cut-offs of each token. Then, for each
 * request: the consumptions before the token, the replay check, the consumptions after it. ARGV begins with the number of
 * keys of revocation, and 1 if the reply may be packed ("" if not); then come runs of requests with the same terms. Each run has the number of its requests (below 0 if
 * they must be read first, see below), `before`, `tokens`, `useMs` (the TTL of the replay check, or ""), `after`,
 * `refusals` (below), where `before`, `tokens` and `after` are numbers of keys; then the terms of the consumptions in the
 * same order; then, in one text, the `issuedAt` of each of its requests (or nothing) and a comma. A plain fixed window has its key, and the terms
 * `limit, windowMs, cost`. A consumption with a mode has its key and that of its block if it has one, and the terms `kind,
 * limit, windowMs, cost, burst or slot, shadow (1 or ""), refusals before a block (or ""), duration of the first (negative
 * if refusals extend a block) and of the longest block`.
 *
 * `refusals` is 1 if an unknown revocation refuses the request, and "" otherwise. If unreadable values of some
 * consumptions refuse it too, it is `1:` or `0:` and a digit for each consumption, 1 for those.
 *
 * Returns one flat list: the time in ms, then for each request `revoked` (0 for no, 1 by its record, 2 + the latest
 * cut-off if a cut-off revokes it, -1 if not reached, or an error text), `replayed` (0, 1, -1 or an error text) if there
 * is a replay check, and for each consumption `consumed` (-1 if not reached, -2 if blocked, or an error text), `resetMs`,
 * and with a mode its receipt (-1 if it was not counted). Packed, a list of numbers alone is one text of their doubles.
 *
 * Almost no token is revoked, so one EXISTS for the whole batch shows that none is, for values of any type. Only existing
 * keys are read.
 *
 * The script reads first and writes last, and every call that may fail goes through `pcall`: an unreadable key or a full
 * memory affects one part of one answer. There is no `#!lua` line, with which Redis would refuse the whole script under
 * OOM. Plain fixed windows are the exception (`countPlain`): nearly all of them fit, so they are counted first, with two
 * calls instead of three. If one does not fit or cannot be read, what was counted is taken back, and the request is
 * decided as all others. The caller says for which requests that is likely.
 */
export function decideScriptWith(clock: string): Script {
  return defineScript(`${packLua}${localsLua}${clock}${wholeLua}${slidingLua}${bucketLua}${peekLua}${countLua}${blockLua}
local peekers = { window = peekWindow, sliding = peekSliding, bucket = peekBucket, slots = peekSlots }
local counters = { window = countWindow, sliding = countSliding, bucket = countBucket, slots = countSlots }
local out, arg, asked = { now }, 3, tonumber(ARGV[1])
local key, record = asked + 1, 1
local nothing = asked > 0 and pcall('EXISTS', unpack(KEYS, 1, asked)) == 0

local function parseMode()
  local kind = ARGV[arg]
  local consumption = { key = KEYS[key], mode = true, kind = kind, limit = tonumber(ARGV[arg + 1]),
    window = tonumber(ARGV[arg + 2]), cost = tonumber(ARGV[arg + 3]), shadow = ARGV[arg + 5] == '1',
    after = tonumber(ARGV[arg + 6]), consumed = 0 }
  consumption.extra = kind == 'bucket' and tonumber(ARGV[arg + 4]) or ARGV[arg + 4]
  key = key + 1
  if consumption.after then
    consumption.blockKey, key = KEYS[key], key + 1
    local first = tonumber(ARGV[arg + 7])
    consumption.first, consumption.extends, consumption.longest = math.abs(first), first < 0, tonumber(ARGV[arg + 8])
  end
  arg = arg + 9
  return consumption
end

local function parse(count)
  local consumptions = {}
  for i = 1, count do
    local limit = tonumber(ARGV[arg])
    if limit then
      consumptions[i] = { key = KEYS[key], limit = limit, window = tonumber(ARGV[arg + 1]), cost = tonumber(ARGV[arg + 2]),
        consumed = 0, reset = 0 }
      key, arg = key + 1, arg + 3
    else
      consumptions[i], consumptions.hasModes = parseMode(), true
    end
  end
  return consumptions
end

local function peek(consumptions)
  local refused = false
  consumptions.reached = true
  for i = 1, #consumptions do
    local consumption = consumptions[i]
    if not consumption.mode then
      peekWindow(consumption)
    else
      if consumption.after then peekBlock(consumption) end
      if not consumption.blocked and not consumption.fault then peekers[consumption.kind](consumption) end
    end
    if consumption.refused and not consumption.shadow then refused = true end
  end
  return refused
end

-- Is there a consumption that refuses unreadable values, and has one?
local function unreadable(consumptions, refusals, skipped)
  for i = 1, #consumptions do
    local fault = consumptions[i].fault
    if fault and match(fault, '^WRONGTYPE') and string.sub(refusals, 2 + skipped + i, 2 + skipped + i) == '1' then return true end
  end
  return false
end

local function count(consumptions)
  for i = 1, #consumptions do
    local consumption = consumptions[i]
    if not consumption.fault and not consumption.refused and (consumption.cost > 0 or consumption.mode) then
      local reply
      if consumption.mode then reply = counters[consumption.kind](consumption) else reply = countWindow(consumption) end
      if type(reply) == 'table' and reply.err then
        consumption.fault = reply.err
      else
        consumption.consumed = consumption.consumed + consumption.cost
        if consumption.mode then consumption.counted = true end
      end
    end
  end
end

local function punish(consumptions)
  if not consumptions.hasModes then return end
  for _, consumption in ipairs(consumptions) do
    if consumption.refused and consumption.after and consumption.after > 0 then
      if not consumption.blocked then strike(consumption) elseif consumption.extends then extend(consumption) end
    end
  end
end

-- The times of the tokens of a run, read where one of them may be revoked.
local texts, times
local function issuedAt(text, request)
  if texts ~= text then
    texts, times = text, {}
    for time in string.gmatch(text, '([^,]*),') do times[#times + 1] = time end
  end
  return times[request + 1]
end

local function revoked(first, last, text, request)
  if nothing then return 0 end
  if last - first + 1 < asked and pcall('EXISTS', unpack(KEYS, first, last)) == 0 then return 0 end
  local found = pcall('EXISTS', KEYS[first])
  if found == 1 then return 1 end
  local fault, latest = type(found) == 'table' and found.err, -1
  for i = first + 1, last do
    local value = pcall('GET', KEYS[i])
    local at = type(value) == 'string' and natural(value)
    if at then
      latest = math.max(latest, at)
    elseif value then
      fault = fault or type(value) == 'table' and value.err or 'WRONGTYPE not a cut-off'
    end
  end
  -- Parsers of clients round what is near 2^53.
  if latest >= 0 then
    local issued = issuedAt(text, request)
    if issued == '' or tonumber(issued) <= latest then return math.min(2 + latest, 2 ^ 52) end
  end
  return fault or 0
end

local function repeated(key, ms)
  local reply = pcall('SET', key, '1', 'NX', 'PX', ms)
  if type(reply) == 'table' and reply.err then return reply.err end
  return reply and 0 or 1
end

local function report(consumptions)
  local at, reached = #out, consumptions.reached
  for i = 1, #consumptions do
    local consumption = consumptions[i]
    if not reached then
      out[at + 1], out[at + 2] = -1, 0
    elseif consumption.fault then
      out[at + 1], out[at + 2] = consumption.fault, 0
    elseif consumption.blocked then
      out[at + 1], out[at + 2] = -2, consumption.reset
    else
      out[at + 1], out[at + 2] = consumption.refused and consumption.consumed + consumption.cost or consumption.consumed, consumption.reset
    end
    at = at + 2
    if consumption.mode then
      at = at + 1
      out[at] = consumption.counted and consumption.receipt or -1
    end
  end
end

-- The terms of a run of plain fixed windows; nil if a consumption has a mode or costs nothing.
local function plainTerms(count)
  local limits, windows, costs, costTexts = {}, {}, {}, {}
  for i = 1, count do
    local limit = tonumber(ARGV[arg + 3 * i - 3])
    if not limit then return nil end
    limits[i], windows[i], costTexts[i] = limit, tonumber(ARGV[arg + 3 * i - 2]), ARGV[arg + 3 * i - 1]
    costs[i] = tonumber(costTexts[i])
    if costs[i] == 0 then return nil end
  end
  return limits, windows, costs, costTexts
end

local function takeBack(key, cost, isNew)
  if isNew then pcall('DEL', key) else pcall('INCRBY', key, -cost) end
end

-- Counts a request at once, and reports it. Returns false, and leaves no count, if that does not do.
local function countPlain(at, limits, windows, costs, costTexts)
  local areNew
  for i = 1, #limits do
    local name, cost = KEYS[key + i - 1], costs[i]
    local consumed = pcall('INCRBY', name, costTexts[i])
    local isCounted = type(consumed) == 'number'
    local ends = isCounted and consumed >= cost and pcall('PEXPIRETIME', name)
    if type(ends) == 'number' and ends < 0 then
      if consumed == cost then
        areNew = areNew or {}
        areNew[i] = true
      end
      ends = now + windows[i]
      if pcall('PEXPIREAT', name, ends) ~= 1 then ends = false end
    end
    if type(ends) ~= 'number' or ends <= now or consumed > limits[i] then
      for j = 1, isCounted and i or i - 1 do takeBack(KEYS[key + j - 1], costs[j], areNew and areNew[j]) end
      for j = 2 * i - 2, 1, -1 do out[at + j] = nil end
      return false
    end
    out[at + 2 * i - 1], out[at + 2 * i] = consumed, ends - now
  end
  return true
end

-- Decides about one request by reading first. Its terms begin at arg.
local function decide(before, tokens, text, request, useMs, after, refusals)
  local verdict, used = -1, -1
  local first, use = parse(before), KEYS[key]
  if useMs then key = key + 1 end
  local last = parse(after)
  local isStrict = #refusals > 1
  if not peek(first) and not (isStrict and unreadable(first, refusals, 0)) then
    if tokens > 0 then verdict = revoked(record, record + tokens - 1, text, request) end
    local isRevoked = type(verdict) == 'number' and verdict > 0
    if useMs and not isRevoked then used = repeated(use, useMs) end
    local isUnknown = type(verdict) == 'string'
    if isRevoked or (useMs and used ~= 0) or (isUnknown and match(refusals, '^1')) then
      count(first)
    elseif not peek(last) and not (isStrict and unreadable(last, refusals, before)) then
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

local words, filled = #ARGV, 1
while arg <= words do
  local requests, before, tokens = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 2])
  local useMs, after, refusals = tonumber(ARGV[arg + 3]), tonumber(ARGV[arg + 4]), ARGV[arg + 5]
  local terms, width = arg + 6, before + after
  arg = terms
  local limits, windows, costs, costTexts
  if requests > 0 and not useMs then limits, windows, costs, costTexts = plainTerms(width) end
  -- The end of the terms: where a request has been parsed, or known from the start.
  local finish = limits and terms + 3 * width
  if not finish then
    for i = 1, width do arg = arg + (tonumber(ARGV[arg]) and 3 or 9) end
    finish = arg
  end
  for request = 0, math.abs(requests) - 1 do
    local text, isDone = ARGV[finish], false
    if limits then
      local verdict = tokens == 0 and -1 or nothing and 0 or revoked(record, record + tokens - 1, text, request)
      if verdict == 0 or verdict == -1 then
        filled = filled + 1
        out[filled] = verdict
        isDone = countPlain(filled, limits, windows, costs, costTexts)
        if isDone then key, filled = key + width, filled + 2 * width else out[filled] = nil end
      end
    end
    if not isDone then
      arg = terms
      decide(before, tokens, text, request, useMs, after, refusals)
      filled = #out
    end
    record = record + tokens
  end
  arg = finish + 1
end

return ARGV[2] == '1' and pack(out) or out
`);
}

export const decideScript: Script = decideScriptWith(clockLua);
