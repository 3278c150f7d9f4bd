import { inspect } from "node:util";
import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { createGate } from "../../packages/core/src/adapter.js";
import { silentLogger } from "../support/logger.js";
import { rejectionOf } from "../support/rejection.js";
import type { FakeGate } from "../support/fake-gate.js";
import { openGate } from "../support/fake-gate.js";
import { expectOptionError } from "../support/option-error.js";

/** What is wrong, the options, the option that the message must name, and what it must say besides. */
type Row = readonly [what: string, options: object, option: string, hint: string | RegExp];

const limit = { name: "a", per: "ip", limit: 1, window: "1m" };
const hook = (): number => 1;

const unknownNames: readonly Row[] = [
  ["a redis URL under another name", { reids: "redis://x" }, "options.reids", "did you mean redis?"],
  ["auth in upper case", { Auth: testAuth }, "options.Auth", "did you mean auth?"],
  ["limit for limits", { limit: [] }, "options.limit", "did you mean limits?"],
  ["revocations", { revocations: false }, "options.revocations", "did you mean revocation?"],
  ["something else", { helmet: true }, "options.helmet", "there are redis, prefix"],
  ["a name of Object's prototype", { toString: 1 }, "options.toString", "is not an option"],
  [
    "__proto__ as an own name",
    JSON.parse('{"__proto__":{"redis":"memory"}}') as object,
    "options.__proto__",
    "is not an option",
  ],
  ["an unknown cache option", { cache: { tll: "5m" } }, "cache.tll", "did you mean ttl?"],
  [
    "an unknown revocation option",
    { auth: testAuth, revocation: { onStoreErorr: "deny" } },
    "revocation.onStoreErorr",
    "did you mean onStoreError?",
  ],
  [
    "an unknown revocation option without auth",
    { revocation: { onStoreErorr: "deny" } },
    "revocation.onStoreErorr",
    "did you mean onStoreError?",
  ],
  [
    "grace for graceMs",
    { auth: testAuth, revocation: { onStoreError: { grace: 1 } } },
    "revocation.onStoreError.grace",
    "graceMs",
  ],
  ["an unknown limit option", { limits: [{ ...limit, pints: 5 }] }, "limits[0].pints", "there are name, per, limit"],
  [
    "a mistyped limit option",
    { limits: [limit, { ...limit, windows: 5 }] },
    "limits[1].windows",
    "did you mean window?",
  ],
];

