import { clockLua, declaredLua, naturalLua, tryLua, defineScript } from "./lua.js";
import { revokeLua } from "./revocation.js";
import type { Script } from "./lua.js";

/**
 * The common part of the scripts about the sessions of one subject. KEYS begin with the index, the records and the live
 * sessions of many subjects, and end with the keys outside of their hash slot that the script has asked for: records of revoked tokens, and shared sets. ARGV
 * begin with:
 *
 * 1. "1" if the script writes to all keys; "0" if the caller writes to those outside of this hash slot, as in a Cluster;
 *    then the key prefix of the client
 * 2. the prefix of the keys of revoked tokens
 * 3. the seconds by which a record outlives its token
 * 4. the maximum life of a token in seconds
 * 5. the shared set of the subject
 *
 * ARGV ends with the name of the subject. The live sessions have `id name` as members.
 *
 * `decode` reads a record; an invalid time in it is an error, since such a session would never end. `finish` ends a
 * session: it revokes the access tokens; the refresh token ends with the record. `needFor` asks for the keys that this
 * takes. `sweep` removes the records of finished sessions, many at once. It comes last, so that a call that fails before it
 * can be repeated. With "0" `finish` only marks the record, and the caller removes the record when the tokens are revoked.
 */
const prelude = `${naturalLua}${tryLua}${clockLua}
local index, records, live, name = KEYS[1], KEYS[2], KEYS[3], ARGV[#ARGV]
local whole, client = string.sub(ARGV[1], 1, 1) == '1', string.sub(ARGV[1], 2)
local revoked, margin, longest, shared = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
${declaredLua}
-- The list of live sessions decides nothing: a call must not fail for a value that is none.
local function leaveLive(id)
  redis.pcall('ZREM', live, id .. ' ' .. name)
end

-- Notes when a session ends, and drops some of those that have ended by themselves.
local function noteEnd(id, ends)
  local over = redis.pcall('ZRANGEBYSCORE', live, '-inf', now, 'LIMIT', 0, 20)
  for _, ended in ipairs(over.err and {} or over) do redis.pcall('ZREM', live, ended) end
  redis.pcall('ZADD', live, ends, id .. ' ' .. name)
end

local function keep(key, till)
  if try('PTTL', key) < till - now then try('PEXPIREAT', key, till) end
end

${revokeLua}
local function revoke(jti, expires)
  revokeToken(client .. revoked .. jti, expires, margin)
end

local function needRecord(jti, expires)
  if whole and recordEnd(expires, margin) then need(revoked .. jti) end
end

local function needFor(record)
  if not whole then return end
  need(shared)
  if record.orgTokens then need(record.orgTokens) end
  for _, token in ipairs(record.access) do needRecord(token.jti, token.expiresAt) end
end

local function forget(id)
  try('HDEL', records, id)
  try('ZREM', index, id)
  leaveLive(id)
end

local function unreadable(what)
  error({ err = 'WRONGTYPE not ' .. what })
end

local function isTime(value)
  return type(value) == 'number' and value >= 0 and value < 2 ^ 53
end

local function decode(text)
  local isJson, record = pcall(cjson.decode, text or '')
  if not isJson or type(record) ~= 'table' or type(record.access) ~= 'table' then unreadable('a session') end
  for _, name in ipairs({ 'seenAt', 'endsAt', 'idleEndsAt', 'issuedAt', 'generation' }) do
    if not isTime(record[name]) then unreadable('a session') end
  end
  if record.idleMs and not isTime(record.idleMs) then unreadable('a session') end
  for _, token in ipairs(record.access) do
    if type(token) ~= 'table' or type(token.jti) ~= 'string' or not isTime(token.expiresAt) then
      unreadable('a session')
    end
  end
  if type(record.current) ~= 'string' then unreadable('a session') end
  return record
end

-- When all sessions were ended last, or -1.
local function endedLast(key)
  local value = redis.call('GET', key)
  return value and (natural(value) or unreadable('a time')) or -1
end

local finished, sets = {}, {}

local function leave(set, jti)
  sets[set] = sets[set] or {}
  sets[set][#sets[set] + 1] = jti
end

local function finish(id, text, record, out)
  if whole then
    record.access[#record.access + 1] = { jti = record.current, expiresAt = 0 }
    for _, token in ipairs(record.access) do
      revoke(token.jti, token.expiresAt)
      leave(client .. shared, token.jti)
      if record.orgTokens then leave(client .. record.orgTokens, token.jti) end
    end
    finished[#finished + 1] = id
    text = ''
  else
    try('ZREM', index, id)
    leaveLive(id)
    if not record.over then
      record.over = true
      try('HSET', records, id, cjson.encode(record))
    end
  end
  out[#out + 1], out[#out + 2] = id, text
end

local function each(list, call)
  for first = 1, #list, 500 do call(unpack(list, first, math.min(first + 499, #list))) end
end

local function sweep()
  for set, gone in pairs(sets) do
    each(gone, function(...) redis.pcall('SREM', set, ...) end)
  end
  each(finished, function(...) try('ZREM', index, ...) end)
  for _, id in ipairs(finished) do leaveLive(id) end
  each(finished, function(...) try('HDEL', records, ...) end)
end
`;

