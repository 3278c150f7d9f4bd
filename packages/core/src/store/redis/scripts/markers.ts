import type { Script } from "./script.js";
import { defineScript } from "./script.js";

/**
 * Reads a marker, creates it if it is missing, and renews it when half of its life is over. KEYS[1]: the marker. ARGV[1]:
 * what to create, or "" to create nothing. ARGV[2]: how long it lives, in ms. Returns the marker, or "" if
 * there is none. A server that takes no writes is no error here: that would cost the connection.
 */
export const markerScript: Script = defineScript(`
local found = redis.call('GET', KEYS[1])
if not found then
  if ARGV[1] == '' then return '' end
  local created = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return created.err and '' or ARGV[1]
end
if redis.call('PTTL', KEYS[1]) < ARGV[2] / 2 then redis.pcall('PEXPIRE', KEYS[1], ARGV[2]) end
return found
`);

/**
 * Says which issuer the shared keys belong to, and may give them to one. KEYS[1]: the marker. ARGV[1]: the digest of an
 * issuer. ARGV[2]: how long the marker lives, in ms; it is renewed when half of that is over. ARGV[3]: 'claim', 'force' or
 * 'look'. Returns the digest of the issuer that has them, or "" if none has: a server that takes no writes is no error here.
 */
export const sharedIssuerScript: Script = defineScript(`
local holder = redis.pcall('GET', KEYS[1])
if type(holder) == 'table' and holder.err then return holder end
if ARGV[3] == 'look' then return holder or '' end
if not holder or (ARGV[3] == 'force' and holder ~= ARGV[1]) then
  local given = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  if given.err then return holder or '' end
  return ARGV[3] == 'force' and holder or ARGV[1]
end
if holder == ARGV[1] and redis.call('PTTL', KEYS[1]) < ARGV[2] / 2 then redis.pcall('PEXPIRE', KEYS[1], ARGV[2]) end
return holder
`);
