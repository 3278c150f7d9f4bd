import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { openGate } from "../support/fake-gate.js";
import { rejectionOf } from "../support/rejection.js";

const limit = { name: "a", per: "ip", limit: 1, window: "1m" } as const;

/** What a user of another library writes, by what the error must say to write instead. */
const rows: readonly (readonly [options: object, write: string])[] = [
  [{ redisUrl: "redis://x" }, 'redis: "redis://host:6379"'],
  [{ store: {} }, "write redis"],
  [{ keyPrefix: "a" }, "write prefix"],
  [{ jwtSecret: "x" }, "auth: { secret }"],
  [{ secret: "x" }, "auth: { secret }"],
  [{ aud: "x" }, "auth: { audience }"],
  [{ max: 5 }, "limits: [{ limit }]"],
  [{ windowMs: 5 }, "limits: [{ window: 60_000 (milliseconds)"],
  [{ standardHeaders: true }, 'headers: "draft-8"'],
  [{ ttlSeconds: 5 }, 'cache: { ttl: "60s" }'],
  [{ requestProperty: "user" }, "write property"],
  [{ auth: { ...testAuth, jwtSecret: "x" } }, "write secret"],
  [{ auth: { ...testAuth, aud: "x" } }, "write audience"],
  [{ auth: { ...testAuth, iss: "x" } }, "write issuer"],
  [{ auth: { ...testAuth, secretOrKey: "x" } }, "write secret or publicKey"],
  [{ auth: { ...testAuth, issuerBaseURL: "x" } }, "write issuer"],
  [{ auth: { ...testAuth, credentialsRequired: false } }, "optional: true"],
  [{ auth: { ...testAuth, getToken: () => "x" } }, "write tokenFrom"],
  [{ auth: { ...testAuth, requestProperty: "user" } }, "the option property of the gate"],
  [{ limits: [{ ...limit, max: 5 }] }, "write limit"],
  [{ limits: [{ ...limit, points: 5 }] }, "write limit"],
  [{ limits: [{ ...limit, windowMs: 5 }] }, "window: 60_000 (milliseconds)"],
  [{ limits: [{ ...limit, duration: 5 }] }, 'window: "60s"'],
  [{ limits: [{ ...limit, keyGenerator: () => "x" }] }, "write per"],
  [{ limits: [{ ...limit, skipSuccessfulRequests: true }] }, 'countOnly: "failures"'],
  [{ limits: [{ ...limit, standardHeaders: true }] }, "the option headers of the gate"],
  [{ limits: [{ ...limit, handler: () => "x" }] }, "is not an option"],
  [{ cache: { ttlSeconds: 5 } }, 'write ttl: "60s"'],
  [{ cache: { stdTTL: 5 } }, 'write ttl: "60s"'],
  [{ cache: { staleWhileRevalidate: 5 } }, "swr: true"],
  [{ redis: { uri: "x" } }, "write url"],
  [{ redis: { host: "x", user: "y" } }, "write username"],
  [{ rateLimit: {} }, "limits: [{ name, per, limit, window }]"],
  [{ trustProxy: 1 }, 'app.set("trust proxy", 1)'],
  [{ publicPaths: ["/health"] }, "gate.unless({ path }, gate.guard())"],
  [{ onDeny: "throw" }, 'gate.guard({ onDeny: "throw" })'],
  [{ name: "orders" }, 'service: "orders-api"'],
  [{ cors: true }, "in front of the gate"],
  [{ cache: { max: 5 } }, "local: { entries }"],
  [{ limits: [{ ...limit, skipPaths: ["/health"] }] }, "when: { path, method }"],
  [{ auth: { ...testAuth, ignoreExpiration: false } }, "exp is always checked"],
  [{ auth: { ...testAuth, domain: "x.example.com" } }, "write issuer: "],
  [{ auth: { ...testAuth, tokenFrom: { header: "X-Token" } } }, 'req.headers["x-token"]'],
  [{ auth: { ...testAuth, tokenFrom: { query: "token" } } }, "write a function"],
  [{ tokens: { secret: "x" } }, "write signingKey"],
  [{ tokens: { refreshTokenTtl: 5 } }, "write idleLifetime"],
  [{ redis: { client: {} } }, "redis: client"],
  [{ redis: { socket: {} } }, "write host and port"],
  // A misspelled name is still found.
  [{ limts: [] }, "did you mean limits?"],
];

describe("an option of another library", () => {
  for (const [options, write] of rows)
    it(`is an error that says what to write: ${JSON.stringify(options).slice(0, 60)}`, () => {
      expect(() => openGate(options))
        .to.throw(TypeError, write)
        .and.satisfy((error: Error) => error.message.startsWith("portcullis: "));
    });
});

describe("an option of guard() in another library", () => {
  const gate = openGate({});
  const wrong: readonly (readonly [options: object, write: string])[] = [
    [{ limits: [limit] }, "the option limits of the gate"],
    [{ scopes: ["a"] }, 'gate.requireScopes("orders:read")'],
    [{ roles: ["a"] }, 'gate.requireRole("admin")'],
    [{ session: false }, "nothing: a guard keeps no session"],
    [{ path: "/a" }, "gate.when({ path }, gate.guard())"],
    [{ unless: "/a" }, "gate.unless({ path }, gate.guard())"],
    [{ secret: "x" }, "the option auth of the gate"],
    [{ audience: "x" }, "the option auth of the gate"],
    [{ credentialsRequired: false }, "optional: true"],
    [{ optinal: true }, "did you mean optional?"],
  ];
  for (const [options, write] of wrong)
    it(`is an error that says what to write: ${JSON.stringify(options)}`, () =>
      void expect(() => gate.guard(options)).to.throw(TypeError, write));
});

describe("a call of the cache as in another library", () => {
  const { cache } = openGate({});
  const calls: Readonly<Record<string, readonly [call: () => Promise<unknown>, write: RegExp]>> = {
    'getOrSet("k", fn)': [
      async () => cache.getOrSet("k" as never, () => 1),
      /takes an object with the key.*getOrSet\(\{ key/,
    ],
    "getOrSet(fn)": [async () => cache.getOrSet((() => 1) as never, undefined as never), /getOrSet\(\{ key/],
    "getOrSet()": [async () => cache.getOrSet(undefined as never, undefined as never), /needs a function/],
    "getOrSet({ key })": [
      async () => cache.getOrSet({ key: "k" }, undefined as never),
      /needs a function.*second argument/,
    ],
    "getOrSet({ key, ttlSeconds })": [
      async () => cache.getOrSet({ key: "k", ttlSeconds: 5 } as never, () => 1),
      /ttlSeconds is not an option; write ttl: "60s"/,
    ],
    "set(k, v, 60)": [async () => cache.set("k", 1, 60 as never), /set\(key, value, \{ ttl: "5m" \}\)/],
    "set(k, v, { ex })": [async () => cache.set("k", 1, { ex: 60 } as never), /ex is not an option; write ttl/],
  };
  for (const [name, [call, write]] of Object.entries(calls))
    it(`is a TypeError that says what to write: ${name}`, async () => {
      const error = (await rejectionOf(call())) as Error;
      expect(error).to.be.instanceOf(TypeError);
      expect(error.message).to.match(write);
    });
});
