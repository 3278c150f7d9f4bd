import type { Script } from "./lua.js";
import { defineScript, clockLua, naturalLua, wholeLua } from "./lua.js";

/**
 * Changes one override, drops those that have ended, and sets a new version. KEYS[1]: the hash of overrides. ARGV: the
 * name, `limit:window:` ("" removes the override), its duration in ms ("" for no end), the new version, the maximum
 * number of overrides, and the life of the hash in ms. Returns 0 if there are too many overrides.
 */
export const changeOverrideScript: Script = defineScript(`
local name, rule, life, version, most, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
${clockLua}
local all, count, known = redis.call('HGETALL', KEYS[1]), 0, false
for i = 1, #all, 2 do
  if all[i] ~= 'version' then
    local ends = string.match(all[i + 1], ':(%d+)$')
    if ends and tonumber(ends) <= now then
      redis.call('HDEL', KEYS[1], all[i])
    else
      count = count + 1
      known = known or all[i] == name
    end
  end
end
if rule == '' then
  redis.call('HDEL', KEYS[1], name)
else
  if count >= most and not known then return 0 end
  local ends = life ~= '' and string.format('%.0f', now + tonumber(life)) or ''
  redis.call('HSET', KEYS[1], name, rule .. ends)
end
redis.call('HSET', KEYS[1], 'version', version)
redis.call('PEXPIRE', KEYS[1], ttl)
return 1
`);

/**
 * Reads all overrides and extends the life of their hash. KEYS[1]: the hash. ARGV[1]: its life in ms. Returns Redis'
 * time in ms, by which overrides end, then names and overrides in turn.
 */
export const readOverridesScript: Script = defineScript(`
local time = redis.call('TIME')
local all = redis.call('HGETALL', KEYS[1])
if #all > 0 then redis.pcall('PEXPIRE', KEYS[1], ARGV[1]) end
table.insert(all, 1, string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
return all
`);

/** Blocks a client, in the format of `decideScript`. KEYS[1]: the record. ARGV[1]: the duration in ms. */
export const blockScript: Script = defineScript(`${clockLua}${wholeLua}
redis.call('SET', KEYS[1], whole(now + tonumber(ARGV[1])) .. ':1:0:0', 'PX', ARGV[1])
return 1
`);

/** Returns the milliseconds until a block ends; 0 without a block. KEYS[1]: the record. */
export const readBlockScript: Script = defineScript(`${clockLua}${naturalLua}
local value = redis.call('GET', KEYS[1])
local ends = string.match(value or '0:0:0:0', '^(%d+):%d+:%d+:%d+$')
if not ends or not natural(ends) then return redis.error_reply('WRONGTYPE not a block') end
return math.max(0, natural(ends) - now)
`);

const minuteLua = `
local time = redis.call('TIME')
local minute = math.floor(time[1] / 60)
`;

/**
 * Adds consumption of this minute. KEYS: the sorted sets of even and of odd minutes; each expires when the next minute
 * of its kind begins. ARGV: the maximum number of members, then points and member in turn.
 */
export const addTopKeysScript: Script = defineScript(`${minuteLua}
local key = KEYS[minute % 2 + 1]
for i = 2, #ARGV, 2 do redis.call('ZINCRBY', key, ARGV[i], ARGV[i + 1]) end
redis.call('ZREMRANGEBYRANK', key, 0, -ARGV[1] - 1)
redis.call('PEXPIREAT', key, string.format('%.0f', (minute + 2) * 60000))
return 1
`);

/**
 * Reads the consumption of this minute and the one before. KEYS: as above. ARGV[1]: the maximum number. Returns members
 * and points in turn.
 */
export const readTopKeysScript: Script = defineScript(`
local all, out = redis.call('ZUNION', 2, KEYS[1], KEYS[2], 'WITHSCORES'), {}
for i = #all - 1, 1, -2 do
  if #out >= 2 * ARGV[1] then break end
  out[#out + 1], out[#out + 2] = all[i], all[i + 1]
end
return out
`);
