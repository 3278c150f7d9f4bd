import type { IpFamily, RedisAddress, RedisPlace } from "./topology.js";
import { optionError } from "../../lib/validate.js";

/** `valkey` is another name of `redis`. A password may contain any character: the last `@` ends it. */
const scheme = /^(?:redis|valkey)(s)?(?:\+(sentinel|cluster|unix))?:\/\//;
const ofServers = /^(?:(.*)@)?([^/?#@]*)(\/[^?#]*)?(?:\?([^?#]*))?$/s;
const ofSocket = /^(?:([^@/?#]*)@)?()(\/[^?#]*)?(?:\?([^?#]*))?$/;

/**
 * Reads the URL of a Redis (`rediss` for TLS; `valkey` and `valkeys` mean the same):
 *
 * | URL | Redis |
 * |---|---|
 * | `redis://[user:password@]host[:port][/db]` | one server |
 * | `redis+sentinel://[user:password@]host[:port],host[:port]/name[/db]` | the master with this name |
 * | `redis+cluster://[user:password@]host[:port],host[:port]` | a Cluster with these nodes and others |
 * | `redis+unix://[user:password@]/path/of/socket[?db=1]` | a unix socket |
 *
 * `?db=1` is the database, `?family=6` the version of IP (0 for any). User and password are percent-encoded; a character
 * that is not is taken as it is. `:password@` is for the default user. Errors never contain the URL.
 */
export function parseRedisUrl(option: string, url: unknown): RedisPlace {
  const text = typeof url === "string" ? url.trim() : "";
  const start = scheme.exec(text);
  const kind = start?.[2] ?? "standalone";
  const parts = start === null ? null : (kind === "unix" ? ofSocket : ofServers).exec(text.slice(start[0].length));
  if (start === null || parts === null) throw malformed(option, text);
  const isSecure = start[1] !== undefined;
  const [, user = "", hosts = "", path = "", query] = parts;
  const [username, password] = parseUser(option, user);
  const { db: queried, family } = parseQuery(option, query);
  const place = {
    path: undefined,
    masterName: undefined,
    username,
    password,
    sentinelUsername: undefined,
    sentinelPassword: undefined,
    db: queried ?? 0,
    tls: isSecure ? {} : undefined,
    family,
    natMap: undefined,
  };
  if (kind === "unix") {
    if (path.length < 2 || isSecure) throw malformed(option, text);
    return { ...place, topology: "standalone", addresses: [], path: decode(option, path) };
  }
  if (hosts === "") throw optionError(option, 'must have a host, as in "redis://host:6379"');
  if (kind === "sentinel") {
    const names = /^\/([^/]+)(?:\/(\d{1,5}))?\/?$/.exec(path);
    if (names === null) throw optionError(option, 'must name the master, as in "redis+sentinel://host:26379/main"');
    const [, name = "", db] = names;
    const addresses = parseHosts(option, hosts, 26_379);
    return { ...place, topology: "sentinel", addresses, masterName: decode(option, name), db: Number(db ?? place.db) };
  }
  const db = /^(?:\/(\d{1,5})?)?$/.exec(path);
  if (db === null)
    throw optionError(option, 'must have the number of the database as path, as in "redis://host:6379/0"');
  const addresses = parseHosts(option, hosts, 6379);
  const common = { ...place, addresses, db: Number(db[1] ?? place.db) };
  if (kind === "cluster") return { ...common, topology: "cluster" };
  if (addresses.length > 1)
    throw optionError(option, "names several hosts; write redis+cluster:// or redis+sentinel://");
  return { ...common, topology: "standalone" };
}

function parseUser(option: string, text: string): [username: string | undefined, password: string | undefined] {
  if (text === "") return [undefined, undefined];
  const colon = text.indexOf(":");
  // Without a colon, redis-cli takes the text for the password.
  if (colon === -1) throw optionError(option, 'must have user and password as "user:password@", or ":password@"');
  const [username, password] = [text.slice(0, colon), text.slice(colon + 1)].map((part) => decode(option, part));
  return [username === "" ? undefined : username, password === "" ? undefined : password];
}

/** The parameters of a URL. Others are refused, since a parameter that has no effect may be missed. */
function parseQuery(option: string, query = ""): { db: number | undefined; family: IpFamily | undefined } {
  let db: number | undefined;
  let family: IpFamily | undefined;
  for (const parameter of query === "" ? [] : query.split("&")) {
    const [name, value = ""] = parameter.split("=", 2);
    if (name === "db" && /^\d{1,5}$/.test(value)) db = Number(value);
    else if (name === "family" && /^[046]$/.test(value)) family = Number(value) as IpFamily;
    else throw wrongParameter(option, name);
  }
  return { db, family };
}

function wrongParameter(option: string, name: string | undefined): TypeError {
  if (name === "db") return optionError(option, "must have the number of a database in ?db=");
  if (name === "family") return optionError(option, "must have 0, 4 or 6 in ?family=");
  if (name !== undefined && /cert|reject|verify|insecure|hostname/i.test(name))
    return optionError(option, "cannot switch off the check of the certificate; name its authority in redis.tls.ca");
  if (name !== undefined && /^(?:ssl|tls)$/i.test(name))
    return optionError(option, "must begin with rediss:// for TLS");
  return optionError(option, "has a parameter that is not known; there are ?db= and ?family=");
}

function parseHosts(option: string, text: string, port: number): RedisAddress[] {
  return text.split(",").map((host) => {
    const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^\s:[\]]+))(?::(\d{1,5}))?$/.exec(host);
    const own = Number(match?.[3] ?? port);
    if (match === null || own < 1 || own > 65_535)
      throw optionError(option, 'must have hosts such as "host:6379" or "[::1]:6379", with a port from 1 to 65535');
    return { host: match[1] ?? match[2] ?? "", port: own };
  });
}

function decode(option: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw optionError(option, "contains % without two hexadecimal digits; write %25 for it in user and password");
  }
}

/** Forms in which other libraries and consoles show an address, with the form of ours. */
const otherForms: readonly (readonly [pattern: RegExp, advice: string])[] = [
  [/^memory$/i, 'must be "memory" in lower case, for this process alone'],
  [/^["'`]/, "begins with a quotation mark; write the URL without quotation marks"],
  [/^https?:/i, 'is the address of a REST API; write the address for TCP, "rediss://default:password@host:6379"'],
  [/^redis-cli\s/i, "is a command; write its URL alone, with rediss:// instead of --tls"],
  [/,\s*(?:password|ssl|abortConnect)\s*=/i, 'is a connection string of .NET; write "rediss://:password@host:6380"'],
  [/^rediss?[-+]?socket:|^unix:|^\//i, 'is the path of a socket; write "redis+unix:///path"'],
  [/^(?:redis|valkey)s?[-_]sentinel:/i, 'has another scheme; write "redis+sentinel://host:26379/main"'],
  [/^(?:redis|valkey)s?[-_]cluster:/i, 'has another scheme; write "redis+cluster://host:7000"'],
  [/^(?:tls|ssl|redis\+tls|redis\+ssl|stunnel):\/\//i, 'has another scheme; write "rediss://host:6380"'],
  [/^(?:tcp|resp[23]?):\/\//i, 'has another scheme; write "redis://host:6379"'],
  [/^(?:redis|valkey)s?(?:\+\w+)?:\/\//i, "must have its scheme in lower case"],
  [/^[\w.-]+(?::\d+)?$/, 'has no scheme; write "redis://host:6379", or "rediss://host:6379" for TLS'],
];

function malformed(option: string, text: string): TypeError {
  const advice = otherForms.find(([pattern]) => pattern.test(text) && !scheme.test(text))?.[1];
  if (advice !== undefined) return optionError(option, advice);
  const forms = '"redis://127.0.0.1:6379", "rediss://user:password@host:6380/0", "redis+sentinel://host:26379/main"';
  const others = '"redis+cluster://host:7000" or "redis+unix:///path"; or "memory" for this process alone';
  return optionError(option, `must be a URL such as ${forms}, ${others}`);
}
