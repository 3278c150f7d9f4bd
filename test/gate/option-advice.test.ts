import { createGate } from "../../packages/core/src/adapter.js";
import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { openGate } from "../support/fake-gate.js";
import { expectOptionError } from "../support/option-error.js";

const limit = { name: "a", per: "ip", limit: 1, window: "1m" } as const;

/** What a newcomer writes, the option that the error names, and what the error says to write instead. */
const rows: readonly (readonly [what: string, options: object, option: string, write: string])[] = [
  ["limits without a list", { limits: limit }, "limits", "a list of policies such as [{ name"],
  ["a window in words", { limits: [{ ...limit, window: "15 minutes" }] }, "limits[0].window", 'write "15m"'],
  ["a window of one hour in words", { limits: [{ ...limit, window: "1 Hour" }] }, "limits[0].window", 'write "1h"'],
  ["a window of weeks", { limits: [{ ...limit, window: "2w" }] }, "limits[0].window", 'write "14d"'],
  ["a window without a unit", { limits: [{ ...limit, window: "60" }] }, "limits[0].window", '"60s" or "60ms"'],
  ["a window in seconds", { limits: [{ ...limit, window: 60 }] }, "limits[0].window", 'write "60s" for seconds'],
  ["a window that is too long", { limits: [{ ...limit, window: "30d" }] }, "limits[0].window", "(24d)"],
  ["a ttl in words", { cache: { ttl: "1 hour" } }, "cache.ttl", 'write "1h"'],
  [
    "a header with a colon",
    { limits: [{ ...limit, per: { header: "X-Key:" } }] },
    "limits[0].per.header",
    '"X-Api-Key"',
  ],
  ["a block without a number", { limits: [{ ...limit, block: "5m" }] }, "limits[0].block", "{ after: 10, for:"],
  ["a condition as text", { limits: [{ ...limit, when: "/a" }] }, "limits[0].when", '{ path: "/public/*" }'],
  [
    "a path with a parameter",
    { limits: [{ ...limit, when: { path: "/users/:id" } }] },
    "limits[0].when.path",
    'write "/users/*"',
  ],
  ["an algorithm in lower case", { auth: { ...testAuth, algorithms: ["hs256"] } }, "auth.algorithms", 'write "HS256"'],
  ["a tolerance in seconds", { auth: { ...testAuth, clockTolerance: 60 } }, "auth.clockTolerance", 'write "60s"'],
  ["a lifetime in seconds", { auth: { ...testAuth, maxLifetime: 3600 } }, "auth.maxLifetime", 'write "3600s"'],
  ["an age in seconds", { auth: { ...testAuth, maxTokenAge: 900 } }, "auth.maxTokenAge", 'write "900s"'],
  ["a source of tokens as text", { auth: { ...testAuth, tokenFrom: "cookie" } }, "auth.tokenFrom", "{ cookie: "],
  ["the name of the header", { auth: { ...testAuth, tokenFrom: "Authorization" } }, "auth.tokenFrom", '"header"'],
  ["a cache that is true", { cache: true }, "cache", "without it, the defaults hold"],
  ["a revocation that is true", { revocation: true, auth: testAuth }, "revocation", "without it, the defaults hold"],
  ["headers that are true", { headers: true }, "headers", "or false"],
  ["a promise of a client", { redis: Promise.resolve("redis://127.0.0.1:1") }, "redis", "await it"],
];

describe("the error of a wrong option", () => {
  for (const [what, options, option, write] of rows)
    it(`says what to write instead of ${what}`, () => expectOptionError(() => openGate(options), option, write));

  it("says that an address of Redis is no options object", () =>
    expectOptionError(
      () => createGate("redis://127.0.0.1:6379" as never, (check) => ({ check })),
      "options",
      'redis: "redis://host:6379"',
    ));
});

describe("a condition of unless()", () => {
  const gate = openGate({});
  for (const condition of [["/health"], "/health"])
    it(`that is ${JSON.stringify(condition)} is an error that shows a path`, () =>
      expectOptionError(() => gate.unless(condition as never, gate.guard()), "unless()", '{ path: "/public/*" }'));

  it("has no parameters, but may have colons within segments", () => {
    expectOptionError(() => gate.unless({ path: "/users/:id" }, gate.guard()), "unless().path", 'write "/users/*"');
    expect(() => gate.unless({ path: "/v1/users:batch" }, gate.guard())).not.to.throw();
  });
});

describe("guard() with checks", () => {
  it("refuses an empty list, which would admit everybody", () =>
    expectOptionError(() => openGate({}).guard({ checks: [] }), "guard().checks", "at least one"));
});
