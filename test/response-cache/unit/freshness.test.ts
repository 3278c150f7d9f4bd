import { expect } from "chai";
import fc from "fast-check";
import { readDate } from "../../../packages/core/src/http/fields.js";
import { readDirectives, secondsOf } from "../../../packages/core/src/response-cache/cache-control.js";
import {
  currentAge,
  decideReuse,
  freshnessOf,
  mayServeOnError,
} from "../../../packages/core/src/response-cache/freshness.js";
import { fieldReader, nowMs, storeAt } from "../support/freshness.js";

describe("the directives of Cache-Control", () => {
  it("are read in any case, order, quoting and spacing", () => {
    const name = fc.stringMatching(/^[a-z][a-z-]{0,8}$/);
    const value = fc.oneof(fc.constant(undefined), fc.stringMatching(/^[a-z0-9]{1,6}$/), fc.string({ maxLength: 8 }));
    const list = fc.uniqueArray(
      fc.record({ name, value, upper: fc.boolean(), gap: fc.constantFrom("", " ", " \t", ",", ", ,") }),
      {
        selector: (one) => one.name,
      },
    );
    fc.assert(
      fc.property(list, (directives) => {
        const text = directives
          .map(({ name, value, upper, gap }) => {
            const written =
              value === undefined
                ? ""
                : /^[a-z0-9]+$/.test(value)
                  ? `=${value}`
                  : `="${value.replace(/["\\]/g, "\\$&")}"`;
            return `${gap}${upper ? name.toUpperCase() : name}${written}`;
          })
          .join(",");
        expect([...readDirectives(text)]).to.have.deep.members(
          directives.map(({ name, value }) => [name, value ?? ""]),
        );
      }),
    );
  });

  it("never throw, hang or invent a number, whatever the field is", () => {
    const part = fc.constantFrom("max-age", "=", '"', "\\", ",", " ", "1", "a", ";", "no-store", "\u00fc", '="', '",');
    fc.assert(
      fc.property(fc.array(part, { maxLength: 60 }), (parts) => {
        const seconds = secondsOf(readDirectives(parts.join("")), "max-age", 0);
        if (seconds !== undefined) expect(Number.isInteger(seconds) && seconds >= 0).to.equal(true);
      }),
    );
    const started = performance.now();
    for (const text of [
      'x="\\'.repeat(4000),
      'a="b'.repeat(4000),
      ",".repeat(16_000),
      '"'.repeat(16_000),
      "a=b;".repeat(4000),
    ])
      readDirectives(text);
    expect(performance.now() - started).to.be.below(2000);
  });

  it("make nothing fresh that is doubtful", () => {
    for (const text of [
      "max-age=a1",
      "max-age=1a",
      "max-age=1.5",
      "max-age='60'",
      "max-age=-1",
      "max-age =60",
      "max-age= 60",
      "max-age",
      "max-age=60, max-age=0",
      'x="max-age=60", max-age=0',
    ])
      expect(secondsOf(readDirectives(text), "max-age", 0), text).to.equal(0);
    for (const text of ["max-age=60", "MAX-AGE=060", 'max-age="60"', "x, max-age=60;y, z=1", "max-age=60, max-age=90"])
      expect(secondsOf(readDirectives(text), "max-age", 0), text).to.equal(60);
    expect(secondsOf(readDirectives("max-age=99999999999999999999"), "max-age", 0)).to.equal(2 ** 31);
  });
});

describe("HTTP dates", () => {
  it("are read in all three forms, and nothing else is", () => {
    const whole = fc.integer({ min: 0, max: 4_102_444_799 }).map((seconds) => seconds * 1000);
    fc.assert(
      fc.property(whole, (ms) => {
        expect(readDate(new Date(ms).toUTCString(), nowMs)).to.equal(ms);
      }),
    );
    const at = Date.UTC(1994, 10, 6, 8, 49, 37);
    for (const text of [
      "Sun, 06 Nov 1994 08:49:37 GMT",
      "Sunday, 06-Nov-94 08:49:37 GMT",
      "Sun Nov  6 08:49:37 1994",
      "SUN, 06 NOV 1994 08:49:37 gmt",
    ])
      expect(readDate(text, nowMs), text).to.equal(at);
    expect(readDate("Sunday, 06-Nov-33 08:49:37 GMT", nowMs)).to.equal(Date.UTC(2033, 10, 6, 8, 49, 37));
    for (const text of [
      "0",
      "-1",
      "",
      "Sun, 06 Nov 1994 08:49:37 UTC",
      "Sun, 6 Nov 1994 08:49:37 GMT",
      "Sun 06 Nov 1994 08:49:37 GMT",
      "Sun, 06-Nov-1994 08:49:37 GMT",
      "Sun, 06 Nov 94 08:49:37 GMT",
      "Sun, 06  Nov 1994 08:49:37 GMT",
      "Sun, 06 Nov 1994 08.49.37 GMT",
      "Sun, 06 Nov 1994 8:49:37 GMT",
      "Sun, 06 Foo 1994 08:49:37 GMT",
      "Sun, 32 Nov 1994 08:49:37 GMT",
      "1994-11-06T08:49:37Z",
    ])
      expect(readDate(text, nowMs), text).to.equal(undefined);
  });
});

