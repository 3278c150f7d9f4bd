import { testIssuer, testSecret } from "@portcullis/testkit";
import type { CookieOptions, TokensOptions } from "@portcullis/core";
import { expect } from "chai";
import { decodeJwt } from "jose";
import { openGate } from "../support/fake-gate.js";
import type { FakeGate } from "../support/fake-gate.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { rejectionOf } from "../support/rejection.js";

const day = 86_400;

function open(options: Partial<TokensOptions> = {}, redis = "memory"): FakeGate {
  const tokens: TokensOptions = { signingKey: testSecret, issuer: testIssuer, audience: "shop", ...options };
  return openGate({ redis, prefix: freshPrefix(), deadline: 1000, auth: { audience: "shop" }, tokens });
}

describe("the lifetime of a session", () => {
  for (const store of ["in process", "in Redis"] as const) {
    const redis = (): string => (store === "in process" ? "memory" : testRedisUrl());

    it(`is what the sign-in says, also after refreshes, and others keep theirs (${store})`, async () => {
      const gate = open({}, redis());
      const remembered = await gate.tokens.issue({ subject: "alice", idleLifetime: "30d", sessionLifetime: "365d" });
      const short = await gate.tokens.issue({ subject: "alice", idleLifetime: "30m", sessionLifetime: "8h" });
      const plain = await gate.tokens.issue({ subject: "alice" });
      for (const [first, seconds] of [
        [remembered, 30 * day],
        [short, 1800],
        [plain, 14 * day],
      ] as const) {
        expect(first.refreshExpiresIn).to.be.within(seconds - 2, seconds);
        const second = await gate.tokens.refresh(first.refreshToken);
        const third = await gate.tokens.refresh(second.refreshToken);
        for (const { refreshToken, refreshExpiresIn } of [second, third]) {
          expect(refreshExpiresIn).to.be.within(seconds - 2, seconds);
          const { exp = 0, iat = 0 } = decodeJwt(refreshToken);
          expect(exp - iat).to.be.within(seconds - 2, seconds + 2);
        }
      }
    });

    it(`is persistent or not for as long as it lasts (${store})`, async () => {
      const gate = open({}, redis());
      const maxAges = (cookies: readonly string[]): boolean[] => cookies.map((one) => one.includes("Max-Age="));
      for (const persistent of [true, false]) {
        const first = await gate.tokens.issue({ subject: "alice", persistent });
        const second = await gate.tokens.refresh(first.refreshToken);
        const again = await gate.tokens.refresh(first.refreshToken);
        for (const tokens of [first, second, again]) {
          expect(tokens.persistent).to.equal(persistent);
          expect(maxAges(gate.tokens.cookies.write(tokens))).to.deep.equal([persistent, persistent]);
        }
      }
      expect(maxAges(gate.tokens.cookies.clear())).to.deep.equal([true, true]);
    });
  }

  it("is refused with an error that says what is right, before a session begins", async () => {
    const gate = open();
    const wrong: readonly [object, RegExp][] = [
      [{ idleLifetime: "31d" }, /idleLifetime must be at most auth\.maxLifetime/],
      [{ idleLifetime: "5m" }, /idleLifetime must be at least tokens\.accessLifetime/],
      [{ sessionLifetime: "5m" }, /sessionLifetime must be at least tokens\.accessLifetime/],
      [{ idleLifetime: "2d", sessionLifetime: "1d" }, /sessionLifetime must be at least the idle lifetime/],
      [{ idleLifetime: "1500ms" }, /whole seconds/],
      [{ idleLifetime: "soon" }, /must be a duration/],
      [{ persistent: "no" }, /persistent must be/],
      [{ remember: true }, /issue\(\)/],
    ];
    for (const [more, message] of wrong) {
      const error = await rejectionOf(gate.tokens.issue({ subject: "alice", ...more }));
      expect(String(error), JSON.stringify(more)).to.match(message);
      expect(error).to.be.instanceOf(Error).and.not.have.property("status");
    }
    expect(await gate.sessions.list("alice")).to.be.empty;
    // A session alone that is shorter than the usual idle life needs no second number.
    expect((await gate.tokens.issue({ subject: "alice", sessionLifetime: "8h" })).refreshExpiresIn).to.equal(8 * 3600);
  });
});

describe("cookies for several hosts and for frames", () => {
  it("name their domain and their partition, also when they are deleted", async () => {
    const gate = open({ cookies: { domain: "example.com", partitioned: true, sameSite: "none" } });
    const written = gate.tokens.cookies.write(await gate.tokens.issue({ subject: "alice" }));
    const attributes = /Domain=example\.com; Max-Age=\d+; HttpOnly; Secure; SameSite=None; Partitioned$/;
    expect(written[0])
      .to.match(/^__Secure-access=[\w.-]+; Path=\/; Domain=/)
      .and.match(attributes);
    expect(written[1])
      .to.match(/^__Secure-refresh=[\w.-]+; Path=\/auth; Domain=/)
      .and.match(attributes);
    const names = ["__Secure-access=; Path=/; Domain=", "__Secure-refresh=; Path=/auth; Domain="];
    for (const [index, cookie] of gate.tokens.cookies.clear().entries())
      expect(cookie).to.match(attributes).and.include(names[index]).and.include("Max-Age=0");
  });

  const wrong: readonly [string, CookieOptions, RegExp][] = [
    [
      "a domain and the prefix __Host-",
      { domain: "example.com", access: "__Host-access" },
      /forbids a domain; use __Secure-/,
    ],
    ["the same in small letters", { domain: "example.com", access: "__host-access" }, /forbids a domain/],
    ["a leading dot", { domain: ".example.com" }, /without a leading dot/],
    ["an address", { domain: "192.0.2.1" }, /must be a domain/],
    ["one label", { domain: "localhost" }, /must be a domain/],
    ["a URL", { domain: "https://example.com" }, /must be a domain/],
    ["a further attribute", { domain: "example.com; Path=/" }, /must be a domain/],
    ["a partition without secure", { partitioned: true, secure: false }, /partitioned needs secure/],
    [
      "a domain without secure and a prefix",
      { domain: "example.com", secure: false, access: "__Secure-a" },
      /without secure/,
    ],
  ];
  for (const [what, cookies, message] of wrong)
    it(`are refused at the start with ${what}`, () => {
      expect(() => open({ cookies })).to.throw(TypeError, message);
    });

  it("keep the prefix __Host- and the names without secure where there is no domain", async () => {
    for (const [cookies, name] of [
      [{ partitioned: true }, "__Host-access="],
      [{ secure: false, domain: "example.com" }, "access="],
    ] as const) {
      const gate = open({ cookies });
      const [access] = gate.tokens.cookies.write(await gate.tokens.issue({ subject: "alice" }));
      expect(access?.startsWith(name)).to.equal(true);
    }
  });
});
