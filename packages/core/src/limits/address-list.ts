import { BlockList, isIP } from "node:net";
import { GrowingLru } from "../lib/growing-lru.js";
import { canonicalAddress, ipv4Inside, parseIPv6 } from "../http/address.js";
import { kindOf, optionError } from "../lib/validate.js";

/** Answers cached for each list. */
const maxAnswers = 5000;

/**
 * A list of addresses and networks. It is searched for an address as it is, and for the IPv4 address inside it if a translator
 * or a tunnel made it. An IPv4-mapped address is searched as IPv4 only.
 */
export class AddressList {
  readonly #list: BlockList;
  readonly #answers = new GrowingLru<string, boolean>({ max: maxAnswers });

  constructor(list: BlockList) {
    this.#list = list;
  }

  /** Is the address on the list? False for a text that is not an address. */
  has(ip: string | undefined): boolean {
    if (ip === undefined || ip.length > 64) return false;
    let answer = this.#answers.get(ip);
    if (answer === undefined) {
      answer = formsOf(ip).some((form) => this.#list.check(form, isIP(form) === 4 ? "ipv4" : "ipv6"));
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
  const inside = written === 6 ? ipv4Inside(parseIPv6(text)) : undefined;
  const bits = written === 4 ? 32 : 128;
  // ::ffff:10.0.0.0/104 is 10.0.0.0/8. The networks of translators and tunnels stay as they are written.
  const mapped = inside?.by === "mapped" ? inside.address : undefined;
  const before = mapped === undefined ? 0 : 96;
  const prefix = Number(match?.[2] ?? bits);
  if (written === 0 || prefix > bits || prefix < before) {
    throw optionError(
      option,
      'must be an address such as "192.0.2.1" or a network such as "10.0.0.0/8", "2001:db8::/32"',
    );
  }
  list.addSubnet(mapped ?? text, prefix - before, written === 4 || mapped !== undefined ? "ipv4" : "ipv6");
}

/** The forms of an address to search for; empty for a text that is not an address. */
function formsOf(text: string): string[] {
  const written = text.replace(/%.*$/s, "");
  const counted = canonicalAddress(text, 128).replace("/128", "");
  const forms = isIP(counted) === 0 ? [] : [counted];
  if (isIP(counted) === 4 && isIP(written) === 6 && ipv4Inside(parseIPv6(written))?.by !== "mapped")
    forms.push(written);
  return forms;
}
