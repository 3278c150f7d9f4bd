import { expect } from "chai";
import fc from "fast-check";
import { Codecs, readEntry, writeEntry } from "../../../packages/core/src/cache/entry.js";
import { cacheKeys, openProcess } from "../support/cache-process.js";

/** The generation of the namespace, as the tests put it into the store. */
const stamp = "generate";

/** What this release writes before the value of a codec. */
function headOf(letter: string): string {
  const times = { createdAt: 1_000_000, freshMs: 300_000, graceMs: 0 };
  return writeEntry({ letter, ...times, generations: stamp, tags: [] }, "");
}
const mark = headOf("j");
const codecs = new Codecs("json");

/** As a text from the store is read. */
function decode(text: string): unknown {
  const entry = readEntry(text);
  return entry === undefined ? undefined : codecs.decode(entry.letter, entry.payload);
}

/** JSON that is none, after the test suite of N. Seriot: each is a trap for some parser. */
const noJson: readonly string[] = [
  ...[
    "",
    " ",
    "[",
    "]",
    "{",
    "}",
    "[[",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1,,2]",
    "[1 2]",
    "[1:2]",
    "[1]x",
    "[1]]",
    "[1],",
    "[1,\n1\n,1",
    "[,]",
    "[,",
    "[*",
    '["',
    '["a',
    '["a"',
  ],
  ...[
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":1,',
    '{"a":1,}',
    "{a:1}",
    "{'a':1}",
    "{1:1}",
    '{"a" 1}',
    '{"a":1 "b":2}',
    "{,}",
    '{"a":1,,}',
    '{"a":1}}',
    '{"a":1}#',
    '{"a":1}//',
    '{"a":1}/**/',
    "{[]:1}",
    "{null:1}",
  ],
  ...[
    "nul",
    "tru",
    "fals",
    "True",
    "NULL",
    "NaN",
    "nan",
    "Infinity",
    "-Infinity",
    "undefined",
    "None",
    "+1",
    ".5",
    "5.",
    "-",
    "--1",
    "-.5",
    "01",
    "-01",
    "1e",
    "1e+",
    "0x1",
    "1_000",
    "1,000",
    "1.2.3",
    "0e",
    "0.e1",
    "\uff11",
    "1a",
    "- 1",
  ],
  ...[
    '"',
    '"a',
    'a"',
    "'a'",
    '"\\',
    '"\\x"',
    '"\\u00"',
    '"\\u{1f511}"',
    '"a\nb"',
    '"a\tb"',
    '"a\0b"',
    '"\u0001"',
    '"\\"',
    '"a""b"',
    '"\\a"',
    "`a`",
    "\u00abx\u00bb",
  ],
  ...[
    "\ufeff{}",
    "\ufeff",
    "\0",
    "{}\0",
    "\u00a0{}",
    "\u2028{}",
    "[\u000b1]",
    "[\f]",
    '{"a":\u00a01}',
    "<a/>",
    "%PDF-1.4",
    "\u0000\u0001\u0002",
    "\ud800",
    "\ufffd\ufffd",
  ],
];

/** What other programs, and other releases, may have left under a key. */
const foreign: readonly string[] = [
  ...[
    "revoked",
    "true",
    "false",
    "null",
    "{}",
    "[]",
    '"a"',
    "0",
    "2",
    "42",
    "-1",
    "3.14",
    "OK",
    "PONG",
    "a",
    '{"a":1}',
    " 1{}",
    "\n1{}",
    "\ufeff1{}",
  ],
  ...[
    "0{}",
    "2{}",
    '3{"v":1}',
    "9[]",
    "v1{}",
    "j{}",
    "\u0001{}",
    "\x80\x04\x95",
    "\x1f\x8b\x08",
    "\x04\bo:",
    'O:8:"stdClass"',
    "a:1:{i:0;i:1;}",
    "sess:1",
    '{"v":1,"d":{}}',
  ],
];

/** Numbers, as counters hold them, that begin with the character that our own values have had. */
const foreignNumbers: readonly string[] = [
  "1",
  "10",
  "11",
  "12",
  "100",
  "123",
  "1700000000",
  "1.5",
  "10.5",
  "1e5",
  "1234567890123",
];

async function readsAs(stored: string): Promise<unknown[]> {
  const { store, request } = openProcess();
  const generation = { key: cacheKeys.cacheGeneration("n:"), named: stamp, isNew: true };
  await store.inner.keep([{ key: "any", value: "", ttlMs: 60_000 }], [generation], Number.MAX_SAFE_INTEGER);
  await request().set("k", "ours");
  const key = store.written[0]?.key ?? "";
  await store.inner.setMany([{ key, value: stored, ttlMs: 60_000 }]);
  const cache = request();
  const read = [await cache.get("k"), await cache.has("k"), await cache.getMany(["k"])];
  return [...read, await request().getOrSet({ key: "k" }, () => "made"), await request().get("k")];
}

const miss = [undefined, false, [undefined], "made", "made"];

describe("bytes in the store that this cache has not written", () => {
  it("are more than 140 here", () => expect(noJson.length + foreign.length + foreignNumbers.length).to.be.above(140));

  for (const text of [...noJson.map((json) => mark + json), ...foreign]) {
    it(`are a miss: ${JSON.stringify(text)}`, async () => expect(await readsAs(text)).to.deep.equal(miss));
  }

  for (const text of foreignNumbers) {
    it(`are a miss as the number of another program: ${JSON.stringify(text)}`, async () =>
      expect(await readsAs(text)).to.deep.equal(miss));
  }

  it("are a miss however long", async () => {
    const huge = [
      "x".repeat(3e7),
      `${mark}"${"x".repeat(1e7)}`,
      mark + "[".repeat(5e6),
      mark + '{"a":'.repeat(1e6),
      mark + " ".repeat(1e7),
      mark + "\0".repeat(1e6),
      `${mark}${"9".repeat(100)}e`,
      "2".repeat(1e7),
    ];
    for (const text of huge) expect(await decode(text)).to.equal(undefined);
  });

  it("are a miss or a value of ours, never an exception, whatever they are", () => {
    const cut = fc
      .jsonValue()
      .chain((value) =>
        fc.nat().map((at) => (mark + codecs.encode(value)).slice(0, at % (mark + codecs.encode(value)).length)),
      );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: "binary" }),
          fc.string().map((text) => mark + text),
          cut,
        ),
        (text) => {
          const value = decode(text);
          expect(value === undefined || text.startsWith(mark)).to.be.true;
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("with a member __proto__ pollute nothing", async () => {
    const [value] = (await readsAs(
      `${mark}{"__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}}}`,
    )) as [{ admin?: unknown }];
    expect(value.admin).to.equal(undefined);
    expect(({} as { admin?: unknown }).admin).to.equal(undefined);
    expect(Object.getPrototypeOf(value)).to.equal(Object.prototype);
  });
});
