import { isIPv4, isIPv6 } from "node:net";
import type { Exchange } from "./exchange.js";

/** The one address of all clients whose address is missing or is not an IP address: they share a bucket. */
export const unknownAddress = "unknown";

/**
 * The canonical text of a client's address, by which limits count: IPv4 in dotted form, IPv6 cut to its network, since one
 * client controls a whole network. An IPv6 address that a translator or a tunnel makes of an IPv4 address counts as this IPv4
 * address ({@link ipv4Inside}): all IPv4 clients behind a NAT64 would otherwise share one network. Zone and port are dropped.
 */
export function canonicalAddress(text: string | undefined, ipv6PrefixLength: number): string {
  if (text === undefined) return unknownAddress;
  if (isIPv4(text)) return text;
  const address = withoutPort(text);
  if (isIPv4(address)) return address;
  const zone = address.indexOf("%");
  const plain = zone === -1 ? address : address.slice(0, zone);
  if (!isIPv6(plain)) return unknownAddress;
  const groups = parseIPv6(plain);
  const inside = ipv4Inside(groups);
  if (inside !== undefined) return inside.address;
  // In the prefix for local translators (RFC 8215) each address is one IPv4 host; its position is not fixed.
  const length = isLocalTranslation(groups) ? 128 : ipv6PrefixLength;
  return `${mask(groups, length)
    .map((group) => group.toString(16))
    .join(":")}/${length}`;
}

/** The mechanism by which an IPv6 address carries an IPv4 address. */
export type Carriage = "mapped" | "nat64" | "6to4" | "teredo";

/**
 * The IPv4 address inside an IPv6 address: IPv4-mapped (RFC 4291 2.5.5.2), NAT64 with the well-known prefix (RFC 6052 2.1),
 * 6to4 (RFC 3056), Teredo (RFC 4380 4, the address of the client). IPv4-compatible addresses are left out: RFC 4291 has
 * deprecated them, and `::1` looks like one.
 */
export function ipv4Inside(groups: readonly number[]): { by: Carriage; address: string } | undefined {
  const [a = 0, b = 0, c = 0, , , f = 0, high = 0, low = 0] = groups;
  const isEmpty = (from: number, to: number): boolean => groups.slice(from, to).every((group) => group === 0);
  if (a === 0 && f === 0xffff && isEmpty(0, 5)) return { by: "mapped", address: dotted(high, low) };
  if (a === 0x64 && b === 0xff9b && isEmpty(2, 6)) return { by: "nat64", address: dotted(high, low) };
  if (a === 0x2002) return { by: "6to4", address: dotted(b, c) };
  // All bits are inverted, so that a NAT that rewrites addresses in packets does not find it.
  if (a === 0x2001 && b === 0) return { by: "teredo", address: dotted(high ^ 0xffff, low ^ 0xffff) };
  return undefined;
}

function isLocalTranslation([a, b, c]: readonly number[]): boolean {
  return a === 0x64 && b === 0xff9b && c === 1;
}

function dotted(high: number, low: number): string {
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

/** The address without the port that some proxies write: `192.0.2.1:443`, `[2001:db8::1]:443`. */
function withoutPort(text: string): string {
  const match = /^(?:\[([^\]]*)\]|(\d+\.\d+\.\d+\.\d+))(?::\d+)?$/.exec(text);
  return match?.[1] ?? match?.[2] ?? text;
}

/** The eight groups of an IPv6 address without zone. */
export function parseIPv6(text: string): number[] {
  const hexadecimal = text.lastIndexOf(".") === -1 ? text : replaceDotted(text);
  const [head = "", tail] = hexadecimal.split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length;
  return [...before, ...Array<string>(zeros).fill("0"), ...after].map((group) => Number.parseInt(group, 16));
}

/** `::ffff:1.2.3.4` as `::ffff:102:304`. */
function replaceDotted(text: string): string {
  const start = text.lastIndexOf(":") + 1;
  const [a = 0, b = 0, c = 0, d = 0] = text.slice(start).split(".").map(Number);
  return `${text.slice(0, start)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
}

function mask(groups: readonly number[], prefixLength: number): number[] {
  return groups.map((group, index) => {
    const kept = Math.min(16, Math.max(0, prefixLength - index * 16));
    return group & (0xffff << (16 - kept)) & 0xffff;
  });
}

/** The headers in which proxies and content delivery networks pass on the client's address, or other parts of its request. */
const forwardingHeaders = [
  ...["x-forwarded-for", "forwarded", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-forwarded"],
  ...["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-server", "x-original-forwarded-for"],
  ...["cf-connecting-ip", "true-client-ip", "fastly-client-ip", "fly-client-ip", "x-azure-clientip"],
  ...["x-appengine-user-ip", "x-envoy-external-address", "x-vercel-forwarded-for", "do-connecting-ip"],
];

/**
 * May the address of this request be that of a proxy? Its headers say that it was forwarded, and the framework has not read the
 * address from them: it trusts no proxy, or not this one, or reads another header.
 */
export function mayBeProxy(exchange: Pick<Exchange, "addressHeader" | "header">): boolean {
  const { addressHeader } = exchange;
  // With a header of blanks and commas, frameworks take the address of the socket.
  if (addressHeader !== undefined && /[^\s,]/.test(exchange.header(addressHeader) ?? "")) return false;
  return forwardingHeaders.some((name) => exchange.header(name) !== undefined);
}
