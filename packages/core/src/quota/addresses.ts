import { BlockList, isIP } from "node:net";
import { LRUCache } from "lru-cache";
import { canonicalAddress } from "../http/address.js";
import { kindOf, optionError } from "../options/validate.js";

/** Addresses whose answer is remembered, for each list. */
const remembered = 5000;

/** A list of addresses and networks; IPv4-mapped IPv6 is the IPv4 address that it stands for. */
export class AddressList {
  readonly #list: BlockList;
  readonly #answers = new LRUCache<string, boolean>({ max: remembered });

  constructor(list: BlockList) {
    this.#list = list;
  }

  /** Never true for what is no address. */
  has(ip: string | undefined): boolean {
    if (ip === undefined || ip.length > 64) return false;
    let answer = this.#answers.get(ip);
    if (answer === undefined) {
      const { address, family } = plainAddress(ip);
      answer = family !== undefined && this.#list.check(address, family);
      this.#answers.set(ip, answer);
    }
    return answer;
  }
}

export function resolveAddressList(option: string, entries: unknown): AddressList {
  if (!Array.isArray(entries)) {
    throw optionError(option, `must be a list of addresses and networks such as "10.0.0.0/8", not ${kindOf(entries)}`);
  }
  const list = new BlockList();
  entries.forEach((entry, index) => addEntry(list, `${option}[${index}]`, entry));
  return new AddressList(list);
}

function addEntry(list: BlockList, option: string, entry: unknown): void {
  const match = typeof entry === "string" ? /^([0-9A-Fa-f:.]+)(?:\/(\d{1,3}))?$/.exec(entry) : null;
  const text = match?.[1] ?? "";
  const written = isIP(text);
  const { address, family } = plainAddress(text);
  const bits = written === 4 ? 32 : 128;
  // ::ffff:10.0.0.0/104 is 10.0.0.0/8.
  const mapped = written === 6 && family === "ipv4" ? 96 : 0;
  const prefix = Number(match?.[2] ?? bits);
  if (written === 0 || family === undefined || prefix > bits || prefix < mapped) {
    throw optionError(
      option,
      'must be an address such as "192.0.2.1" or a network such as "10.0.0.0/8", "2001:db8::/32"',
    );
  }
  list.addSubnet(address, prefix - mapped, family);
}

function plainAddress(text: string): { address: string; family: "ipv4" | "ipv6" | undefined } {
  const address = canonicalAddress(text, 128).replace("/128", "");
  const version = isIP(address);
  return { address, family: version === 4 ? "ipv4" : version === 6 ? "ipv6" : undefined };
}
