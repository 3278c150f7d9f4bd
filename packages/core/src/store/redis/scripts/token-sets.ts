import type { Script } from "./lua.js";
import { defineScript, tryLua, clockLua } from "./lua.js";
import { revokeLua } from "./revocation.js";

/**
 * Notes when the tokens of a shared set expire, and finds those that have. KEYS[1]: the tokens by their expiry;
 * KEYS[2], for an organisation: its sessions by their end. ARGV: the seconds that a token may be accepted after its
 * expiry; how many tokens follow; jti and expiry of each; then jti of tokens to drop; with KEYS[2] first of all the
 * member and its end in ms. Returns the jti of some tokens that are dead.
 */
export const noteTokensScript: Script = defineScript(`${tryLua}${clockLua}
local arg = 1

local function keep(key, till)
  if redis.call('PTTL', key) < till - now then try('PEXPIREAT', key, till) end
end

if KEYS[2] then arg = 3 end
local margin, count = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1])
arg = arg + 2
local dead = try('ZRANGEBYSCORE', KEYS[1], '-inf', now / 1000 - margin, 'LIMIT', 0, 200)
if KEYS[2] then try('ZCARD', KEYS[2]) end
if fault then return redis.error_reply(fault) end

if KEYS[2] then
  try('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  try('ZADD', KEYS[2], ARGV[2], ARGV[1])
  keep(KEYS[2], tonumber(ARGV[2]))
end
for _ = 1, count do
  try('ZADD', KEYS[1], ARGV[arg + 1], ARGV[arg])
  keep(KEYS[1], (tonumber(ARGV[arg + 1]) + margin + 1) * 1000)
  arg = arg + 2
end
for _, jti in ipairs(dead) do try('ZREM', KEYS[1], jti) end
for i = arg, #ARGV do try('ZREM', KEYS[1], ARGV[i]) end
return dead
`);

/**
 * Adds tokens to a set that other services share, takes others out, and sees to its life: never shortened, and given an
 * end where it has none. KEYS[1]: the set. ARGV: until when it must live, in unix seconds; for how many seconds if it
 * had no end; how many jti to add; those; then the jti to take out.
 */
export const joinTokensScript: Script = defineScript(`${tryLua}
local needed = math.max(1, tonumber(ARGV[1]) - tonumber(redis.call('TIME')[1]))
local healed, count = tonumber(ARGV[2]), tonumber(ARGV[3])
-- The time that is left tells a set without an end from one that this begins: -1 and -2.
local ttl = redis.call('TTL', KEYS[1])
for i = 4, 3 + count do try('SADD', KEYS[1], ARGV[i]) end
for i = 4 + count, #ARGV do try('SREM', KEYS[1], ARGV[i]) end
if fault then return redis.error_reply(fault) end
if ttl == -1 then
  try('EXPIRE', KEYS[1], math.max(needed, healed))
elseif ttl < needed then
  try('EXPIRE', KEYS[1], needed)
end
return ttl
`);

/** The sessions of an organisation that have not ended. KEYS[1]: those, by their end. */
export const listMembersScript: Script = defineScript(`
local time = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), '+inf')
`);

/**
 * Revokes every token that an organisation's shared set names, and empties it. KEYS: the set, the tokens by their
 * expiry, the organisation's sessions. ARGV: what the keys of revoked tokens begin with; how many seconds a record
 * outlives its token; how many seconds a token lives at most. Returns the sessions. For one server.
 */
export const endGroupScript: Script = defineScript(`${tryLua}${clockLua}
local margin, longest = tonumber(ARGV[2]), tonumber(ARGV[3])
${revokeLua}
local sessions, tokens = try('ZRANGEBYSCORE', KEYS[3], now, '+inf'), {}
for i, jti in ipairs(membersOf(KEYS[1])) do
  tokens[i] = { jti, tonumber(try('ZSCORE', KEYS[2], jti) or nil) or now / 1000 + longest }
end

for _, token in ipairs(tokens) do
  local jti = token[1]
  revokeToken(ARGV[1] .. jti, token[2], margin)
  try('SREM', KEYS[1], jti)
  try('ZREM', KEYS[2], jti)
end
return fault and redis.error_reply(fault) or sessions
`);
