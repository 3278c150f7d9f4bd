import { lookup as resolve } from "node:dns";
import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";
import type { LookupFunction } from "node:net";
import { ipv4Inside, parseIPv6 } from "../../http/address.js";

/** The refusal to connect to an address. */
export class AddressRefused extends Error {
  override readonly name = "AddressRefused";
}

/** Is the host of a URL this machine? All names below `localhost` are (RFC 6761 6.3), also where no server knows them. */
export function isLoopbackHost(hostname: string): boolean {
  const host = withoutBrackets(hostname).replace(/\.$/, "");
  return /(?:^|\.)localhost$/.test(host) || (isIP(host) !== 0 && reachOf(host) === "loopback");
}

/**
 * Creates the filter of addresses for a host. `localhost` and loopback addresses may only have loopback addresses, and only
 * if loopback is allowed. Other hosts may only have public addresses, unless private ones are allowed. So a name under foreign
 * control leads to the public network only.
 */
function createFilter(
  hostname: string,
  allowPrivateAddresses: boolean,
  allowLoopback: boolean,
): (address: string) => boolean {
  if (isLoopbackHost(hostname))
    return (address) => (allowLoopback || allowPrivateAddresses) && reachOf(address) === "loopback";
  return (address) => allowPrivateAddresses || reachOf(address) === "public";
}

/** May the gate connect to a host that the options do not name? Checks the text of the host, not its addresses. */
export function isForeignHostAllowed(hostname: string, allowPrivateAddresses: boolean): boolean {
  if (allowPrivateAddresses) return true;
  const host = withoutBrackets(hostname);
  return !isLoopbackHost(host) && (isIP(host) === 0 || reachOf(host) === "public");
}

/**
 * Creates the look-up of one connection, which returns allowed addresses only. The connection uses the checked addresses, since
 * there is no second look-up. A literal address is never looked up, so it is checked at once.
 *
 * @throws AddressRefused for a literal address
 */
export function guardLookup(
  hostname: string,
  allowPrivateAddresses: boolean,
  using: typeof resolve = resolve,
  allowLoopback = true,
): LookupFunction {
  const isAllowed = createFilter(hostname, allowPrivateAddresses, allowLoopback);
  const literal = withoutBrackets(hostname);
  if (isIP(literal) !== 0 && !isAllowed(literal)) throw refusal(hostname, allowLoopback);
  return function lookupAllowed(name, options, callback) {
    using(name, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, "", 0);
      const allowed = addresses.filter(({ address }) => isAllowed(address));
      const [first] = allowed;
      if (first === undefined) return callback(refusal(hostname, allowLoopback), "", 0);
      if (options.all === true) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };
}

/**
 * Checks the addresses of a host before a function of the application connects to it. The function may connect to any of them,
 * so all must be allowed. A name that this process cannot resolve is left to the function: a proxy may resolve it.
 */
export function checkAddresses(hostname: string, using: typeof resolve = resolve, allowLoopback = true): Promise<void> {
  const isAllowed = createFilter(hostname, false, allowLoopback);
  return new Promise((settle, reject) => {
    using(withoutBrackets(hostname), { all: true }, (error, addresses) => {
      if (error === null && !addresses.every(({ address }) => isAllowed(address)))
        reject(refusal(hostname, allowLoopback));
      else settle();
    });
  });
}

function refusal(hostname: string, allowLoopback: boolean): AddressRefused {
  const advice = "if this is intended, set remoteKeys: { allowPrivateAddresses: true }";
  if (!isLoopbackHost(hostname)) return new AddressRefused(`the host has a private address; ${advice}`);
  return new AddressRefused(
    allowLoopback
      ? "the name of the host means this machine, but its address is another"
      : `the host is this machine, and the options do not name it; ${advice}`,
  );
}

/** Removes the brackets of a literal IPv6 address in a URL. */
function withoutBrackets(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}

/** The reach of an IP address: the public network, a private network (or none), or this machine. */
export type Reach = "public" | "private" | "loopback";

/** IANA's special-purpose IPv4 networks that are not globally reachable, multicast and reserved ones. */
const specialIPv4 = blockList("ipv4", [
  ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"],
  ...["192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"],
  ...["203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"],
]);

/** The IPv6 network for global unicast (RFC 4291 2.4), and special networks inside it. */
const globalIPv6 = blockList("ipv6", ["2000::/3"]);
const specialIPv6 = blockList("ipv6", ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"]);

/**
 * Returns the reach of an address. An IPv4-mapped address has the reach of its IPv4 address. So has a NAT64 address, but never
 * loopback, since a translator does not lead back to this machine. Tunnels (6to4, Teredo) count as private, since they lead
 * through unknown machines. Unreadable addresses count as private.
 */
export function reachOf(address: string): Reach {
  if (isIPv4(address)) return reachOfIPv4(address);
  const plain = address.replace(/%.*$/, "");
  if (!isIPv6(plain)) return "private";
  const groups = parseIPv6(plain);
  const inside = ipv4Inside(groups);
  if (inside?.by === "mapped") return reachOfIPv4(inside.address);
  if (inside?.by === "nat64") return reachOfIPv4(inside.address) === "public" ? "public" : "private";
  if (groups.every((group, index) => group === (index === 7 ? 1 : 0))) return "loopback";
  return globalIPv6.check(plain, "ipv6") && !specialIPv6.check(plain, "ipv6") ? "public" : "private";
}

function reachOfIPv4(address: string): Reach {
  if (address.startsWith("127.")) return "loopback";
  return specialIPv4.check(address, "ipv4") ? "private" : "public";
}

function blockList(family: "ipv4" | "ipv6", networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = "", prefix] = network.split("/");
    list.addSubnet(address, Number(prefix), family);
  }
  return list;
}
