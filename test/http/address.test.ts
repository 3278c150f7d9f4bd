import { BlockList, SocketAddress, isIP } from "node:net";
import { expect } from "chai";
import fc from "fast-check";
import { canonicalAddress } from "../../packages/core/src/http/address.js";
import { resolveAddressList } from "../../packages/core/src/limits/address-list.js";
import { fakeExchange, openGate } from "../support/fake-gate.js";

const prefix = 56;
const canonical = (text: string | undefined): string => canonicalAddress(text, prefix);

const ipv6Groups = fc.array(fc.oneof(fc.constantFrom(0, 1, 0xffff, 0xdb8), fc.nat({ max: 0xffff })), {
  minLength: 8,
  maxLength: 8,
});

/** The same eight groups, written in one of the many ways that RFC 4291 2.2 allows. */
function spell(
  groups: readonly number[],
  style: { upper: boolean; padded: boolean; dotted: boolean; compress: number },
): string {
  const [high = 0, low = 0] = groups.slice(6);
  const texts = groups.map((group) => group.toString(16).padStart(style.padded ? 4 : 1, "0"));
  if (style.dotted) texts.splice(6, 2, `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`);
  const zeros: number[] = [];
  for (let index = style.compress % texts.length; index < texts.length && /^0+$/.test(texts[index] ?? ""); index += 1)
    zeros.push(index);
  const [first] = zeros;
  let text = texts.join(":");
  if (first !== undefined) text = `${texts.slice(0, first).join(":")}::${texts.slice(first + zeros.length).join(":")}`;
  return style.upper ? text.toUpperCase() : text;
}

const style = fc.record({
  upper: fc.boolean(),
  padded: fc.boolean(),
  dotted: fc.boolean(),
  compress: fc.nat({ max: 7 }),
});

describe("addresses that are equal", () => {
  it("are one bucket in every spelling of IPv6", () => {
    fc.assert(
      fc.property(ipv6Groups, style, style, (groups, one, other) => {
        const spelled = spell(groups, one);
        expect(isIP(spelled), spelled).to.equal(6);
        expect(canonical(spelled)).to.equal(canonical(spell(groups, other)));
        expect(canonical(spelled)).to.equal(canonical(new SocketAddress({ address: spelled, family: "ipv6" }).address));
      }),
      { numRuns: 2000 },
    );
  });

  it("are one bucket as IPv4 and as IPv4-mapped IPv6", () => {
    fc.assert(
      fc.property(fc.ipV4(), style, (address, how) => {
        const [a = 0, b = 0, c = 0, d = 0] = address.split(".").map(Number);
        const mapped = spell([0, 0, 0, 0, 0, 0xffff, (a << 8) | b, (c << 8) | d], how);
        expect(canonical(address)).to.equal(address);
        expect(canonical(mapped)).to.equal(address);
      }),
    );
  });

  it("are one bucket as IPv4 and as IPv6 that a translator or a tunnel makes of it", () => {
    fc.assert(
      fc.property(fc.ipV4(), style, ipv6Groups, (address, how, rest) => {
        const [a = 0, b = 0, c = 0, d = 0] = address.split(".").map(Number);
        const [high, low] = [(a << 8) | b, (c << 8) | d];
        const translated = {
          nat64: [0x64, 0xff9b, 0, 0, 0, 0, high, low],
          "6to4": [0x2002, high, low, ...rest.slice(3)],
          teredo: [0x2001, 0, ...rest.slice(2, 6), high ^ 0xffff, low ^ 0xffff],
        };
        for (const [by, groups] of Object.entries(translated))
          expect(canonical(spell(groups, how)), by).to.equal(address);
      }),
    );
    expect(canonical("64:ff9b::c633:6407")).to.equal("198.51.100.7");
  });

  it("are one bucket each behind a local translator (RFC 8215), however short the networks are that count", () => {
    expect(canonical("64:ff9b:1::198.51.100.7")).to.equal(canonical("64:FF9B:1::c633:6407"));
    expect(canonical("64:ff9b:1::198.51.100.7")).not.to.equal(canonical("64:ff9b:1::198.51.100.8"));
  });

  it("are one bucket with a zone, with a port, in brackets", () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV6(), fc.ipV4()), fc.nat({ max: 65_535 }), (address, port) => {
        const expected = canonical(address);
        expect(expected).not.to.equal("unknown");
        if (isIP(address) === 6) {
          for (const text of [`${address}%eth0`, `[${address}]`, `[${address}]:${port}`, `[${address}%en1]:${port}`])
            expect(canonical(text), text).to.equal(expected);
        } else expect(canonical(`${address}:${port}`)).to.equal(expected);
      }),
    );
  });
});

