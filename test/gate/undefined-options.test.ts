import { inspect } from "node:util";
import { testAudience, testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import fc from "fast-check";
import { resolveOptions } from "../../packages/core/src/options.js";
import type { PortcullisOptions } from "../../packages/core/src/index.js";
import { silentLogger } from "../support/logger.js";
import { isSoak } from "../support/soak.js";
import { openGate } from "../support/fake-gate.js";
import { rsa } from "../auth/support/mint.js";

type Path = readonly (string | number)[];

/** Every option given, in options that are right. Where one of several can be given, another base has the other. */
const full = {
  redis: "memory",
  prefix: "p:",
  keySecret: "key-secret",
  auth: {
    ...testAuth,
    issuer: "http://127.0.0.1:9",
    sharedIssuer: "http://127.0.0.1:9",
    clockTolerance: "7s",
    maxLifetime: "2d",
    requiredClaims: ["tenant"],
    requireJti: true,
    tokenFrom: { cookie: "session", origins: ["https://app.test"] },
    optional: true,
    realm: "api",
  },
  tokens: {
    signingKey: testSecret,
    algorithm: "HS256",
    issuer: "http://127.0.0.1:9",
    audience: [testAudience, "another"],
    accessLifetime: "7m",
    idleLifetime: "1d",
    sessionLifetime: "7d",
    maxSessions: 7,
    onLimit: "refuse",
    overlap: "7s",
    lostAnswer: "5m",
    refreshSecret: testSecret,
    cookies: {
      access: "a",
      refresh: "r",
      refreshPath: "/r",
      sameSite: "lax",
      secure: false,
      domain: "example.com",
      partitioned: false,
    },
  },
  revocation: { onStoreError: { graceMs: 500 } },
  limits: [{ name: "a", per: "ip", limit: 7, window: "7m", cost: 2, skip: () => false, onStoreError: "deny" }],
  cache: { ttl: "7m" },
  headers: "draft-6",
  deadline: 70,
  ipv6PrefixLength: 64,
  instances: 3,
  property: "gate",
  logger: silentLogger,
} as const;

function withAuth(members: object): object {
  const { secret, ...rest } = full.auth;
  expect(secret).to.be.a("string");
  return { ...full, auth: { ...rest, ...members } };
}

const bases: Readonly<Record<string, object>> = {
  secret: full,
  publicKey: withAuth({ publicKey: rsa.publicKey, algorithms: ["RS256"] }),
  jwks: withAuth({ jwks: { keys: [rsa.publicKey.export({ format: "jwk" })] }, algorithms: ["RS256"] }),
  jwksUri: withAuth({ jwksUri: "http://127.0.0.1:9/", algorithms: ["RS256"] }),
};

/** Where options objects are, and how to make one with an unknown member, whose error lists all that are known. */
const objects: readonly Path[] = [
  [],
  ["auth"],
  ["auth", "tokenFrom"],
  ["tokens"],
  ["tokens", "cookies"],
  ["revocation"],
  ["revocation", "onStoreError"],
  ["limits", 0],
  ["cache"],
];

/** Every option there is, by the message that lists them: a new option is tested without a word here. */
const paths: readonly Path[] = objects.flatMap((path) => {
  const options = changed(full, [...path, "zzzzzzzzzz"], (parent, name) => (parent[name] = 1));
  let message = "";
  try {
    resolveOptions(options as PortcullisOptions);
  } catch (error) {
    message = String(error);
  }
  const names = /there are (.+) \(see /.exec(message)?.[1]?.split(", ") ?? [];
  return names.map((name) => [...path, name]);
});

/** Without the logger: the default one warns through the process, which other tests watch. */
const quiet = paths.filter((path) => path[0] !== "logger");

type Parent = Record<string | number, unknown>;

/** A copy of the options, with something done to the member at a path; the same if the path is not there. */
function changed(options: object, path: Path, change: (parent: Parent, name: string | number) => void): object {
  const copy = (Array.isArray(options) ? [...(options as unknown[])] : { ...options }) as Parent;
  const [name = "", ...rest] = path;
  if (rest.length === 0) change(copy, name);
  else if (typeof copy[name] === "object" && copy[name] !== null) copy[name] = changed(copy[name], rest, change);
  return copy;
}

function drop(parent: Parent, name: string | number): void {
  Reflect.deleteProperty(parent, name);
}

/** What the options come to, or the error: enough to compare. */
function outcome(options: object): string {
  try {
    const resolved = resolveOptions(options as PortcullisOptions);
    return inspect(resolved, { depth: 10, sorted: true, breakLength: Infinity }).replaceAll(
      /_idle\w+: [^,}]+|asyncId: \d+/g,
      "",
    );
  } catch (error) {
    return String(error);
  }
}

describe("an option given as undefined equals one left out", () => {
  it("of which there are these", () => {
    const names = paths.map((path) => path.join("."));
    expect(names).to.include.members(["redis", "auth.secret", "auth.tokenFrom.cookie", "auth.tokenFrom.origins"]);
    expect(names).to.include.members(["revocation.onStoreError.graceMs", "limits.0.skip", "cache.ttl"]);
    expect(names).to.have.length.above(38);
  });

  for (const [base, options] of Object.entries(bases)) {
    for (const path of paths) {
      it(`${path.join(".")}, with ${base}`, () => {
        const absent = changed(options, path, drop);
        const given = changed(options, path, (parent, name) => (parent[name] = undefined));
        expect(outcome(given)).to.equal(outcome(absent));
      });
    }
  }

  it("in any combination", () => {
    fc.assert(
      fc.property(fc.constantFrom(...Object.values(bases)), fc.subarray(quiet), (options, some) => {
        const absent = some.reduce((now, path) => changed(now, path, drop), options);
        const given = some.reduce(
          (now, path) => changed(now, path, (parent, name) => name in parent && (parent[name] = undefined)),
          options,
        );
        expect(outcome(given)).to.equal(outcome(absent));
      }),
      { numRuns: isSoak ? 300 : 100 },
    );
  });

  it("in the options of a gate's methods", () => {
    const gate = openGate({ auth: testAuth });
    const policy = {
      name: "a",
      per: "ip",
      limit: 1,
      window: "1m",
      cost: undefined,
      skip: undefined,
      onStoreError: undefined,
    } as const;
    gate.guard(undefined);
    gate.guard({ optional: undefined, checks: undefined, onDeny: undefined });
    gate.authenticate(undefined);
    gate.authenticate({ optional: undefined, onDeny: undefined });
    gate.limit(policy, undefined);
    gate.limit(policy, { onDeny: undefined });
    gate.unless({ path: "/", method: undefined }, gate.guard());
    gate.unless({ path: undefined, method: "GET" }, gate.guard());
    expect(() => gate.unless({ path: undefined, method: undefined }, gate.guard())).to.throw(TypeError, "unless()");
  });
});

describe("no message of an option error holds a value of the options", () => {
  const canaries = [
    "hunter2-very-secret",
    `hunter2-${"s".repeat(80)}`,
    "-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----",
    '{"kty":"RSA","n":"hunter2"}',
    "redis://:hunter2@127.0.0.1 x",
    "https://user:hunter2@id.test",
  ];
  const values: readonly unknown[] = [
    ...canaries,
    ...canaries.map((text) => Buffer.from(text)),
    ...canaries.map((text) => [text]),
    ...canaries.map((text) => ({ toString: () => text, [Symbol.toPrimitive]: () => text })),
    { kty: "RSA", n: "hunter2", d: "hunter2" },
    { keys: [{ kty: "oct", k: "hunter2" }] },
    [testSecret, "hunter2"],
    Object.assign(() => "hunter2", { password: "hunter2" }),
    Symbol("hunter2"),
  ];

  for (const [base, options] of Object.entries(bases)) {
    if (base === "jwksUri") continue;
    // An issuer is no secret, and the message about sharedIssuer lists them.
    const alone = changed(options, ["auth", "sharedIssuer"], drop);
    it(`with ${base}, wherever a secret is put by mistake`, () => {
      let errors = 0;
      for (const path of paths) {
        for (const value of values) {
          try {
            const given = changed(alone, path, (parent, name) => (parent[name] = value)) as PortcullisOptions;
            resolveOptions(given);
          } catch (error) {
            errors += 1;
            expect(inspect(error, { depth: 5, showHidden: true }), path.join(".")).not.to.match(
              /hunter2|test-secret-0/,
            );
            expect(error, path.join(".")).to.have.property("code", "option_invalid");
          }
        }
      }
      expect(errors).to.be.above(500);
    });
  }

  it("nor does a gate shown in a log", () => {
    const gate = openGate({
      auth: { secret: `hunter2-${"s".repeat(80)}`, algorithms: ["HS256"], audience: testAudience, issuer: testIssuer },
      keySecret: "hunter2-key-secret",
    });
    expect(inspect(gate, { depth: 10 })).not.to.include("hunter2");
    expect(JSON.stringify(gate)).not.to.include("hunter2");
  });
});
