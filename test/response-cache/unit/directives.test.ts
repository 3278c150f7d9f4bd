import { expect } from "chai";
import fc from "fast-check";
import type { Directives } from "../../../packages/core/src/response-cache/cache-control.js";
import { readDirectives } from "../../../packages/core/src/response-cache/cache-control.js";

const numRuns = process.env.SOAK === undefined ? 5000 : 500_000;

/** One directive, and what is skipped behind it; tried anew at each place, so that its time grows by the square. */
const directive =
  /([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:=(?:"((?:[^"\\]|\\[^])*)"|([^\s",;]*)))?[^,"]*(?:"(?:[^"\\]|\\[^])*"[^,"]*)*/y;

/** The slow reading in ten lines. */
function modelOf(field: string): Directives {
  const found = new Map<string, string>();
  let at = 0;
  while (at < field.length) {
    directive.lastIndex = at;
    const [text = "", name, quoted, plain = ""] = directive.exec(field) ?? [];
    const comma = field.indexOf(",", at);
    at =
      name !== undefined
        ? at + text.length
        : /[, \t]/.test(field[at] ?? "")
          ? at + 1
          : comma === -1
            ? Infinity
            : comma + 1;
    // Each name once: which of two values counts is asked elsewhere.
    if (name !== undefined)
      found.set(name.toLowerCase(), quoted === undefined ? plain : quoted.replace(/\\([^])/g, "$1"));
  }
  return found;
}

describe("the directives of a Cache-Control field", function () {
  this.timeout(process.env.SOAK === undefined ? 30_000 : 1_800_000);
  it("are equal to those of the slow parser, in valid and invalid fields", () => {
    const piece = fc.constantFrom(
      "a",
      "b",
      "=",
      '"',
      ",",
      ";",
      " ",
      "\t",
      "1",
      "\u00e9",
      "no-store",
      "max-age=5",
      '="x',
      "\\\\",
      '\\"',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        const field = pieces.join("");
        const model = modelOf(field);
        const read = readDirectives(field);
        expect([...read.keys()], field).to.deep.equal([...model.keys()]);
        // Of a name that comes once the value is the same.
        for (const [name, value] of read)
          if (field.toLowerCase().split(name).length === 2) expect(value, field).to.equal(model.get(name));
      }),
      { numRuns },
    );
  });

  it("are read in a time that grows with the length of the field alone, whatever a client sends", () => {
    for (const hostile of ['a=\\",', 'a="\\"', 'a="', '"', "\\", 'a"\\",', '""', " ", "=", 'a="\\",b="x" ', "a\\"]) {
      const field = hostile.repeat(Math.ceil(262_144 / hostile.length));
      const begun = performance.now();
      readDirectives(field);
      // Some 10 ms; the square of the length took 10 s.
      expect(performance.now() - begun, hostile).to.be.below(1000);
    }
  });
});
