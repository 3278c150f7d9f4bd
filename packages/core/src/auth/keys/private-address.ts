import { lookup as resolve } from "node:dns";
import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";
import type { LookupFunction } from "node:net";
import { ipv4Inside, parseIPv6 } from "../../http/address.js";

/** Why an address must not be connected to. */
export class AddressRefused extends Error {
  override readonly name = "AddressRefused";
}

/** Does the host of a URL stand for this machine itself? */
export function isLoopbackHost(hostname: string): boolean {
  const host = withoutBrackets(hostname);
  return host === "localhost" || (isIP(host) !== 0 && reachOf(host) === "loopback");
}

/**
 * Which addresses a host may have: `localhost` and loopback addresses only loopback ones, and none unless loopback is
 * allowed; all others only public ones, unless private ones are allowed. So a name that somebody else controls leads into
 * no network but the public one.
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

/** Whether a host that the options do not name may be connected to, as far as the host alone says. */
export function isForeignHostAllowed(hostname: string, allowPrivateAddresses: boolean): boolean {
  if (allowPrivateAddresses) return true;
  const host = withoutBrackets(hostname);
  return !isLoopbackHost(host) && (isIP(host) === 0 || reachOf(host) === "public");
}

/**
 * A look-up for one connection that gives it only addresses it may use: what is checked is what is connected to, since
 * there is no second look-up. A literal address is never looked up, so that is checked here and now.
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

function refusal(hostname: string, allowLoopback: boolean): AddressRefused {
  const advice = "if this is intended, set remoteKeys: { allowPrivateAddresses: true }";
  if (!isLoopbackHost(hostname)) return new AddressRefused(`the host has a private address; ${advice}`);
  return new AddressRefused(
    allowLoopback
      ? "the name of the host means this machine, but its address is another"
      : `the host is this machine, and the options do not name it; ${advice}`,
  );
}

/** A literal IPv6 address as it stands in a URL, without its brackets. */
function withoutBrackets(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}

/** What an IP address reaches: anybody's machine, one of this network (or none at all), or this machine itself. */
export type Reach = "public" | "private" | "loopback";

/** IANA's special-purpose IPv4 networks that are not globally reachable, multicast and reserved ones. */
const specialIPv4 = blockList("ipv4", [
  ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"],
  ...["192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"],
  ...["203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"],
]);

/** The only IPv6 network that is given out for the public (RFC 4291 2.4), and what is not for it inside. */
const globalIPv6 = blockList("ipv6", ["2000::/3"]);
const specialIPv6 = blockList("ipv6", ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"]);

/**
 * How far an address reaches. An IPv4-mapped address is the IPv4 address inside. What a NAT64 leads to counts as that IPv4
 * address too, but never as loopback: this machine is not at the other side of a translator. Tunnels (6to4, Teredo) are
 * private whatever is inside, since they lead through machines that nobody answers for. What cannot be read is private.
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
