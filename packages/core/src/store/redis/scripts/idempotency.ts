import type { Script } from "./lua.js";
import { defineScript } from "./lua.js";

/**
 * A record is a text: `1r<w>:<owner>:<fingerprint>` while a request runs (`w` is 1 if others wait for it), and
 * `1d:<fingerprint>:<response>` afterwards. One SET writes value and TTL together, so that no record is without a TTL.
 *
 * `read` returns the kind of a record, then its fingerprint, and its response, or its owner and `w`; the kind `fault`
 * comes with the text of an error.
 */
const recordLua = `
local function read(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then return 'fault', value.err end
  if not value then return 'none' end
  local print = string.match(value, '^1d:([%w_-]+):')
  if print then return 'done', print, string.sub(value, #print + 5) end
  local waits, owner, running = string.match(value, '^1r([01]):([%w_-]+):([%w_-]+)$')
  if running then return 'running', running, owner, waits end
  return 'fault', 'WRONGTYPE not an idempotency record'
end
local function errorOf(reply) return type(reply) == 'table' and reply.err or nil end
`;

/**
 * Claims a key, or extends the lease of its owner. KEYS[1]: the record. ARGV: owner, fingerprint, lease in ms, 1 if the
 * caller waits. Returns `claimed`, `mismatch`, `running` with the time left in ms, or `completed` with the response; or
 * the text of an error.
 */
export const claimScript: Script = defineScript(`${recordLua}
local me, mine, lease, waits = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local kind, print, rest, awaited = read(KEYS[1])
if kind == 'fault' then return print end
if kind == 'none' then
  local problem = errorOf(redis.pcall('SET', KEYS[1], '1r0:' .. me .. ':' .. mine, 'PX', lease))
  return problem or { 'claimed' }
end
if print ~= mine then return { 'mismatch' } end
if kind == 'done' then return { 'completed', rest } end
if rest == me then
  local problem = errorOf(redis.pcall('PEXPIRE', KEYS[1], lease))
  return problem or { 'claimed' }
end
local left = math.max(0, redis.call('PTTL', KEYS[1]))
if waits == '1' and awaited == '0' and left > 0 then
  local problem = errorOf(redis.pcall('SET', KEYS[1], '1r1:' .. rest .. ':' .. print, 'PX', left))
  if problem then return problem end
end
return { 'running', left }
`);

/**
 * Stores a response, unless there is one, or another request has the key. KEYS[1]: the record. ARGV: fingerprint,
 * response, TTL in ms, channel, message for those who wait.
 */
export const completeScript: Script = defineScript(`${recordLua}
local kind, print, _, awaited = read(KEYS[1])
if kind == 'fault' then return print end
if kind == 'done' or (kind == 'running' and print ~= ARGV[1]) then return redis.status_reply('OK') end
local problem = errorOf(redis.pcall('SET', KEYS[1], '1d:' .. ARGV[1] .. ':' .. ARGV[2], 'PX', ARGV[3]))
if problem then return problem end
if awaited == '1' then redis.pcall('PUBLISH', ARGV[4], ARGV[5]) end
return redis.status_reply('OK')
`);

/** Ends the lease of an owner. KEYS[1]: the record. ARGV: owner, channel, message for those who wait. */
export const releaseScript: Script = defineScript(`${recordLua}
local kind, print, owner, awaited = read(KEYS[1])
if kind == 'fault' then return print end
if kind ~= 'running' or owner ~= ARGV[1] then return redis.status_reply('OK') end
local problem = errorOf(redis.pcall('DEL', KEYS[1]))
if problem then return problem end
if awaited == '1' then redis.pcall('PUBLISH', ARGV[2], ARGV[3]) end
return redis.status_reply('OK')
`);