/**
 * Adds a session. KEYS: the index, the records, the live sessions, the time of the last end of all sessions. ARGV from 6: id, record, its
 * `iat`, the end of the session, the time at which the caller stops waiting, the subject's cut-off or "", the maximum
 * number of sessions or 0, "1" to evict. Returns `created` with pairs of id and record of the evicted sessions, or
 * `late`, or `behind` with the time of the last end of all sessions, or `full`.
 */
export const createSessionScript: Script = defineScript(`${prelude}
local id, text, issued, ends = ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9])
local cutoff, most, evicts = tonumber(ARGV[11]), tonumber(ARGV[12]), ARGV[13] == '1'
if now > tonumber(ARGV[10]) then return { 'late' } end
local ended = endedLast(KEYS[4])
if ended >= issued then return { 'behind', ended } end

for _, old in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', now)) do forget(old) end
local count, out = redis.call('ZCARD', index), { 'created' }
if (cutoff and most > 0) or redis.call('HLEN', records) > count then
  for _, old in ipairs(redis.call('HKEYS', records)) do
    local text = redis.call('HGET', records, old)
    local record = decode(text)
    if record.endsAt <= now or (cutoff and record.issuedAt <= cutoff) then
      forget(old)
    elseif record.over then
      -- The sign-in that began to end it has failed: its tokens may not be revoked yet.
      out[#out + 1], out[#out + 2] = old, text
    end
  end
  count = redis.call('ZCARD', index)
end

if most > 0 and count >= most then
  if not evicts then return { 'full' } end
  local surplus = redis.call('ZRANGE', index, 0, count - most)
  -- One that cannot be read leaves all of them as they are.
  for i, old in ipairs(surplus) do
    local text = redis.call('HGET', records, old)
    surplus[i] = { old, text, decode(text) }
    needFor(surplus[i][3])
  end
  if #missing > 0 then return { 'keys', missing } end
  for _, session in ipairs(surplus) do finish(session[1], session[2], session[3], out) end
  sweep()
end
try('HSET', records, id, text)
try('ZADD', index, ends, id)
noteEnd(id, ends)
keep(records, ends)
keep(index, ends)
keep(live, ends)
return out
`);

/**
 * Replaces a refresh token. KEYS: the index, the records, the live sessions. ARGV from 6: id, jti and generation of the token, jti of its
 * successor and of the access token, their `iat`, life of the access token in s, idle life in ms, the time in ms for which
 * a replaced token gets the same successor again, the maximum number of access tokens, the time at which the caller stops
 * waiting, changes of the record as JSON, jti of the access token for a repetition. Returns `rotated` with the record and
 * pairs of jti and expiry of the surplus access tokens; `repeated` with the record; `reused` with id and record; `over`
 * with both, if the caller must finish a session end that another call began; `missing`; `late`.
 *
 * Only the parent of the current token gets its successor again: when the successor is presented, it becomes the parent. If
 * less than half of the life of the newest access token is left by then, the repetition has a new one. Its twin is `rotate`
 * in store/memory/sessions.ts.
 *
 * If the generation of the token is later than that of the record, a failover has lost a rotation. The session then
 * continues with the generation of the token.
 */
export const rotateSessionScript: Script = defineScript(`${prelude}
local id, presented, generation, issued = ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[11])
local text = redis.call('HGET', records, id)
if not text then return { 'missing' } end
local record = decode(text)
if record.idleEndsAt <= now then return { 'missing' } end
if now > tonumber(ARGV[16]) then return { 'late' } end
local isNext = presented == record.current or generation > record.generation
local isRepeated = presented == record.previous and now - record.seenAt < tonumber(ARGV[14])
if record.over then return { (isNext or isRepeated) and 'over' or 'reused', id, text } end

local function addAccess(jti)
  local live = {}
  for _, token in ipairs(record.access) do
    if token.expiresAt * 1000 > now then live[#live + 1] = token end
  end
  live[#live + 1] = { jti = jti, expiresAt = math.min(issued + tonumber(ARGV[12]), math.floor(record.idleEndsAt / 1000)) }
  record.access = live
  for name, value in pairs(cjson.decode(ARGV[17])) do record[name] = value end
end

if isNext then
  record.previous, record.current, record.generation = presented, ARGV[9], generation + 1
  record.issuedAt, record.accessIssuedAt, record.seenAt = issued, nil, now
  record.idleEndsAt = math.min(now + (record.idleMs or tonumber(ARGV[13])), record.endsAt)
  addAccess(ARGV[10])
  local out = {}
  while #record.access > tonumber(ARGV[15]) do
    local token = table.remove(record.access, 1)
    out[#out + 1], out[#out + 2] = token.jti, token.expiresAt
    needRecord(token.jti, token.expiresAt)
  end
  if #missing > 0 then return { 'keys', missing } end
  text = cjson.encode(record)
  -- The token must not be replaced where the answer is an error.
  redis.call('ZSCORE', index, id)
  try('HSET', records, id, text)
  try('ZADD', index, record.idleEndsAt, id)
  noteEnd(id, record.idleEndsAt)
  keep(records, record.idleEndsAt)
  keep(index, record.idleEndsAt)
  keep(live, record.idleEndsAt)
  if whole then
    for i = 1, #out, 2 do revoke(out[i], out[i + 1]) end
  end
  return { 'rotated', text, unpack(out) }
end
if isRepeated then
  local newest = record.access[#record.access]
  local left, life = newest and newest.expiresAt - issued or 0, tonumber(ARGV[12])
  if left < life / 2 and left < math.floor(record.idleEndsAt / 1000) - issued then
    addAccess(ARGV[18])
    record.accessIssuedAt = issued
    text = cjson.encode(record)
    try('HSET', records, id, text)
  end
  return { 'repeated', text }
end
needFor(record)
if #missing > 0 then return { 'keys', missing } end
local out = { 'reused' }
finish(id, text, record, out)
sweep()
return out
`);