describe("IPv6 addresses", () => {
  it("are one bucket exactly if they are in one network, as node:net sees it", () => {
    fc.assert(
      fc.property(ipv6Groups, fc.nat({ max: 127 }), fc.integer({ min: 32, max: 128 }), (groups, bit, length) => {
        const other = [...groups];
        other[bit >> 4] = (other[bit >> 4] ?? 0) ^ (0x8000 >> (bit & 15));
        const [one, two] = [
          groups.map((group) => group.toString(16)).join(":"),
          other.map((group) => group.toString(16)).join(":"),
        ];
        if ([one, two].some((text) => canonicalAddress(text, length).includes("."))) return;
        const network = new BlockList();
        network.addSubnet(one, length, "ipv6");
        expect(canonicalAddress(one, length) === canonicalAddress(two, length)).to.equal(network.check(two, "ipv6"));
      }),
      { numRuns: 2000 },
    );
  });

  it("are written as a network that its own address leads back to: the form is canonical", () => {
    fc.assert(
      fc.property(fc.ipV6(), fc.integer({ min: 32, max: 128 }), (address, length) => {
        const form = canonicalAddress(address, length);
        const [network = "", bits] = form.split("/");
        if (bits === undefined) expect(canonicalAddress(form, length)).to.equal(form);
        else {
          expect(Number(bits)).to.equal(length);
          expect(canonicalAddress(network, length)).to.equal(form);
        }
      }),
    );
  });

  it("that only contain an IPv4 address are not that address", () => {
    const others = [
      "2001:db8::1.2.3.4",
      "::1.2.3.4",
      "64:ff9b::1:1.2.3.4",
      "::ffff:0:1.2.3.4",
      "::fffe:1.2.3.4",
      "1::ffff:1.2.3.4",
      "2003:102:304::",
      "2001:1:102:304::",
      "::1",
      "::1:ffff:102:304",
    ];
    for (const text of others) expect(canonical(text), text).to.match(/^[0-9a-f:]+\/56$/);
  });

  it("are equal within their network and distinct outside it", () => {
    expect(canonical("2001:db8:0:ff::1")).to.equal(canonical("2001:db8::1"));
    expect(canonical("2001:db8:0:100::1")).not.to.equal(canonical("2001:db8::1"));
    expect(canonicalAddress("2001:db8::1", 128)).not.to.equal(canonicalAddress("2001:db8::2", 128));
    expect(canonicalAddress("2001:db8::1", 64)).to.equal(canonicalAddress("2001:db8::2", 64));
    expect(canonicalAddress("2001:db8:0:1::1", 64)).not.to.equal(canonicalAddress("2001:db8::1", 64));
  });
});

describe("lists of addresses", () => {
  const has = (entries: readonly string[], ip: string): boolean => resolveAddressList("deny", entries).has(ip);

  it("find an IPv4 address in all forms in which a translator or a tunnel brings it", () => {
    const forms = [
      ...["198.51.100.7", "::ffff:198.51.100.7", "64:ff9b::198.51.100.7", "2002:c633:6407::1"],
      "2001:0:102:304:0:0:39cc:9bf8",
    ];
    for (const ip of forms) expect(has(["198.51.100.0/24"], ip), ip).to.equal(true);
    for (const ip of forms) expect(has(["203.0.113.0/24"], ip), ip).to.equal(false);
    expect(has(["198.51.100.0/24"], "2001:db8::198.51.100.7")).to.equal(false);
  });

  it("find the networks of translators and tunnels as they are written, and nothing besides", () => {
    expect(has(["64:ff9b::/96"], "64:ff9b::198.51.100.7")).to.equal(true);
    expect(has(["64:ff9b::/96"], "198.51.100.7")).to.equal(false);
    expect(has(["2002::/16"], "2002:c633:6407::1")).to.equal(true);
    expect(has(["2002::/16"], "198.51.100.7")).to.equal(false);
    expect(has(["::ffff:198.51.100.0/120"], "64:ff9b::198.51.100.7")).to.equal(true);
  });
});

