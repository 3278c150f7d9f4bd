import type { RedisAddress, RedisPlace } from "./topology.js";
import { optionError } from "../../lib/validate.js";

const form = /^redis(s)?(?:\+(sentinel|cluster|unix))?:\/\/(?:([^@/?#]*)@)?([^/?#@]*)(\/[^?#]*)?(?:\?db=(\d{1,5}))?$/;

/**
 * Reads the URL of a Redis (`rediss` for TLS):
 *
 * | URL | Redis |
 * |---|---|
 * | `redis://[user:password@]host[:port][/db]` | one server |
 * | `redis+sentinel://[user:password@]host[:port],host[:port]/name[/db]` | the master with this name |
 * | `redis+cluster://[user:password@]host[:port],host[:port]` | a Cluster with these nodes and others |
 * | `redis+unix://[user:password@]/path/of/socket[?db=1]` | a unix socket |
 *
 * User and password are percent-encoded; `:password@` is for the default user. Errors never contain the URL.
 */
export function parseRedisUrl(option: string, url: unknown): RedisPlace {
  const parts = typeof url === "string" ? form.exec(url) : null;
  if (parts === null) throw malformed(option);
  const [, secure, kind = "standalone", user = "", hosts = "", path = "", query] = parts;
  const [username, password] = parseUser(option, user);
  const place = {
    path: undefined,
    masterName: undefined,
    username,
    password,
    sentinelUsername: undefined,
    sentinelPassword: undefined,
    db: Number(query ?? 0),
    tls: secure === undefined ? undefined : {},
  };
  if (kind === "unix") {
    if (hosts !== "" || path.length < 2 || secure !== undefined) throw malformed(option);
    return { ...place, topology: "standalone", addresses: [], path: decode(option, path) };
  }
  if (query !== undefined) throw malformed(option);
  if (kind === "sentinel") {
    const names = /^\/([^/]+)(?:\/(\d{1,5}))?\/?$/.exec(path);
    if (names === null) throw optionError(option, 'must name the master, as in "redis+sentinel://host:26379/main"');
    const [, name = "", db = "0"] = names;
    const addresses = parseHosts(option, hosts, 26_379);
    return { ...place, topology: "sentinel", addresses, masterName: decode(option, name), db: Number(db) };
  }
  const db = /^(?:\/(\d{1,5})?)?$/.exec(path);
  if (db === null) throw malformed(option);
  const addresses = parseHosts(option, hosts, 6379);
  if (kind === "cluster") return { ...place, topology: "cluster", addresses, db: Number(db[1] ?? 0) };
  if (addresses.length > 1)
    throw optionError(option, "names several hosts; write redis+cluster:// or redis+sentinel://");
  return { ...place, topology: "standalone", addresses, db: Number(db[1] ?? 0) };
}

function parseUser(option: string, text: string): [username: string | undefined, password: string | undefined] {
  if (text === "") return [undefined, undefined];
  const colon = text.indexOf(":");
  // Without a colon, redis-cli takes the text for the password.
  if (colon === -1) throw optionError(option, 'must have user and password as "user:password@", or ":password@"');
  const [username, password] = [text.slice(0, colon), text.slice(colon + 1)].map((part) => decode(option, part));
  return [username === "" ? undefined : username, password === "" ? undefined : password];
}

function parseHosts(option: string, text: string, port: number): RedisAddress[] {
  return text.split(",").map((host) => {
    const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^\s:[\]]+))(?::(\d{1,5}))?$/.exec(host);
    const own = Number(match?.[3] ?? port);
    if (match === null || own < 1 || own > 65_535) throw malformed(option);
    return { host: match[1] ?? match[2] ?? "", port: own };
  });
}

function decode(option: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw malformed(option);
  }
}

function malformed(option: string): TypeError {
  const forms = '"redis://127.0.0.1:6379", "rediss://user:password@host:6380/0", "redis+sentinel://host:26379/main"';
  const others = '"redis+cluster://host:7000" or "redis+unix:///path"; or "memory" for this process alone';
  return optionError(option, `must be a URL such as ${forms}, ${others}`);
}
