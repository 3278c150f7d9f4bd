import { BlockList, isIPv4, isIPv6 } from "node:net";
import { parseIPv6 } from "../http/address.js";

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

/** How far an address reaches. IPv4 inside IPv6 counts as that IPv4 address; what cannot be read is private. */
export function reachOf(address: string): Reach {
  if (isIPv4(address)) return reachOfIPv4(address);
  const plain = address.replace(/%.*$/, "");
  if (!isIPv6(plain)) return "private";
  const groups = parseIPv6(plain);
  const embedded = embeddedIPv4(groups);
  if (embedded !== undefined) return reachOfIPv4(embedded);
  if (groups.every((group, index) => group === (index === 7 ? 1 : 0))) return "loopback";
  return globalIPv6.check(plain, "ipv6") && !specialIPv6.check(plain, "ipv6") ? "public" : "private";
}

function reachOfIPv4(address: string): Reach {
  if (address.startsWith("127.")) return "loopback";
  return specialIPv4.check(address, "ipv4") ? "private" : "public";
}

/** The IPv4 address in an IPv4-mapped one (RFC 4291 2.5.5.2), or in the one by which NAT64 reaches it (RFC 6052). */
function embeddedIPv4(groups: readonly number[]): string | undefined {
  const head = groups.slice(0, 6).map((group) => group.toString(16));
  if (!["0:0:0:0:0:ffff", "64:ff9b:0:0:0:0"].includes(head.join(":"))) return undefined;
  const [high = 0, low = 0] = groups.slice(6);
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

function blockList(family: "ipv4" | "ipv6", networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = "", prefix] = network.split("/");
    list.addSubnet(address, Number(prefix), family);
  }
  return list;
}
