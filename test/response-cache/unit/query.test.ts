import { createRequire } from "node:module";
import querystring from "node:querystring";
import { expect } from "chai";
import fc from "fast-check";
import type { QueryRules } from "../../../packages/core/src/response-cache/target-uri.js";
import { reduceQuery, targetOf } from "../../../packages/core/src/response-cache/target-uri.js";
import { isSoak } from "../../support/soak.js";

type Parser = (text: string, options?: object) => Readonly<Record<string, unknown>>;

/** The parser of Express 4, which this repository has for Express alone. */
const { parse } = createRequire(createRequire(import.meta.url).resolve("express4"))("qs") as { readonly parse: Parser };

/** The parsers of Express 4, Express 5 and Koa, and others that an application may choose. */
const parsers: readonly Parser[] = [
  (text) => parse(text, { allowPrototypes: true }),
  (text) => parse(text, { allowDots: true, decodeDotInKeys: true, comma: true }),
  (text) => parse(text, { delimiter: /[&;]/, ignoreQueryPrefix: true, allowPrototypes: true }),
  querystring.parse as Parser,
  (text) => Object.fromEntries([...new URLSearchParams(text).keys()].map((name) => [name, valuesOf(text, name)])),
  // Of an application that takes names in any case.
  (text) => parse(text.toLowerCase()),
];

const valuesOf = (text: string, name: string): string[] => new URLSearchParams(text).getAll(name);

const names = [
  ...["q", "%71", "%2571", "Q", "q[]", "q%5B0%5D", "q%5b%5D", "q[a]", "q.x", "q%2Ex", "+q", "q+", "%20q", "q%00"],
  ...[
    "",
    "page",
    "utm",
    "utm%5Fsource",
    "x;q",
    "x?q",
    "?q",
    "q]",
    "[q]",
    "x[q]",
    "q%",
    "%E0%A4%A",
    "%C3%A9",
    "__proto__",
  ],
  ...["hasOwnProperty", "constructor", "a%26q", "a%3Dq", "q%3D", "q#"],
];
const values = ["", "1", "=2", "1]=2", "a,b", "x;q=3", "%26q=4", "?q=5", "%zz", "[]"];
const parameter = fc
  .tuple(fc.constantFrom(...names), fc.constantFrom("=", "=", "=", ""), fc.constantFrom(...values))
  .map(([name, equals, value]) => `${name}${equals}${equals === "" ? "" : value}`);
const query = fc.array(parameter, { maxLength: 5 }).map((all) => all.join("&"));
const numRuns = isSoak ? 300_000 : 1000;

describe("the part of a query that chooses a response", function () {
  this.timeout(isSoak ? 1_800_000 : 30_000);
  for (const sort of [false, true]) {
    it(`has the values of the wanted parameters as every parser reads them${sort ? ", sorted too" : ""}`, () => {
      const rules: QueryRules = { only: new Set(["q", "page"]), sort };
      fc.assert(
        fc.property(query, (text) => {
          const reduced = reduceQuery(text, rules);
          for (const read of parsers) {
            const [whole, part] = [read(text), read(reduced)];
            for (const name of ["q", "page"]) expect(part[name], text).to.deep.equal(whole[name]);
          }
        }),
        { numRuns },
      );
    });
  }

  it("leaves out parameters with certainly other names, and keeps wanted ones as they were sent, in their order", () => {
    const rules = { only: new Set(["q", "page", "caf\u00e9"]), sort: false };
    for (const [text, reduced] of [
      ["utm_source=a&q=1", "q=1"],
      ["utm%5Fsource=a&q=1&_ga=2&page=3", "q=1&page=3"],
      ["page=3&%71=1&q=2", "page=3&%71=1&q=2"],
      ["&&q=1&", "q=1"],
      ["utm=1&caf%C3%A9=1", "caf%C3%A9=1"],
      ["utm=1", ""],
      ["", ""],
    ] as const)
      expect(reduceQuery(text, rules), text).to.equal(reduced);
  });

  it("is all of a query in which a name can be read in several ways", () => {
    const rules = { only: new Set(["q"]), sort: true };
    for (const name of names.filter((one) => !/^(?:|q|%71|page|utm|utm%5Fsource)$/.test(one))) {
      const text = `utm=2&${name}=evil&a=1`;
      expect(reduceQuery(text, rules)).to.equal(text);
    }
    for (const text of ["utm=1;q=2", "utm=1?q=2", "=q"]) expect(reduceQuery(text, rules)).to.equal(text);
    expect(reduceQuery("user=1&utm=2", { only: new Set(["user.name"]), sort: false })).to.equal("user=1&utm=2");
  });

  it("is all of a query that is so long that parsers may not read it to its end", () => {
    const text = `${"utm=1&".repeat(1000)}q=evil`;
    expect(querystring.parse(text)).not.to.have.property("q");
    for (const sort of [false, true])
      expect(reduceQuery(text, { only: sort ? undefined : new Set(["q"]), sort })).to.equal(text);
  });

  it("is in the order as sent, unless the names may be sorted; values of one name are never", () => {
    for (const url of ["/img?crop=5&resize=10", "/img?resize=10&crop=5", "/img?", "/img?b&a", "/img?%62=1&a"])
      expect(targetOf(url)).to.equal(url);
    const sorted = { only: undefined, sort: true };
    expect(targetOf("/img?resize=10&crop=5&crop=1", sorted)).to.equal("/img?crop=5&crop=1&resize=10");
    expect(targetOf("/img?b=2&%61=1", sorted)).to.equal("/img?%61=1&b=2");
    for (const url of ["/img?z[]=1&a=2", "/img?b=1;c=2&a=3", "/img?b=1&&a=2", "/img?b=1&a%=2"])
      expect(targetOf(url, sorted)).to.equal(url);
  });
});