describe("a text that is no address", () => {
  const junk: readonly (string | undefined)[] = [
    ...[
      undefined,
      "",
      " ",
      "not-an-ip",
      "unknown",
      "undefined",
      "null",
      "localhost",
      "client.example.com",
      "_hidden",
      "-",
      "0",
      "1",
      "::g",
    ],
    ...[
      "1.2.3",
      "1.2.3.4.5",
      "1.2.3.256",
      "01.2.3.4",
      "0x7f.0.0.1",
      "2130706433",
      "0177.0.0.1",
      "1.2.3.4/8",
      "1.2.3.4 ",
      " 1.2.3.4",
      "1.2.3.4\0",
    ],
    ...[
      "1.2.3.4, 5.6.7.8",
      "1.2.3.4;5.6.7.8",
      "1.2.3.4:",
      "1.2.3.4:a",
      "1.2.3.4%eth0",
      "1.2.3.4:80:80",
      "\uff11.2.3.4",
      "1\u30022.3.4",
    ],
    ...[
      "2001:db8::1::2",
      "2001:db8",
      "1:2:3:4:5:6:7:8:9",
      ":::",
      "[2001:db8::1",
      "2001:db8::1]",
      "[2001:db8::1]:x",
      "[[::1]]",
      "[]",
      "[]:80",
      "[%eth0]",
    ],
    ...[
      "::ffff:1.2.3.256",
      "::ffff:1.2.3",
      "::1.2.3.4.5",
      "1.2.3.4::",
      "2001:db8::/56",
      "fe80::1/64%eth0",
      "'; DROP TABLE ips;--",
      "for=192.0.2.60",
    ],
  ];

  for (const text of junk) {
    it(`shares one bucket with all such texts: ${JSON.stringify(text)}`, () =>
      expect(canonical(text)).to.equal("unknown"));
  }

  it("never makes a separate bucket, for any text", () => {
    const pieces = fc.constantFrom(
      "1",
      "255",
      "256",
      "01",
      ".",
      ":",
      "::",
      "ffff",
      "[",
      "]",
      "%",
      "eth0",
      "/",
      "56",
      "2001:db8",
      "1.2.3.4",
      " ",
      "g",
      "-",
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: "binary" }),
          fc.array(pieces, { maxLength: 10 }).map((parts) => parts.join("")),
        ),
        (text) => {
          const form = canonical(text);
          if (form === "unknown") return true;
          const plain = text
            .replace(/^\[([^\]]*)\](?::\d+)?$/, "$1")
            .replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, "$1")
            .replace(/%.*$/s, "");
          return isIP(plain) !== 0 && (isIP(form) === 4 || /^[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){7}\/56$/.test(form));
        },
      ),
      { numRuns: 5000 },
    );
  });

  it("is looked at in no time that its length could stretch", () => {
    const start = performance.now();
    for (const text of [
      "1.".repeat(1e6),
      ":".repeat(1e6),
      `[${":".repeat(1e6)}`,
      "9".repeat(1e6),
      `1.2.3.4:${"9".repeat(1e6)}`,
      `::1%${"x".repeat(1e6)}`,
    ])
      canonical(text);
    expect(performance.now() - start).to.be.below(2000);
  });
});

describe("a limit per address", () => {
  it("counts one client in every spelling once, and all junk together", async () => {
    const gate = openGate({ limits: [{ name: "ip", per: "ip", limit: 3, window: "1h" }] });
    const passes = async (ip: string): Promise<boolean> => (await gate.guard().check(fakeExchange({ ip }))).allowed;
    const client = ["192.0.2.7", "::ffff:192.0.2.7", "::FFFF:C000:207", "192.0.2.7:4711"];
    const network = ["2001:db8::1", "2001:DB8:0:0:ff::2", "[2001:db8::3]:80", "2001:db8::4%eth0"];
    const unknown = ["not-an-ip", "", "6.6.6", "client"];
    for (const spellings of [client, network, unknown]) {
      const answers: boolean[] = [];
      for (const ip of spellings) answers.push(await passes(ip));
      expect(answers).to.deep.equal([true, true, true, false]);
    }
  });
});
