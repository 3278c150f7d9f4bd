import { isIPv4, isIPv6 } from "node:net";
import type { Exchange } from "./exchange.js";

/** What stands for every client whose address is missing or is no IP address: one bucket, never a fresh one each. */
export const unknownAddress = "unknown";

/**
 * The one spelling of a client's address that limits count by: IPv4 in dotted form, IPv4-mapped IPv6 (RFC 4291 2.5.5.2)
 * as that IPv4 address, IPv6 cut to its network, since one client commands a whole network. Zone and port are dropped.
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
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    const [high = 0, low = 0] = groups.slice(6);
    return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  }
  return `${mask(groups, ipv6PrefixLength)
    .map((group) => group.toString(16))
    .join(":")}/${ipv6PrefixLength}`;
}

/** `192.0.2.1:443` and `[2001:db8::1]:443`, as some proxies write them, without the port. */
function withoutPort(text: string): string {
  const match = /^(?:\[([^\]]*)\]|(\d+\.\d+\.\d+\.\d+))(?::\d+)?$/.exec(text);
  return match?.[1] ?? match?.[2] ?? text;
}

/** The eight groups of an IPv6 address without zone. */
export function parseIPv6(text: string): number[] {
  const dotted = text.lastIndexOf(".") === -1 ? text : replaceDotted(text);
  const [head = "", tail] = dotted.split("::");
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

/** The headers in which proxies and content delivery networks tell the address of the client. */
const forwardingHeaders = [
  ...["x-forwarded-for", "forwarded", "x-real-ip", "x-client-ip", "x-cluster-client-ip"],
  ...["cf-connecting-ip", "true-client-ip", "fastly-client-ip"],
];

/**
 * May the address of this request be that of a proxy? The request was forwarded, by its headers, and the framework did not
 * read one of them: it trusts no proxy, or not this one, or reads another header.
 */
export function mayBeProxy(exchange: Pick<Exchange, "addressHeader" | "header">): boolean {
  const { addressHeader } = exchange;
  if (addressHeader !== undefined && (exchange.header(addressHeader) ?? "").trim() !== "") return false;
  return forwardingHeaders.some((name) => exchange.header(name) !== undefined);
}
