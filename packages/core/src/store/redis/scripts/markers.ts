import type { Script } from "./lua.js";
import { defineScript } from "./lua.js";

/**
 * Reads a marker of data, creates it if it is missing, and renews it after half of its life. KEYS[1]: the marker.
 * ARGV[1]: the value of a new marker, or "" to create none. ARGV[2]: the life in ms. Returns the marker, or "" without
 * one. A server that takes no writes is no error here: an error would cost the connection.
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
 * Reads the owner of the shared keys, and may set it. KEYS[1]: the marker. ARGV[1]: the digest of an issuer. ARGV[2]:
 * the life of the marker in ms; it is renewed after half of that. ARGV[3]: 'claim', 'force' or 'look'. Returns the
 * digest of the owner, or "" without one. A server that takes no writes is no error here.
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
