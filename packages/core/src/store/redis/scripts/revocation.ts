import type { Script } from "./lua.js";
import { defineScript, naturalLua } from "./lua.js";

/**
 * Revokes a token inside a script about other things, which has `try` (lua.ts) and `now` in ms. `recordEnd` is the twin of
 * that in store/ports/revocation.ts, and nil for a token whose record would have ended.
 */
export const revokeLua = `
local function recordEnd(expires, margin)
  local till = math.ceil(expires) + margin
  return till * 1000 > now and till or nil
end

local function revokeToken(key, expires, margin)
  local till = recordEnd(expires, margin)
  if till then try('SET', key, 'revoked', 'EXAT', till) end
end
`;

/**
 * Records a revocation until a time by Redis' own clock. KEYS[1]: the record. ARGV[1]: unix seconds.
 * An expired token needs no record. An existing record with a longer life stays.
 */
export const revokeScript: Script = defineScript(`
local now, till = tonumber(redis.call('TIME')[1]), tonumber(ARGV[1])
if till <= now then return 0 end
local ttl = redis.call('TTL', KEYS[1])
if ttl >= 0 and now + ttl >= till then return 1 end
redis.call('SET', KEYS[1], 'revoked', 'EXAT', ARGV[1])
return 1
`);

/**
 * Moves a cut-off to now by Redis' own clock, never back. KEYS[1]: the cut-off. ARGV[1]: how long it is kept, in
 * seconds. ARGV[2]: an earlier time, to repeat a cut-off, or "". Returns the cut-off in unix seconds.
 *
 * A value that is no cut-off contains no time to go back to. It is replaced by the time of now, which revokes every
 * token. An existing longer life stays: another gate may accept tokens with a longer life.
 */
export const cutOffScript: Script = defineScript(`${naturalLua}
local now = tonumber(redis.call('TIME')[1])
local at, ttl, value = now, tonumber(ARGV[1]), redis.pcall('GET', KEYS[1])
if type(value) == 'table' and not string.match(value.err, '^WRONGTYPE') then return value end
local known = not value and 0 or type(value) == 'string' and natural(value)
if known and ARGV[2] ~= '' then at = math.min(now, tonumber(ARGV[2])) end
at = math.max(at, known or 0)
redis.call('SET', KEYS[1], string.format('%.0f', at), 'EX', math.max(ttl, redis.call('TTL', KEYS[1])))
return at
`);

/**
 * Reads which of the KEYS exist, and the cut-offs among them. Returns a flat list: for each existing key its position, from
 * 1, and the cut-off as text, or "" for a value that is no cut-off. It writes nothing.
 */
export const readRecordsScript: Script = defineScript(`${naturalLua}
local out = {}
for i, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 then
    local value = redis.pcall('GET', key)
    if type(value) == 'table' and not string.match(value.err, '^WRONGTYPE') then return value end
    out[#out + 1] = i
    out[#out + 1] = type(value) == 'string' and natural(value) and value or ''
  end
end
return out
`);
