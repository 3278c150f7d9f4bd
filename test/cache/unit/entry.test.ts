import { expect } from "chai";
import fc from "fast-check";
import { readEntry, writeEntry } from "../../../packages/core/src/cache/entry.js";
import type { StoredEntry } from "../../../packages/core/src/cache/entry.js";

/** The head as a grammar: what the reading by hand must agree with. */
const grammar =
  /^p2([0-9a-z]) ([0-9a-z]{1,10}) ([0-9a-z]{1,10}) ([0-9a-z]{1,10}) ([^ \n]{0,2000}) ([\w.~=,-]{0,20000})(?: [^\n]*)?\n([^]*)$/;

function readByGrammar(text: string): StoredEntry | undefined {
  const match = grammar.exec(text);
  if (match === null) return undefined;
  const [, letter = "", created = "", fresh = "", grace = "", stamp = "", tagged = "", payload = ""] = match;
  const tags = (tagged === "" ? [] : tagged.split(",")).map((tag) => {
    const at = tag.lastIndexOf("=");
    return [tag.slice(0, Math.max(0, at)), tag.slice(at + 1)] as const;
  });
  const [createdAt = 0, freshMs = 0, graceMs = 0] = [created, fresh, grace].map((time) => Number.parseInt(time, 36));
  return { letter, createdAt, freshMs, graceMs, generations: stamp, tags, payload };
}

const time = fc.nat({ max: 2 ** 45 });
const word = fc.stringMatching(/^[A-Za-z0-9_-]{0,12}$/);
const name = fc.stringMatching(/^[A-Za-z0-9_.~-]{1,12}$/);
const head = fc.record({
  letter: fc.constantFrom("j", "s", "c", "0"),
  createdAt: time,
  freshMs: time,
  graceMs: time,
  generations: fc.array(word, { minLength: 1, maxLength: 4 }).map((words) => words.join(".")),
  tags: fc.array(fc.tuple(name, word), { maxLength: 4 }),
});

describe("the text of a cached entry", () => {
  it("is read as it was written, whatever the value", () => {
    fc.assert(
      fc.property(head, fc.string(), (entry, payload) => {
        expect(readEntry(writeEntry(entry, payload))).to.deep.equal({ ...entry, payload });
      }),
    );
  });

  it("is read by its grammar if any part of it is changed, removed or added", () => {
    const pieces = fc.constantFrom(
      "",
      " ",
      "  ",
      "\n",
      "p2",
      "p3j",
      "z",
      "Z",
      "-",
      ".",
      ",",
      "=",
      "~",
      "\u0000",
      "\u00e9",
      "0".repeat(11),
    );
    fc.assert(
      fc.property(head, fc.string(), fc.nat(), fc.nat({ max: 3 }), pieces, (entry, payload, place, cut, piece) => {
        const text = writeEntry(entry, payload);
        const at = place % (text.length + 1);
        const changed = text.slice(0, at) + piece + text.slice(at + cut);
        expect(readEntry(changed), JSON.stringify(changed)).to.deep.equal(readByGrammar(changed));
      }),
      { numRuns: 5000 },
    );
  });

  for (const [what, text] of Object.entries({
    "no line feed": "p2j 1 1 1 s ",
    "times that go on after the line feed": "p2j 1 1\n1 s \n1",
    "a stamp that goes on after it": "p2j 1 1 1\ns \n1",
    "no field for tags": "p2j 1 1 1 s\n1",
    "a stamp longer than any": `p2j 1 1 1 ${"s".repeat(2001)} \n1`,
    "tags longer than any": `p2j 1 1 1 s ${"t".repeat(20_001)}\n1`,
    "a head longer than any": `p2j 1 1 1 s  ${"x".repeat(30_000)}\n1`,
  })) {
    it(`is not an entry with ${what}`, () => expect(readEntry(text)).to.equal(undefined));
  }

  it("may have fields of later releases", () => {
    expect(readEntry("p2j 1 2 3 s a=g later fields\n1")).to.deep.equal({
      letter: "j",
      createdAt: 1,
      freshMs: 2,
      graceMs: 3,
      generations: "s",
      tags: [["a", "g"]],
      payload: "1",
    });
  });
});
