import { BlockList, isIPv4, isIPv6 } from "node:net";
import { ipv4Inside, parseIPv6 } from "../../http/address.js";

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
