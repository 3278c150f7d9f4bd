import type { Script } from "./script.js";
import { defineScript } from "./script.js";

/**
 * Notes when the tokens of a shared set expire, and finds those that have. KEYS[1]: the tokens by their expiry; KEYS[2], for an
 * organisation: its sessions by their end. ARGV: the seconds that a token may be accepted after its expiry; how many tokens
 * follow; jti and expiry of each; then jti of tokens to drop; with KEYS[2] first of all the member and its end in ms.
 * Returns the jti of some tokens that are dead.
 */
export const noteTokensScript: Script = defineScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local arg = 1

local function keep(key, till)
  if redis.call('PTTL', key) < till - now then redis.call('PEXPIREAT', key, till) end
end

if KEYS[2] then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
  keep(KEYS[2], tonumber(ARGV[2]))
  arg = 3
end
local margin, count = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1])
arg = arg + 2
for _ = 1, count do
  redis.call('ZADD', KEYS[1], ARGV[arg + 1], ARGV[arg])
  keep(KEYS[1], (tonumber(ARGV[arg + 1]) + margin + 1) * 1000)
  arg = arg + 2
end
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now / 1000 - margin, 'LIMIT', 0, 200)
for _, jti in ipairs(dead) do redis.call('ZREM', KEYS[1], jti) end
for i = arg, #ARGV do redis.call('ZREM', KEYS[1], ARGV[i]) end
return dead
`);

/**
 * Adds tokens to a set that other services share, takes others out, and sees to its life: never shortened, and given an end
 * where it has none. KEYS[1]: the set. ARGV: until when it must live, in unix seconds; for how many seconds if it had no
 * end; how many jti to add; those; then the jti to take out.
 */
export const joinTokensScript: Script = defineScript(`
local needed = math.max(1, tonumber(ARGV[1]) - tonumber(redis.call('TIME')[1]))
local healed, count = tonumber(ARGV[2]), tonumber(ARGV[3])
local fresh = redis.call('EXISTS', KEYS[1]) == 0
for i = 4, 3 + count do redis.call('SADD', KEYS[1], ARGV[i]) end
for i = 4 + count, #ARGV do redis.call('SREM', KEYS[1], ARGV[i]) end
local ttl = redis.call('TTL', KEYS[1])
if ttl == -1 then
  redis.call('EXPIRE', KEYS[1], fresh and needed or math.max(needed, healed))
elseif ttl >= 0 and ttl < needed then
  redis.call('EXPIRE', KEYS[1], needed)
end
return ttl
`);

/** The sessions of an organisation that have not ended. KEYS[1]: those, by their end. */
export const listMembersScript: Script = defineScript(`
local time = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), '+inf')
`);

/**
 * Revokes every token that an organisation's shared set names, and empties it. KEYS: the set, the tokens by their expiry, the
 * organisation's sessions. ARGV: what the keys of revoked tokens begin with; how many seconds a record outlives its token;
 * how many seconds a token lives at most. Returns the sessions. For one server.
 */
export const endGroupScript: Script = defineScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local margin, longest = tonumber(ARGV[2]), tonumber(ARGV[3])
local members = redis.pcall('SMEMBERS', KEYS[1])
for _, jti in ipairs(members.err and {} or members) do
  local expires = tonumber(redis.call('ZSCORE', KEYS[2], jti) or now / 1000 + longest)
  local till = math.ceil(expires) + margin
  if till * 1000 > now then redis.call('SET', ARGV[1] .. jti, 'revoked', 'EXAT', till) end
  redis.call('SREM', KEYS[1], jti)
  redis.call('ZREM', KEYS[2], jti)
end
return redis.call('ZRANGEBYSCORE', KEYS[3], now, '+inf')
`);