describe("the freshness of a response", () => {
  const seconds = fc.integer({ min: 0, max: 100_000 });
  const defaults = { lifetime: undefined, staleWhileRevalidate: 0, staleIfError: 0 };

  it("ends exactly when its lifetime does, by whichever field it was given", () => {
    fc.assert(
      fc.property(
        seconds,
        seconds,
        seconds,
        fc.constantFrom("s-maxage", "max-age", "expires"),
        (lifetime, age, passed, by) => {
          const fields =
            by === "expires"
              ? { expires: new Date(nowMs + lifetime * 1000).toUTCString(), date: new Date(nowMs).toUTCString() }
              : { "cache-control": `${by}=${lifetime}` };
          const stored = storeAt({ ...fields, age: String(age) }, defaults);
          const then = { processMs: nowMs, storeMs: 0 };
          const now = { processMs: nowMs + passed * 1000, storeMs: passed * 1000 };
          const isFresh = decideReuse(stored, currentAge(stored.initialAge, then, now), new Map()) === "fresh";
          expect(isFresh).to.equal(age + passed < lifetime);
        },
      ),
    );
  });

  it("is the first of s-maxage, max-age, Expires and the default that is there, and s-maxage is for shared caches", () => {
    const some = fc.option(seconds, { nil: undefined });
    fc.assert(
      fc.property(some, some, some, some, fc.boolean(), (sMaxage, maxAge, expires, byDefault, shared) => {
        const control = [
          ["s-maxage", sMaxage],
          ["max-age", maxAge],
        ].flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]));
        const fields = {
          "cache-control": control.join(", "),
          ...(expires === undefined ? {} : { expires: new Date(nowMs + expires * 1000).toUTCString() }),
        };
        const found = freshnessOf(
          fieldReader(fields),
          readDirectives(fields["cache-control"]),
          { ...defaults, lifetime: byDefault },
          { requestMs: nowMs, nowMs, shared },
        );
        expect(found?.lifetime).to.equal((shared ? sMaxage : undefined) ?? maxAge ?? expires ?? byDefault);
      }),
    );
  });

  it("counts Age, Date and the time that the response took", () => {
    fc.assert(
      fc.property(seconds, seconds, seconds, (age, dated, took) => {
        const fields = {
          "cache-control": "max-age=1",
          age: String(age),
          date: new Date(nowMs - dated * 1000).toUTCString(),
        };
        const { initialAge } = storeAt(fields, defaults, nowMs - took * 1000);
        expect(initialAge).to.equal(Math.max(age + took, dated));
      }),
    );
    for (const [age, expected] of [
      ["7200, 0", 7200],
      ["0, 7200", 0],
      ["abc", 0],
      ["-5", 0],
      ["7200.0", 0],
    ] as const)
      expect(storeAt({ "cache-control": "max-age=1", age }, defaults).initialAge, age).to.equal(expected);
  });

  it("never decreases with a clock that goes back, or that is behind the clock of the process that stored it", () => {
    const difference = fc.integer({ min: -100_000, max: 100_000 });
    fc.assert(
      fc.property(seconds, difference, difference, (age, processPassed, storePassed) => {
        const stored = { processMs: nowMs, storeMs: 5000 };
        const now = { processMs: nowMs + processPassed * 1000, storeMs: 5000 + storePassed * 1000 };
        expect(currentAge(age, stored, now)).to.equal(age + Math.max(0, processPassed, storePassed));
      }),
    );
  });
});

describe("the answer from a stored response", () => {
  const seconds = fc.integer({ min: 0, max: 200 });
  const some = fc.option(seconds, { nil: undefined });

  it("follows RFC 9111 5.2.1 and RFC 5861 for lifetime, age and the directives of both sides", () => {
    const wishes = fc.record({ "max-age": some, "min-fresh": some, "max-stale": some, "no-cache": fc.boolean() });
    fc.assert(
      fc.property(seconds, seconds, seconds, fc.boolean(), wishes, (lifetime, age, window, mustRevalidate, wish) => {
        const { "max-age": maxAge, "min-fresh": minFresh, "max-stale": maxStale, "no-cache": noCache } = wish;
        const text = [
          ...Object.entries(wish).flatMap(([name, value]) => (typeof value === "number" ? [`${name}=${value}`] : [])),
          ...(noCache ? ["no-cache"] : []),
        ].join(", ");
        const staleWhileRevalidate = mustRevalidate ? 0 : window;
        const reuse = decideReuse({ lifetime, staleWhileRevalidate, mustRevalidate }, age, readDirectives(text));
        const recent = !noCache && age <= (maxAge ?? Infinity);
        if (!recent) expect(reuse).to.equal("forward");
        else if (age < lifetime) expect(reuse).to.equal(lifetime - age >= (minFresh ?? 0) ? "fresh" : "forward");
        else if (minFresh !== undefined) expect(reuse).to.equal("forward");
        else if (!mustRevalidate && maxStale !== undefined && age - lifetime <= maxStale)
          expect(reuse).to.equal("stale");
        else expect(reuse).to.equal(age - lifetime < staleWhileRevalidate ? "revalidate" : "forward");
      }),
    );
  });

  it("is a stale copy for a server error only within its window", () => {
    fc.assert(
      fc.property(seconds, seconds, seconds, (lifetime, age, staleIfError) => {
        expect(mayServeOnError({ lifetime, staleIfError }, age)).to.equal(age - lifetime < staleIfError);
      }),
    );
  });
});
