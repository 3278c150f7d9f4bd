import type { Script } from "./script.js";
import { defineScript } from "./script.js";

/**
 * Changes one rule, drops those that have ended, and gives their state a new version. KEYS[1]: the hash of rules. ARGV: the
 * name, `limit:window:` ("" removes the rule), how long it holds in ms ("" for ever), the new version, how many rules
 * there may be, and how long the hash lives. Returns 0 if there are too many.
 */
export const changeOverrideScript: Script = defineScript(`
local name, rule, life, version, most, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
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
 * Reads all rules and lets them live on. KEYS[1]: the hash. ARGV[1]: how long it lives in ms. Returns Redis' clock in ms, by
 * which the rules end, then names and rules in turn.
 */
export const readOverridesScript: Script = defineScript(`
local time = redis.call('TIME')
local all = redis.call('HGETALL', KEYS[1])
if #all > 0 then redis.pcall('PEXPIRE', KEYS[1], ARGV[1]) end
table.insert(all, 1, string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
return all
`);
