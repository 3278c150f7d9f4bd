import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { inspect } from "node:util";
import type { Gate } from "@portcullis/core";
import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import fc from "fast-check";
import { cleanUp } from "../../support/clean-up.js";
import { admit, openGate } from "../../support/fake-gate.js";
import type { FakeGate, FakeOptions } from "../../support/fake-gate.js";
import { issuerDigest, noIssuer } from "../../support/issuer-digest.js";
import { freshPrefix, operate, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import { withoutGate } from "../../support/without-gate.js";

type OneTime = Gate<unknown, object>["oneTime"];

const stores: Readonly<Record<string, () => FakeOptions>> = {
  "in process": () => ({}),
  "on Redis": () => ({ redis: testRedisUrl(), prefix: freshPrefix(), deadline: 2000 }),
};
const hour = { ttl: "1h" } as const;

/** Tokens that no issue has made, of a right and of wrong forms. */
const wrongTokens: readonly unknown[] = [
  ...["", "x", "x".repeat(43), "x".repeat(44), "x".repeat(45), "x".repeat(10_240), "\u0000".repeat(44)],
  ...["{x}".repeat(14) + "xx", "*".repeat(44), "\ud800".repeat(44), "x\r\n".repeat(14) + "xx", "__proto__"],
  ...[undefined, null, 0, 1n, {}, [], ["x".repeat(44)], Symbol("x"), new Map(), () => "x", true],
];

for (const [where, options] of Object.entries(stores)) {
  describe(`one-time values ${where}`, () => {
    function open(more: FakeOptions = {}): FakeGate {
      return openGate({ service: "one-time", ...options(), ...more });
    }

    it("give their data and their subject once", async () => {
      const { oneTime } = open();
      const data = { email: "a@example.org", list: [1, null, { __proto__: null, x: "\u00e9" }], at: 1.5 };
      const before = Date.now() / 1000;
      const { token, expiresAt } = await oneTime.issue("confirm", data, { ...hour, subject: "alice" });
      expect(token).to.match(/^[A-Za-z0-9_-]{44}$/);
      expect(expiresAt)
        .to.be.within(before + 3595, before + 3605)
        .and.satisfy(Number.isInteger);
      const expected = { data: JSON.parse(JSON.stringify(data)) as unknown, subject: "alice" };
      expect(await oneTime.peek("confirm", token)).to.deep.equal(expected);
      expect(await oneTime.consume("confirm", token)).to.deep.equal(expected);
      for (const read of ["consume", "peek"] as const)
        expect(await oneTime[read]("confirm", token)).to.equal(undefined);
      const { token: bare } = await oneTime.issue("confirm", null, { ttl: 1000 });
      expect(await oneTime.consume("confirm", bare)).to.deep.equal({ data: null, subject: undefined });
    });

    it("are undefined in the same way for every wrong token", async () => {
      const { oneTime } = open();
      const { token } = await oneTime.issue("confirm", 1, hour);
      const changed = Array.from(
        token,
        (letter, at) => token.slice(0, at) + (letter === "A" ? "B" : "A") + token.slice(at + 1),
      );
      for (const wrong of [...wrongTokens, ...changed, `${token}=`, ` ${token}`, token.toUpperCase() + "a"])
        for (const read of ["consume", "peek"] as const)
          expect(await oneTime[read]("confirm", wrong)).to.equal(undefined);
      expect(await oneTime.consume("confirm", token)).to.deep.equal({ data: 1, subject: undefined });
    });

    it("are worth nothing for another purpose", async () => {
      const { oneTime } = open();
      const { token } = await oneTime.issue("reset", 1, { ...hour, subject: "alice" });
      for (const purpose of ["confirm", "rese", "resett", "Reset", "reset."]) {
        expect(await oneTime.consume(purpose, token)).to.equal(undefined);
        expect(await oneTime.revoke(purpose, "alice")).to.equal(0);
      }
      expect(await oneTime.consume("reset", token)).to.deep.equal({ data: 1, subject: "alice" });
    });

    it("end when their subject is revoked: as text, as auth and as principal, whatever its name", async () => {
      const gate = open({ auth: testAuth });
      const auth = await admit(gate, await signToken({ sub: "alice" }));
      for (const [subject, same] of [
        ["alice", auth],
        [auth, gate.principal({ subject: "alice" })],
        ...["a@example.org", "{x}", "a:b", "*", "__proto__", "\ud800", "\u0000\r\n", "\u00e9".repeat(512)].map(
          (name) => [name, name],
        ),
      ] as const) {
        const tokens = await issueThree(gate.oneTime, subject);
        expect(await gate.oneTime.revoke("reset", same)).to.equal(3);
        for (const token of tokens) expect(await gate.oneTime.consume("reset", token)).to.equal(undefined);
      }
    });

    it("of two subjects never end together", async () => {
      const { oneTime } = open();
      const names = ["a", "b", "a:b", "A", "{a}", "*", "a ", "\u00e9", "e\u0301", "~a", "reset", "a:reset", "iss-x.a"];
      const tokens = await Promise.all(names.map((subject) => oneTime.issue("reset", subject, { ...hour, subject })));
      for (const [at, subject] of names.entries()) {
        expect(await oneTime.revoke("reset", subject), subject).to.equal(1);
        for (const [other, { token }] of tokens.entries())
          expect((await oneTime.peek("reset", token)) === undefined, `${subject} ends ${names[other]}`).to.equal(
            other <= at,
          );
      }
    });

    it("of a subject are ten at most: the oldest makes room, and others keep theirs", async () => {
      const { oneTime } = open();
      const other = await oneTime.issue("confirm", "other purpose", { ...hour, subject: "alice" });
      const tokens: string[] = [];
      for (let at = 0; at < 13; at += 1)
        tokens.push((await oneTime.issue("reset", at, { ...hour, subject: "alice" })).token);
      const found = await Promise.all(tokens.map((token) => oneTime.consume("reset", token)));
      expect(found.map((value) => value?.data)).to.deep.equal([
        undefined,
        undefined,
        undefined,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        11,
        12,
      ]);
      expect(await oneTime.consume("confirm", other.token)).to.deep.equal({ data: "other purpose", subject: "alice" });
    });

    it("are counted by their outcomes, and no event or metric says more", async () => {
      const gate = open();
      const heard: unknown[] = [];
      const listen = (message: unknown): unknown => heard.push(message);
      subscribe("portcullis:one-time", listen);
      cleanUp(() => unsubscribe("portcullis:one-time", listen));
      const { token } = await gate.oneTime.issue("confirm", "seeded-data", { ...hour, subject: "seeded-subject" });
      await gate.oneTime.peek("confirm", token);
      await gate.oneTime.consume("confirm", token);
      await gate.oneTime.consume("confirm", token);
      await gate.oneTime.peek("confirm", "seeded-token");
      await gate.oneTime.revoke("confirm", "seeded-subject");
      const outcomes = ["issued", "peeked", "consumed", "refused", "refused", "revoked"];
      expect(heard.map(withoutGate)).to.deep.equal(outcomes.map((outcome) => ({ outcome, fault: undefined })));
      const metric = gate.metrics().find(({ name }) => name === "portcullis_one_time_total");
      expect(metric?.samples.map(({ labels, value }) => [labels.outcome, value])).to.deep.equal([
        ...[
          ["issued", 1],
          ["peeked", 1],
          ["consumed", 1],
          ["refused", 2],
          ["revoked", 1],
        ],
      ]);
      expect(inspect([heard, gate.metrics()], { depth: 9 })).not.to.match(new RegExp(`seeded|${token}`));
    });
  });
}

async function issueThree(oneTime: OneTime, subject: string | { readonly principal: string }): Promise<string[]> {
  const issued = await Promise.all([1, 2, 3].map((data) => oneTime.issue("reset", data, { ...hour, subject })));
  return issued.map(({ token }) => token);
}

describe("arguments of one-time values", () => {
  const { oneTime } = openGate({});

  async function expectRefused(run: () => Promise<unknown>, hint: RegExp): Promise<void> {
    const error = await rejectionOf(run());
    expect(error).to.satisfy((one: unknown) => one instanceof TypeError || one instanceof RangeError);
    expect(error).to.have.property("code", "option_invalid");
    expect((error as Error).message).to.match(hint);
  }

  it("name a purpose that the application has chosen", async () => {
    const hostile = [
      "",
      "a b",
      "x".repeat(65),
      "a:b",
      "{x}",
      "*",
      "\u0000",
      "a\r\n",
      "\ud800",
      "x".repeat(10_240),
      "\u00e9",
    ];
    for (const purpose of [...hostile, undefined, null, 1, {}, ["confirm"]] as string[]) {
      const calls = [
        () => oneTime.issue(purpose, 1, hour),
        () => oneTime.consume(purpose, "x".repeat(44)),
        () => oneTime.peek(purpose, "x".repeat(44)),
        () => oneTime.revoke(purpose, "alice"),
      ];
      for (const call of calls)
        await expectRefused(call, /purpose of a one-time value must be .* such as "confirm-email"/);
    }
  });

  it("name a lifetime of one second to 30 days", async () => {
    for (const ttl of [undefined, null, {}, true] as never[])
      await expectRefused(() => oneTime.issue("confirm", 1, { ttl }), /ttl must be a duration/);
    for (const ttl of [0, -1, 1.5, Number.NaN, Infinity, 999, "999ms", "31d", "1y", "1 h", "", "__proto__"] as never[])
      await expectRefused(() => oneTime.issue("confirm", 1, { ttl }), /ttl must be/);
    for (const ttl of [1000, "1s", "30d"] as const) await oneTime.issue("confirm", 1, { ttl });
    await expectRefused(() => oneTime.issue("confirm", 1, undefined as never), /must be an object/);
    await expectRefused(() => oneTime.issue("confirm", 1, { ...hour, subjet: "a" } as never), /did you mean subject/);
  });

  it("name a subject by text of at most 512 characters, or by its auth", async () => {
    for (const subject of ["", 1, null, {}, [], { principal: "" }, { principal: 1 }, true] as never[]) {
      await expectRefused(
        () => oneTime.issue("confirm", 1, { ...hour, subject }),
        /subject must be a non-empty string/,
      );
      await expectRefused(() => oneTime.revoke("confirm", subject), /subject must be a non-empty string/);
    }
    await expectRefused(() => oneTime.revoke("confirm", "x".repeat(513)), /subject must have at most 512/);
    await expectRefused(() => oneTime.revoke("confirm", undefined as never), /subject must be a non-empty string/);
    const several = openGate({ auth: { ...testAuth, issuer: ["https://a.test", "https://b.test"] } });
    expect(await rejectionOf(several.oneTime.issue("confirm", 1, { ...hour, subject: "alice" }))).to.be.instanceOf(
      TypeError,
    );
    const subject = several.principal({ issuer: "https://a.test", subject: "alice" });
    const { token } = await several.oneTime.issue("confirm", 1, { ...hour, subject });
    expect(await several.oneTime.consume("confirm", token)).to.deep.equal({ data: 1, subject });
  });

  it("come back with the subject that was passed: a text of a client is not taken for the principal of another user", async () => {
    const addresses = ["bob@example.org", "iss-x.bob@example.org", `iss-${"0".repeat(31)}.bob@example.org`];
    for (const auth of [undefined, testAuth]) {
      const gate = openGate({ auth });
      for (const subject of addresses) {
        const { token } = await gate.oneTime.issue("confirm", 1, { ...hour, subject });
        expect(await gate.oneTime.consume("confirm", token)).to.deep.equal({ data: 1, subject });
      }
      for (const digest of [noIssuer, issuerDigest(), "a".repeat(32)])
        expect(
          await rejectionOf(gate.oneTime.issue("confirm", 1, { ...hour, subject: `iss-${digest}.bob@example.org` })),
        ).to.be.instanceOf(TypeError);
    }
  });

  it("carry JSON of at most 16 KiB", async () => {
    for (const data of [undefined, NaN, new Map(), 1n, () => 1, Buffer.from("x")])
      await expectRefused(() => oneTime.issue("confirm", data, hour), /data must be a value that JSON can express/);
    await expectRefused(() => oneTime.issue("confirm", "x".repeat(16_383), hour), /at most 16384 bytes/);
    await oneTime.issue("confirm", "x".repeat(16_382), hour);
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (data) => {
        const { token } = await oneTime.issue("confirm", data, hour);
        expect(await oneTime.consume("confirm", token)).to.deep.equal({
          data: JSON.parse(JSON.stringify(data)) as unknown,
          subject: undefined,
        });
      }),
      { numRuns: 50 },
    );
  });
});

describe("the token of a one-time value", () => {
  it("is another one each time, and Redis has neither it nor the name of an unusual subject", async () => {
    const prefix = freshPrefix();
    const gate = openGate({ redis: testRedisUrl(), prefix, service: "one-time", deadline: 2000 });
    const operator = operate(testRedisUrl());
    const subject = "alice@example.org";
    const tokens = await Promise.all(
      Array.from({ length: 10 }, async () => (await gate.oneTime.issue("confirm", 1, { ...hour, subject })).token),
    );
    expect(new Set(tokens)).to.have.property("size", 10);
    const keys = await operator.keys(`${prefix}*one-time*`);
    expect(keys).to.have.length(11);
    for (const token of tokens) {
      expect(keys.filter((key) => key.includes(token.slice(1)))).to.deep.equal([]);
      // The keys of the values of a subject share a hash slot.
      expect(token.slice(0, 1)).to.equal(tokens[0]?.slice(0, 1));
    }
    expect(keys.filter((key) => key.includes("alice"))).to.deep.equal([]);
    for (const key of keys) expect(await operator.pttl(key)).to.be.within(1, 3_600_000);
    expect(new Set(keys.map((key) => /\{\d+\}/.exec(key)?.[0]))).to.have.property("size", 1);
  });
});
