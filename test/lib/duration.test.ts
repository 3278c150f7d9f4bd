import { inspect } from "node:util";
import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import fc from "fast-check";
import { durationMs, durationSeconds } from "../../packages/core/src/lib/duration.js";
import type { FakeOptions } from "../support/fake-gate.js";
import { openGate } from "../support/fake-gate.js";

const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
type Unit = keyof typeof units;

/** What no duration is: values that other libraries round, parse in part or take for zero. */
const junk: readonly unknown[] = [
  ...[
    0,
    -0,
    -1,
    0.5,
    1.5,
    -0.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    1e21,
    2 ** 53,
    Number.MIN_VALUE,
  ],
  ...[
    "",
    " ",
    "0",
    "5",
    "0s",
    "00ms",
    "-5s",
    "+5s",
    "5 m",
    " 5m",
    "5m ",
    "5m\n",
    "\t5m",
    "0.5s",
    "1.0s",
    ".5s",
    "1e3s",
    "1e3",
  ],
  ...[
    "5M",
    "5S",
    "5min",
    "5 minutes",
    "5mm",
    "5ms5",
    "1h30m",
    "1h 30m",
    "PT5M",
    "5w",
    "1y",
    "1mo",
    "s",
    "ms",
    "m5",
    "0x10s",
    "1_000ms",
  ],
  ...[
    "\u0665s",
    "\uff15s",
    "5\u017f",
    "NaN",
    "NaNs",
    "Infinity",
    "Infinitys",
    "null",
    "undefined",
    "true",
    "1,000ms",
    "1n",
  ],
  ...["99999999999999999d", "9007199254740993ms", "999999999999999d", `${"9".repeat(400)}ms`, "36601d"],
  ...[
    null,
    true,
    false,
    {},
    [],
    ["5m"],
    [5],
    5n,
    new Date(5),
    { valueOf: () => 5 },
    { toString: () => "5m" },
    () => 5,
    Symbol("5m"),
  ],
  ...[new Number(5), new String("5m")],
];

function shown(value: unknown): string {
  return inspect(value).slice(0, 40);
}

describe("a duration", () => {
  it("as a whole number is that many milliseconds", () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 2 ** 40 }), (ms) => durationMs("x", ms) === ms));
  });

  it("as a text is its number of units, exactly", () => {
    const amount = fc.integer({ min: 1, max: 36_600 });
    const unit = fc.constantFrom<Unit>("ms", "s", "m", "h", "d");
    fc.assert(fc.property(amount, unit, (count, name) => durationMs("x", `${count}${name}`) === count * units[name]));
  });

  it("may have zeros in front", () => {
    expect(durationMs("x", "005m")).to.equal(300_000);
  });

  for (const [index, value] of junk.entries()) {
    it(`is not ${shown(value)} (${index})`, () => {
      let thrown: unknown;
      try {
        durationMs("some.option", value);
      } catch (error) {
        thrown = error;
      }
      expect(thrown).to.satisfy((error: unknown) => error instanceof RangeError || error instanceof TypeError);
      const { message, code } = thrown as Error & { code?: string };
      expect(message).to.include("some.option").and.include('"30s"').and.include("option_invalid");
      expect(code).to.equal("option_invalid");
    });
  }

  it("is an exact safe number of milliseconds within its bounds, or an error that names the option, whatever is given", () => {
    const texts = fc.oneof(
      fc.string(),
      fc
        .tuple(
          fc.constantFrom("", " ", "-", "0", "1", "5", "1e"),
          fc.nat().map(String),
          fc.constantFrom("", ".5", " ", "0"),
          fc.constantFrom("ms", "s", "m", "h", "d", "", "M", " s"),
        )
        .map((parts) => parts.join("")),
    );
    fc.assert(
      fc.property(fc.oneof(fc.anything(), texts, fc.double()), fc.integer({ min: 1, max: 2 ** 45 }), (value, most) => {
        let ms: number;
        try {
          ms = durationMs("some.option", value, most);
        } catch (error) {
          return (error instanceof RangeError || error instanceof TypeError) && error.message.includes("some.option");
        }
        if (typeof value === "string") {
          const unit = /[a-z]+$/.exec(value)?.[0] as Unit;
          expect(`${ms / units[unit]}${unit}`).to.equal(value.replace(/^0+/, ""));
        } else expect(ms).to.equal(value);
        return Number.isSafeInteger(ms) && ms >= 1 && ms <= most;
      }),
      { numRuns: 3000 },
    );
  });

  it("in seconds is whole seconds, or an error", () => {
    expect(durationSeconds("x", "1m", 60)).to.equal(60);
    for (const value of [1, 500, 999, 1500, 60_001, "1ms", "1500ms", "61s", "2m"]) {
      expect(() => durationSeconds("some.option", value, 60), String(value)).to.throw(RangeError, "some.option");
    }
  });
});

describe("an option that is a duration", () => {
  const limit = { name: "a", per: "ip", limit: 1 } as const;
  const day = units.d;

  /** The options in question, the longest duration each takes, and whether it takes zero. */
  const options: readonly (readonly [name: string, atMostMs: number, make: (value: never) => FakeOptions])[] = [
    ["deadline", 10_000, (value) => ({ deadline: value })],
    ["cache.ttl", 36_600 * day, (value) => ({ cache: { ttl: value } })],
    ["auth.clockTolerance", 600_000, (value) => ({ auth: { ...testAuth, clockTolerance: value } })],
    ["auth.maxLifetime", 36_600 * day, (value) => ({ auth: { ...testAuth, maxLifetime: value } })],
    ["limits[0].window", 24 * day, (value) => ({ limits: [{ ...limit, window: value }] })],
  ];

  for (const [name, atMostMs, make] of options) {
    it(`${name} takes one second to ${atMostMs} ms`, () => {
      for (const value of ["1s", 1000, `${atMostMs}ms`, atMostMs])
        expect(() => openGate(make(value as never)), String(value)).not.to.throw();
      for (const value of [atMostMs + 1000, `${atMostMs / 1000 + 1}s`]) {
        expect(() => openGate(make(value as never)), String(value)).to.throw(RangeError, name);
      }
    });

    it(`${name} takes nothing unclear`, () => {
      for (const value of junk) {
        if (value === 0 && name === "auth.clockTolerance") continue;
        // A window may be a function of the request.
        if (typeof value === "function" && name === "limits[0].window") continue;
        expect(() => openGate(make(value as never)), shown(value)).to.throw(name);
      }
    });
  }

  it("takes no window of half a second, nor of a second and a half, nor of 25 days", () => {
    for (const window of [500, "500ms", 1500, "1500ms", 999, "25d", 25 * day, "577h"] as const) {
      expect(() => openGate({ limits: [{ ...limit, window }] }), String(window)).to.throw(
        RangeError,
        "limits[0].window",
      );
    }
  });

  it("takes 0 as a clock tolerance that forgives nothing", () => {
    expect(() => openGate({ auth: { ...testAuth, clockTolerance: 0 } })).not.to.throw();
  });
});
