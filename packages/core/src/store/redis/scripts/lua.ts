import { createHash } from "node:crypto";
/** Lua that scripts share. `now` is Redis' clock in ms. */

export const clockLua = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

/** `natural` reads a whole number below 2^53. `tonumber` alone accepts "nan", "inf", "0x10" and blanks. */
export const naturalLua: string = `
local function natural(text)
  local number = #text <= 16 and string.match(text, '^%d+$') and tonumber(text)
  return number and number < 2 ^ 53 and number or nil
end
`;

/** `whole` writes a whole number. Lua's `tostring` rounds. */
export const wholeLua: string = `${naturalLua}
local function whole(number) return string.format('%.0f', number) end
`;

/**
 * `textOf` returns the text of an error that Lua's `pcall` has caught: a text, or a table in older versions of Redis.
 */
export const errorTextLua = `
local function textOf(problem)
  return type(problem) == 'table' and problem.err or tostring(problem)
end
`;

/**
 * `try` calls Redis. For a key with a value of another type it returns nil and sets `fault` to the first such error,
 * which the script returns at its end. Any other error ends the script at once: a server that takes no writes must not
 * delete the record of a token that it could not revoke. `membersOf` reads a set.
 */
export const tryLua: string = `${errorTextLua}
local fault = nil

local function try(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if not string.find(reply.err, '^WRONGTYPE') then error(reply) end
  fault = fault or reply.err
  return nil
end

-- What other services keep under the name of a set, and is none, names no tokens.
local function membersOf(set)
  local members = redis.pcall('SMEMBERS', set)
  if not members.err then return members end
  if not string.find(members.err, '^WRONGTYPE') then error(members) end
  return {}
end
`;

/**
 * For scripts that learn only from what they read which further keys they use. `need` takes the name of such a key, without
 * the key prefix of the client; `client` is the prefix. If `missing` has names, the script must write nothing and return
 * `{ 'keys', missing }`: the caller repeats the call with these names among KEYS. So servers that refuse undeclared keys,
 * as Dragonfly does, run the scripts. `runDeclared` (declared-keys.ts) is the caller.
 */
export const declaredLua: string = `
local declared, missing = {}, {}
for _, key in ipairs(KEYS) do declared[key] = true end

local function need(name)
  local key = client .. name
  if not declared[key] then declared[key], missing[#missing + 1] = true, name end
end
`;

/**
 * `pack` writes a list of numbers as one text of their doubles, in little-endian order; nil if one of them is a text, or if the
 * server lacks the library `struct`. Clients read that in a fraction of the time for a list, and so does Redis write it.
 */
export const packLua = `
local attempt = pcall
local function packPart(list, first, last)
  return struct.pack('<' .. string.rep('d', last - first + 1), unpack(list, first, last))
end
local function pack(list)
  local texts, length = {}, #list
  for first = 1, length, 500 do
    local last = math.min(first + 499, length)
    local isDone, text = attempt(packPart, list, first, last)
    if not isDone then return nil end
    texts[#texts + 1] = text
  end
  return table.concat(texts)
end
`;

/** A Lua script with its SHA-1 digest, by which Redis finds it. */
export interface Script {
  readonly source: string;
  readonly sha1: string;
}

export function defineScript(source: string): Script {
  return { source, sha1: createHash("sha1").update(source).digest("hex") };
}