const wrongValues: readonly Row[] = [
  ["redis: a URL of http", { redis: "http://127.0.0.1" }, "redis", '"rediss://default:password@host:6379"'],
  ["redis: a host", { redis: "127.0.0.1:6379" }, "redis", "redis://"],
  ["redis: an empty text", { redis: "" }, "redis", "redis://"],
  ["redis: no host", { redis: "redis://" }, "redis", "redis://"],
  ["redis: not a URL", { redis: "redis://a b:x" }, "redis", 'hosts such as "host:6379"'],
  ["redis: Memory", { redis: "Memory" }, "redis", '"memory"'],
  ["redis: null", { redis: null }, "redis", "ioredis client"],
  ["redis: false", { redis: false }, "redis", "ioredis client"],
  ["redis: nothing named", { redis: {} }, "redis", "exactly one of url, host"],
  ["redis: two places", { redis: { host: "a", path: "/b" } }, "redis", "exactly one of url, host"],
  ["redis: an option of ioredis", { redis: { host: "a", lazyConnect: true } }, "redis.lazyConnect", "is not an option"],
  ["redis: a port of text", { redis: { host: "a", port: "6379" } }, "redis.port", "whole number"],
  ["redis: a port too high", { redis: { host: "a", port: 70_000 } }, "redis.port", "65535"],
  ["redis: a port alone", { redis: { path: "/b", port: 1 } }, "redis.port", "goes with host"],
  ["redis: a user without password", { redis: { host: "a", username: "u" } }, "redis.password", "with username"],
  ["redis: sentinels without name", { redis: { sentinels: [{ host: "a" }] } }, "redis.name", "is required"],
  ["redis: no sentinels", { redis: { sentinels: [], name: "main" } }, "redis.sentinels", "{ host, port }"],
  ["redis: a nameless node", { redis: { cluster: [{ port: 1 }] } }, "redis.cluster[0].host", "string"],
  ["redis: a cluster's second database", { redis: { cluster: [{ host: "a" }], db: 1 } }, "redis.db", "must be 0"],
  ["redis: a name for one server", { redis: { host: "a", name: "main" } }, "redis.name", "goes with sentinels"],
  ["redis: a certificate without key", { redis: { host: "a", tls: { cert: "x" } } }, "redis.tls", "cert and key"],
  [
    "redis: no check",
    { redis: { host: "a", tls: { rejectUnauthorized: false } } },
    "redis.tls.rejectUnauthorized",
    "is not",
  ],
  ["redis: TLS on a socket", { redis: { path: "/b", tls: true } }, "redis.tls", "unix socket"],
  ["redis: sentinels without a master", { redis: "redis+sentinel://a,b" }, "redis", "must name the master"],
  ["redis: two hosts", { redis: "redis://a:1,b:2" }, "redis", "redis+cluster://"],
  ["redis: a query", { redis: "redis://a?tls=true" }, "redis", "rediss://"],
  ["redis: port 0", { redis: "redis://a:0" }, "redis", "a port from 1 to 65535"],
  ["redis: a bad escape", { redis: "redis://:%zz@a" }, "redis", "write %25"],
  ["redis: a user alone", { redis: "redis://u@a" }, "redis", "user:password@"],
  ["redis: a cache alone", { redis: { cache: "redis://a" } }, "redis.security", "redis://"],
  ["redis: a third instance", { redis: { security: "redis://a", cach: "redis://a" } }, "redis.cach", "mean cache"],
  ["redis: a list of URLs", { redis: ["redis://127.0.0.1"] }, "redis", "ioredis client"],
  ["prefix with braces", { prefix: "{a}:" }, "prefix", "letters, digits"],
  ["prefix with a star", { prefix: "a*" }, "prefix", "letters, digits"],
  ["prefix with a newline", { prefix: "a\n" }, "prefix", "letters, digits"],
  ["prefix: a number", { prefix: 5 }, "prefix", "string"],
  ["prefix: too long", { prefix: "p".repeat(65) }, "prefix", "64"],
  ["keySecret: empty", { keySecret: "" }, "keySecret", "non-empty string"],
  ["keySecret: a Buffer", { keySecret: Buffer.from("x") }, "keySecret", "non-empty string"],
  ["auth: a text", { auth: "secret" }, "auth", "must be an object"],
  ["auth: null", { auth: null }, "auth", "must be an object"],
  ["auth: a list", { auth: [testAuth] }, "auth", "not an array"],
  ["revocation: true", { auth: testAuth, revocation: true }, "revocation", "must be an object"],
  ["revocation: a text", { auth: testAuth, revocation: "deny" }, "revocation", "must be an object"],
  ["revocation: a text, without auth", { revocation: "deny" }, "revocation", "must be an object"],
  [
    "revocation.onStoreError: local",
    { auth: testAuth, revocation: { onStoreError: "local" } },
    "revocation.onStoreError",
    '"deny", "allow"',
  ],
  [
    "revocation.onStoreError: null",
    { auth: testAuth, revocation: { onStoreError: null } },
    "revocation.onStoreError",
    "object",
  ],
  [
    "graceMs missing",
    { auth: testAuth, revocation: { onStoreError: {} } },
    "revocation.onStoreError.graceMs",
    "whole number",
  ],
  [
    "graceMs: a text",
    { auth: testAuth, revocation: { onStoreError: { graceMs: "5s" } } },
    "revocation.onStoreError.graceMs",
    "whole number",
  ],
  [
    "graceMs: 0",
    { auth: testAuth, revocation: { onStoreError: { graceMs: 0 } } },
    "revocation.onStoreError.graceMs",
    "from 1 to",
  ],
  [
    "graceMs: Infinity",
    { auth: testAuth, revocation: { onStoreError: { graceMs: Infinity } } },
    "revocation.onStoreError.graceMs",
    "from 1 to",
  ],
  ["limits: an object", { limits: limit }, "limits", "a list of policies"],
  ["limits: a number", { limits: 100 }, "limits", "a list of policies"],
  ["limits: null", { limits: null }, "limits", "a list of policies"],
  ["limits: null within", { limits: [null] }, "limits[0]", "must be an object"],
  ["two limits of one name", { limits: [limit, limit] }, "limits", 'named "a"'],
  ["cache: true", { cache: true }, "cache", "must be an object"],
  ["cache: null", { cache: null }, "cache", "must be an object"],
  ["cache.ttl: null", { cache: { ttl: null } }, "cache.ttl", "duration"],
  ["headers: true", { headers: true }, "headers", '"draft-8", "draft-7", "draft-6", "legacy"'],
  ["headers: draft-9", { headers: "draft-9" }, "headers", '"draft-8"'],
  ["headers: null", { headers: null }, "headers", '"draft-8"'],
  ["ipv6PrefixLength: 31", { ipv6PrefixLength: 31 }, "ipv6PrefixLength", "from 32 to 128"],
  ["ipv6PrefixLength: 129", { ipv6PrefixLength: 129 }, "ipv6PrefixLength", "from 32 to 128"],
  ["ipv6PrefixLength: 56.5", { ipv6PrefixLength: 56.5 }, "ipv6PrefixLength", "whole number"],
  ["ipv6PrefixLength: /56", { ipv6PrefixLength: "/56" }, "ipv6PrefixLength", "whole number"],
  ["instances: 0", { instances: 0 }, "instances", "from 1 to"],
  ["instances: NaN", { instances: Number.NaN }, "instances", "from 1 to"],
  ["instances: a text", { instances: "2" }, "instances", "whole number"],
  ["property: empty", { property: "" }, "property", "non-empty string"],
  ["property: a symbol", { property: Symbol("auth") }, "property", "non-empty string"],
  ["property: cache, which holds the cache", { property: "cache" }, "property", ""],
  ["property: quotas, which holds the quotas", { property: "quotas" }, "property", ""],
  ["property: __proto__, which would change the request", { property: "__proto__" }, "property", ""],
  ["logger: console.log", { logger: hook }, "logger", "debug(fields, message)"],
  ["logger: without warn", { logger: { debug: hook } }, "logger", "warn(fields, message)"],
  ["logger: null", { logger: null }, "logger", "debug(fields, message)"],
];

