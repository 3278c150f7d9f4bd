import { Redis } from "ioredis";
import type { Command } from "ioredis";

/**
 * Lua that refuses what a server refuses that wants every key of a script among KEYS, as Dragonfly does by default and Redis
 * Cluster demands. It stands in front of the text of a script. Keys that are not declared are also noted in a list, since a
 * script may ignore the error of `redis.pcall`.
 */
const shimOf = (list: string): string => `
local redis = (function(real)
  local declared, keyless, all = {}, { TIME = 1, PUBLISH = 1 }, { EXISTS = 1, DEL = 1 }
  for _, key in ipairs(KEYS) do declared[key] = true end

  local function keysOf(name, ...)
    if keyless[name] then return {} end
    if all[name] then return { ... } end
    local first, second = ...
    if name ~= 'ZUNION' then return { first } end
    return { select(2, first, second, select(3, ...)) }
  end

  local function undeclared(name, ...)
    local keys = keysOf(name, ...)
    for i = 1, name == 'ZUNION' and tonumber((...)) or #keys do
      if not declared[keys[i]] then
        real.call('RPUSH', '${list}', name .. ' ' .. tostring(keys[i]))
        return { err = 'ERR script tried accessing undeclared key' }
      end
    end
  end

  return {
    error_reply = real.error_reply,
    status_reply = real.status_reply,
    sha1hex = real.sha1hex,
    call = function(...)
      local problem = undeclared(...)
      if problem then error(problem) end
      return real.call(...)
    end,
    pcall = function(...)
      return undeclared(...) or real.pcall(...)
    end,
  }
end)(redis)
`;

/** A client whose server refuses keys that a script has not declared. */
export class StrictRedis extends Redis {
  readonly #shim: string;
  readonly #list: string;

  constructor(url: string, list: string, options: { readonly keyPrefix: string }) {
    super(url, options);
    this.#list = list;
    this.#shim = shimOf(list);
  }

  override sendCommand(command: Command, ...rest: []): unknown {
    const name = command.name.toLowerCase();
    if (name === "evalsha") {
      command.reject(new Error("NOSCRIPT No matching script."));
      return command.promise;
    }
    const [text] = command.args;
    if (name === "eval" && typeof text === "string") {
      // A first line that begins with #! must stay the first one.
      const [, shebang = "", body = ""] = /^(#![^\n]*\n)?(.*)$/s.exec(text) ?? [];
      command.args = [`${shebang}${this.#shim}${body}`, ...command.args.slice(1)];
    }
    return super.sendCommand(command, ...rest);
  }

  /** What scripts have used without declaring it: a command and a key each. */
  async readUndeclared(): Promise<string[]> {
    const other = new Redis(this.options.port ?? 6379, this.options.host ?? "localhost");
    try {
      return await other.lrange(this.#list, 0, -1);
    } finally {
      other.disconnect();
    }
  }
}
