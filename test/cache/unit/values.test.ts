import { inspect } from "node:util";
import { expect } from "chai";
import fc from "fast-check";
import { rejectionOf } from "../../support/rejection.js";
import { openProcess } from "../support/cache-process.js";

/** From Node 26 on, JSON.stringify needs no stack, and says any depth. */
function canSay(value: unknown): boolean {
  try {
    return JSON.stringify(value) !== "";
  } catch {
    return false;
  }
}

describe("a value", () => {
  it("that JSON can say is read back as it was", async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        const { request } = openProcess();
        await request().set("k", value);
        expect(JSON.stringify(await request().get("k"))).to.equal(JSON.stringify(value));
      }),
    );
  });

  for (const value of ["", "undefined", "null", "\0", "\ud800", "\u2028", "{}", "1", '"', "\\", "__proto__"]) {
    it(`that is the text ${JSON.stringify(value)} is read back as it was`, async () => {
      const { request } = openProcess();
      await request().set("k", value);
      expect(await request().get("k")).to.equal(value);
    });
  }

  const cycle: Record<string, unknown> = {};
  cycle.self = cycle;
  let deep: unknown = 1;
  for (let depth = 0; depth < 200_000; depth += 1) deep = [deep];
  const unsayable: Readonly<Record<string, unknown>> = {
    undefined: undefined,
    "a function": () => 1,
    "a symbol": Symbol("a"),
    NaN: Number.NaN,
    "Infinity within": { a: Infinity },
    "a Map": new Map([["a", 1]]),
    "a Set within a list": [new Set([1])],
    bytes: Buffer.from("a"),
    "an Error": new Error("a"),
    "an expression": /a/,
    "an iterator": [1].values(),
    "a list of query parameters": new URLSearchParams("a=1"),
    "a function within": { a: () => 1 },
    "a list with holes": [1, , 3],
    "undefined within a list": [undefined],
    "a BigInt": 5n,
    "a BigInt within": { a: [5n] },
    "a cycle": cycle,
    ...(canSay(deep) ? {} : { "a depth that no stack holds": deep }),
    "a getter that throws": {
      get a(): never {
        throw new Error("no");
      },
    },
    "toJSON that says nothing": { toJSON: () => undefined },
  };
  for (const [name, value] of Object.entries(unsayable)) {
    it(`that is ${name} is a TypeError, in set, setMany and getOrSet, and nothing is written`, async () => {
      const { store, request } = openProcess();
      const attempts = [() => request().set("k", value), () => request().setMany([["k", value]])];
      if (value !== undefined) {
        attempts.push(async () => {
          await request().getOrSet({ key: "k" }, () => value);
        });
      }
      for (const attempt of attempts) {
        const error = await rejectionOf(attempt());
        expect(error).to.be.instanceOf(TypeError);
        expect((error as Error).message).to.match(/must be a value that JSON can express/);
      }
      expect(store.written).to.have.length(0);
    });
  }

  const changed: readonly (readonly [name: string, value: unknown, later: unknown])[] = [
    ["minus zero", -0, 0],
    ["a Date", new Date(0), "1970-01-01T00:00:00.000Z"],
    ["undefined within", { a: undefined, b: [null] }, { b: [null] }],
    ["a class with toJSON", { toJSON: () => ({ a: 1 }) }, { a: 1 }],
  ];
  for (const [name, value, later] of changed) {
    it(`that is ${name} has the form that JSON gives it, for the request that stored it too`, async () => {
      const { request } = openProcess();
      const first = request();
      await first.set("k", value);
      expect(await first.getOrSet({ key: "l" }, () => value)).to.deep.equal(later);
      expect(await first.getMany(["k", "l"])).to.deep.equal([later, later]);
      expect(await request().getMany(["k", "l"])).to.deep.equal([later, later]);
    });
  }
});

describe("a key", () => {
  for (const key of ["", undefined, null, 5, {}, ["a"], Symbol("a"), true]) {
    it(`is not ${inspect(key)}: every method rejects with a TypeError`, async () => {
      const { store, request } = openProcess();
      const cache = request();
      const bad = key as string;
      const attempts = [
        cache.get(bad),
        cache.has(bad),
        cache.set(bad, 1),
        cache.delete(bad),
        cache.getMany(["a", bad]),
        cache.setMany([
          ["a", 1],
          [bad, 1],
        ]),
        cache.getOrSet({ key: bad }, () => 1),
      ];
      for (const attempt of attempts) {
        const error = await rejectionOf(attempt);
        expect(error).to.be.instanceOf(TypeError);
      }
      expect(store.written).to.have.length(0);
    });
  }
});