describe("a wrong option fails at start-up with an error that shows the correct form", () => {
  for (const [what, options, option, hint] of [...unknownNames, ...wrongValues]) {
    it(what, () => expectOptionError(() => openGate(options), option, hint));
  }

  for (const options of [null, 5, "redis://127.0.0.1", [], true]) {
    it(`${JSON.stringify(options)} for all options`, () =>
      expectOptionError(() => createGate(options as never, (check) => ({ check })), "options", "must be an object"));
  }
});

describe("a wrong use of a gate fails when the middleware is made", () => {
  const gate = openGate({ auth: testAuth, cache: false });
  const other = openGate({ auth: testAuth });
  const uses: readonly (readonly [what: string, use: (gate: FakeGate) => unknown, option: string, hint: string])[] = [
    ["guard with an unknown option", () => gate.guard({ check: [] } as never), "guard().check", "did you mean checks?"],
    ["guard with optional as text", () => gate.guard({ optional: "yes" as never }), "optional", "true or false"],
    ["guard with an unknown onDeny", () => gate.guard({ onDeny: "next" as never }), "onDeny", '"respond", "throw"'],
    [
      "guard with checks, which says there who may be anonymous",
      () => gate.guard({ checks: [], optional: true }),
      "guard().optional",
      "authenticate()",
    ],
    [
      "guard with checks, which says there what an outage means",
      () => gate.guard({ checks: [], onStoreError: "deny" }),
      "guard().onStoreError",
      "authenticate()",
    ],
    ["guard with one check, not a list", () => gate.guard({ checks: gate.guard() as never }), "guard().checks", "list"],
    [
      "guard with another gate's check",
      () => gate.guard({ checks: [other.guard()] }),
      "guard().checks",
      "made by this gate",
    ],
    [
      "guard with a function of the application",
      () => gate.guard({ checks: [hook as never] }),
      "guard().checks",
      "made by this gate",
    ],
    ["authenticate without auth", () => openGate({}).authenticate(), "auth", "required for authenticate()"],
    [
      "authenticate with limits",
      () => gate.authenticate({ limits: [] } as never),
      "authenticate().limits",
      "is not an option",
    ],
    [
      "limit with an unknown option",
      () => gate.limit(limit as never, { on: 1 } as never),
      "limit().on",
      "is not an option",
    ],
    ["requestCache where the cache is off", () => gate.requestCache(), "cache", "is false"],
    ["requireScopes without scopes", () => gate.requireScopes(), "requireScopes()", "at least one"],
    ["requireScopes with two in one text", () => gate.requireScopes("a b"), "requireScopes()", "argument of its own"],
    [
      "requireScopes with quotes",
      () => gate.requireScopes('a"'),
      "requireScopes()",
      "without blanks, quotes and backslashes",
    ],
    [
      "requireScopes with a list",
      () => gate.requireScopes(["a"] as never),
      "requireScopes()",
      "without blanks, quotes and backslashes",
    ],
    [
      "requireScopes with an empty one",
      () => gate.requireScopes(""),
      "requireScopes()",
      "without blanks, quotes and backslashes",
    ],
    ["unless with nothing", () => gate.unless({}, gate.guard()), "unless()", "needs a path, a method or both"],
    [
      "unless with another gate's middleware",
      () => gate.unless({ path: "/" }, other.guard()),
      "unless()",
      "made by this gate",
    ],
    [
      "unless with a path without slash",
      () => gate.unless({ path: "public" }, gate.guard()),
      "unless().path",
      'start with "/"',
    ],
    [
      "unless with a number as method",
      () => gate.unless({ method: 5 as never }, gate.guard()),
      "unless().method",
      "string",
    ],
    [
      "unless with paths",
      () => gate.unless({ paths: "/" } as never, gate.guard()),
      "unless().paths",
      "did you mean path?",
    ],
  ];

  for (const [what, use, option, hint] of uses) it(what, () => expectOptionError(() => use(gate), option, hint));

  it("revoking where revocation is off", async () => {
    const off = openGate({ auth: testAuth, revocation: false });
    for (const attempt of [
      off.revocations.revoke({ jti: "a", expiresAt: 1 }),
      off.revocations.revokeSubject("a"),
      off.revocations.isRevoked({ jti: "a" }),
    ]) {
      const error = await rejectionOf(attempt);
      expectOptionError(
        () => {
          throw error;
        },
        "revocation",
        "is false",
      );
    }
  });
});

describe("a forgotten redis", () => {
  const before = process.env.NODE_ENV;
  afterEach(() => {
    if (before === undefined) delete process.env.NODE_ENV;
    else process.env.NODE_ENV = before;
  });

  it("is an error in production that shows how to allow memory stores", () => {
    process.env.NODE_ENV = "production";
    expectOptionError(() => openGate({ redis: undefined }), "redis", '"memory" for this process alone');
    expect(() => openGate({ redis: "memory" })).not.to.throw();
  });

  it("is one warning and a degraded health elsewhere", () => {
    process.env.NODE_ENV = "development";
    const warnings: unknown[] = [];
    const gate = openGate({
      redis: undefined,
      logger: { ...silentLogger, warn: (...args) => void warnings.push(args) },
    });
    expect(inspect(warnings, { depth: 5 })).to.include("per process");
    expect(warnings).to.have.length(1);
    expect(gate.health().status).to.equal("degraded");
    expect(openGate({ redis: "memory" }).health().status).to.equal("up");
  });
});