/**
 * Ends sessions. KEYS: the index, the records, the live sessions, the time of the last end of all sessions, the tokens by their expiry. ARGV
 * from 6: `only`, `except`, `all` or `until`; then the id, or for `all` and `until` the time in unix seconds; then for
 * `except` the jti of a token that stays. `until` spares sessions that began after the time. Returns `ended` with pairs of
 * id and record of the ended sessions. On one server it also revokes every other token in the shared set, except those of
 * the session that stays. The shared set must then be among KEYS.
 */
export const endSessionsScript: Script = defineScript(`${prelude}
local kind, which = ARGV[6], ARGV[7]
local out, passed, doomed, others = { 'ended' }, {}, {}, {}
-- Tokens that stay, or of which the record of their session says what is to be done.
local known = { [ARGV[8]] = true }

for _, id in ipairs(kind == 'only' and { which } or try('HKEYS', records) or {}) do
  local text = try('HGET', records, id)
  local isStaying = kind == 'except' and id == which
  if text and not isStaying and (tonumber(try('ZSCORE', index, id) or nil) or now) < now then
    passed[#passed + 1] = id
  elseif text then
    local isRecord, record = pcall(decode, text)
    if isRecord then
      if kind == 'until' and isTime(record.createdAt) and math.floor(record.createdAt / 1000) > tonumber(which) then
        isStaying = true
      end
      known[record.current] = true
      for _, token in ipairs(record.access) do known[token.jti] = true end
      if not isStaying then
        doomed[#doomed + 1] = { id, text, record }
        needFor(record)
      elseif record.previous then
        -- A client that has lost the reply may still ask for its successor.
        known[record.previous] = true
      end
    elseif isStaying then
      -- Nobody knows which tokens are to stay.
      return redis.error_reply(textOf(record))
    else
      fault = fault or textOf(record)
    end
  end
end
if kind ~= 'only' and whole then
  for _, jti in ipairs(membersOf(client .. shared)) do
    if not known[jti] then
      local expires = tonumber(try('ZSCORE', KEYS[5], jti) or nil) or now / 1000 + longest
      others[#others + 1] = { jti, expires }
      needRecord(jti, expires)
    end
  end
end
if #missing > 0 then return { 'keys', missing } end

if kind == 'all' or kind == 'until' then
  local value = redis.pcall('GET', KEYS[4])
  local ended = math.max(tonumber(which), type(value) == 'string' and natural(value) or 0)
  try('SET', KEYS[4], string.format('%.0f', ended), 'EX', longest + margin)
end
for _, id in ipairs(passed) do forget(id) end
for _, session in ipairs(doomed) do finish(session[1], session[2], session[3], out) end
sweep()
for _, token in ipairs(others) do
  revoke(token[1], token[2])
  try('SREM', client .. shared, token[1])
end
if kind == 'all' and whole then try('DEL', KEYS[5]) end
return fault and redis.error_reply(fault) or out
`);

/** Removes the records of sessions whose tokens are revoked. KEYS: the index, the records. ARGV: ids. */
export const removeSessionsScript: Script = defineScript(`
for _, id in ipairs(ARGV) do
  redis.call('HDEL', KEYS[2], id)
  redis.call('ZREM', KEYS[1], id)
end
return #ARGV
`);

/** Lists live sessions in descending order of their ends. KEYS: the index, the records. ARGV: offset, count. Returns pairs of id and record. */
export const listSessionsScript: Script = defineScript(`
local time, out = redis.call('TIME'), {}
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', '(' .. string.format('%.0f', now), 'LIMIT', ARGV[1], ARGV[2])
for _, id in ipairs(ids) do
  local text = redis.call('HGET', KEYS[2], id)
  if text then out[#out + 1], out[#out + 2] = id, text end
end
return out
`);

/** Returns the time in ms, and the value of each of KEYS, null for a missing key. */
export const clockReadingScript: Script = defineScript(`
local time = redis.call('TIME')
local out = { time[1] * 1000 + math.floor(time[2] / 1000) }
for i, key in ipairs(KEYS) do out[i + 1] = redis.call('GET', key) end
return out
`);
