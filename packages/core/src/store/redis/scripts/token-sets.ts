import type { Script } from "./lua.js";
import { declaredLua, defineScript, tryLua, clockLua } from "./lua.js";
import { revokeLua } from "./revocation.js";

/**
 * Records the expiry of the tokens of a shared set, and finds expired tokens. KEYS[1]: the tokens by their expiry. KEYS[2],
 * only for an organisation: its sessions by their end. ARGV, with KEYS[2]: a session and its end in ms; then always: the
 * seconds for which a token may be accepted after its expiry; the number of tokens; jti and expiry of each; the jti of
 * tokens to remove. Returns the jti of up to 200 expired tokens.
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
 * Adds tokens to a set that other services share, and removes others. The TTL of the set is never shortened; a set
 * without TTL gets one. KEYS[1]: the set. ARGV: the earliest end of the set in unix seconds; the TTL in seconds of a set
 * without TTL; the number of jti to add; these jti; then the jti to remove.
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

/** Lists the live sessions of an organisation. KEYS[1]: its sessions by their end. */
export const listMembersScript: Script = defineScript(`
local time = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), '+inf')
`);

/**
 * Revokes every token in the shared set of an organisation, and empties the set. KEYS: the set, the tokens by their
 * expiry, the sessions of the organisation, and the records of revoked tokens that the script has asked for. ARGV: the key
 * prefix of the client; the prefix of the keys of revoked tokens; the seconds by which a record outlives its token; the
 * maximum life of a token in seconds. Returns `ended` and the sessions. Not for a Cluster.
 */
export const endGroupScript: Script = defineScript(`${tryLua}${clockLua}
local client, revoked, margin, longest = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
${declaredLua}${revokeLua}
local out, tokens = { 'ended' }, {}
for _, session in ipairs(try('ZRANGEBYSCORE', KEYS[3], now, '+inf') or {}) do out[#out + 1] = session end
for i, jti in ipairs(membersOf(KEYS[1])) do
  tokens[i] = { jti, tonumber(try('ZSCORE', KEYS[2], jti) or nil) or now / 1000 + longest }
  if recordEnd(tokens[i][2], margin) then need(revoked .. jti) end
end
if #missing > 0 then return { 'keys', missing } end

for _, token in ipairs(tokens) do
  local jti = token[1]
  revokeToken(client .. revoked .. jti, token[2], margin)
  try('SREM', KEYS[1], jti)
  try('ZREM', KEYS[2], jti)
end
return fault and redis.error_reply(fault) or out
`);
