import { runInNewContext } from "node:vm";
import { expect } from "chai";
import fc from "fast-check";
import { jsonText } from "../../packages/core/src/lib/json.js";
import { expectOptionError } from "../support/option-error.js";

const cycle: { self?: unknown } = {};
cycle.self = cycle;
let deep: unknown = 1;
for (let level = 0; level < 100_000; level += 1) deep = [deep];

describe("the JSON of a value", () => {
  it("is read as the same value, whatever JSON value it is", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(jsonText("data", value, 1e6))).to.deep.equal(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it("has no undefined members, and the text of a Date", () => {
    const at = new Date("2026-11-29T05:00:00.000Z");
    expect(jsonText("data", { a: undefined, at, b: null }, 100)).to.equal('{"at":"2026-11-29T05:00:00.000Z","b":null}');
  });

  const others: Readonly<Record<string, unknown>> = {
    undefined,
    "a Map": new Map(),
    "a Set": new Set([1]),
    NaN,
    Infinity,
    "a bigint": 1n,
    "a Buffer": Buffer.from("x"),
    "a Uint8Array": new Uint8Array(1),
    "an ArrayBuffer": new ArrayBuffer(1),
    "an Error": new TypeError("x"),
    "a Promise": Promise.resolve(1),
    "a RegExp": /x/,
    "a SharedArrayBuffer": new SharedArrayBuffer(1),
    "a Map of another realm": runInNewContext("new Map()") as unknown,
    "an invalid Date of another realm": runInNewContext("new Date(NaN)") as unknown,
    "a function": () => 1,
    "a symbol": Symbol("x"),
    "an invalid Date": new Date(Number.NaN),
    "a cycle": cycle,
    "what is too deep": deep,
    "a toJSON that returns a Map": { toJSON: () => new Map([[1, 2]]) },
    "a toJSON that returns a Date": { toJSON: () => new Date(0) },
    "a toJSON that throws": {
      toJSON() {
        throw new Error("secret");
      },
    },
  };
  for (const [what, value] of Object.entries(others))
    it(`is an error for ${what}, alone and inside a value`, () => {
      const hint = /must be a value that JSON can express/;
      expectOptionError(() => jsonText("data", value, 1e6), "data", hint);
      expectOptionError(() => jsonText("data", [1, [value]], 1e6), "data", hint);
      if (value !== undefined) expectOptionError(() => jsonText("data", { a: { b: value } }, 1e6), "data", hint);
    });

  it("does not quote the value in its error", () => {
    for (const value of [{ "seeded-key": NaN }, ["seeded-value", () => "seeded"], others["a toJSON that throws"]])
      expect(() => jsonText("data", value, 100))
        .to.throw(TypeError)
        .and.satisfy((error: Error) => !/seeded|secret/.test(error.message));
  });

  it("is bounded in bytes", () => {
    expect(jsonText("data", "x".repeat(98), 100)).to.have.length(100);
    expectOptionError(() => jsonText("data", "x".repeat(99), 100), "data", "at most 100 bytes");
    expectOptionError(() => jsonText("data", "\u00e9".repeat(50), 100), "data", "at most 100 bytes");
  });
});
