import { testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { cleanUp } from "../support/clean-up.js";
import { openGate } from "../support/fake-gate.js";
import type { FakeGate } from "../support/fake-gate.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { rejectionOf } from "../support/rejection.js";

const tokens = { signingKey: testSecret, issuer: testIssuer, audience: "shop" } as const;

/** All users with live sessions, and their numbers. */
async function listAll(gate: FakeGate, limit: number): Promise<[string, number][]> {
  const all: [string, number][] = [];
  let cursor: string | undefined;
  for (let parts = 0; parts < 100; parts += 1) {
    const { items, next } = await gate.sessions.subjects({ limit, cursor });
    all.push(...items.map(({ principal, sessions }): [string, number] => [principal, sessions]));
    if (next === undefined) return all;
    cursor = next;
  }
  throw new Error("the list does not end");
}

for (const [where, redis] of [
  ["in process", () => "memory"],
  ["on Redis", testRedisUrl],
] as const) {
  describe(`live sessions, ${where}`, () => {
    it("are counted, and listed by user in parts, from sign-in to the end of the last session", async () => {
      const gate = openGate({ redis: redis(), prefix: freshPrefix(), deadline: 2000, tokens });
      const users = ["alice", "bob@example.com", "claim-0123456789abcdef0123456789abcdef", "\u{1f600} x"];
      for (const [index, subject] of users.entries())
        for (let session = 0; session <= index; session += 1) await gate.tokens.issue({ subject });
      expect(await gate.sessions.count()).to.equal(10);
      const wanted = users.map((subject, index): [string, number] => [
        gate.principal({ subject, issuer: testIssuer }),
        index + 1,
      ]);
      for (const limit of [1, 3, 100]) expect(await listAll(gate, limit)).to.have.deep.members(wanted);
      const [last] = wanted.slice(-1);
      expect(await gate.sessions.list(last![0])).to.have.length(4);
      await gate.sessions.revokeAll(last![0]);
      expect(await gate.sessions.count()).to.equal(6);
      expect(await listAll(gate, 2)).to.have.deep.members(wanted.slice(0, 3));
    });

    it("refuse a cursor that no list has given, and options that do nothing", async () => {
      const gate = openGate({ redis: redis(), prefix: freshPrefix(), deadline: 2000, tokens });
      for (const wrong of [
        { cursor: "x" },
        { cursor: "W10" },
        { cursor: 1 },
        { limit: 0 },
        { limit: 1001 },
        { offset: 1 },
      ])
        expect(await rejectionOf(gate.sessions.subjects(wrong as never)), JSON.stringify(wrong)).to.be.instanceOf(
          Error,
        );
      const begin = Buffer.from(JSON.stringify(["-1", "x", "1e99", ""])).toString("base64url");
      expect(await gate.sessions.subjects({ cursor: begin })).to.deep.equal({ items: [], next: undefined });
    });
  });
}

describe("live sessions on Redis", () => {
  it("are asked for in one round trip, or two, without KEYS or SCAN, and every key of them ends", async () => {
    const prefix = freshPrefix();
    const client = new Redis(testRedisUrl());
    cleanUp(() => client.disconnect());
    const calls: string[] = [];
    const spied = new Proxy(client, {
      get(target, name) {
        const member: unknown = Reflect.get(target, name, target);
        if (name !== "call" || typeof member !== "function")
          return typeof member === "function" ? (member.bind(target) as unknown) : member;
        return (...words: unknown[]) => {
          calls.push(String(words[0]));
          return Reflect.apply(member, target, words) as unknown;
        };
      },
    });
    const gate = openGate({ redis: spied, prefix, deadline: 2000, tokens });
    for (const subject of ["alice", "bob", "carol"]) await gate.tokens.issue({ subject });
    calls.length = 0;
    expect(await gate.sessions.count()).to.equal(3);
    const isRead = (name: string): boolean => name === "EVALSHA";
    expect(calls.filter(isRead)).to.have.length(1);
    calls.length = 0;
    expect((await gate.sessions.subjects()).items).to.have.length(3);
    expect(calls.filter(isRead)).to.have.length(4);
    const keys = await client.keys(`${prefix}*:live-sessions:*`);
    expect(keys.length).to.be.within(1, 3);
    for (const key of keys) expect(await client.pttl(key)).to.be.greaterThan(0);
    // A value of another program under the key of the list ends no sign-in, and no session.
    await client.set(keys[0] ?? "", "poison", "PX", 60_000);
    for (const subject of ["alice", "bob", "carol"]) {
      await gate.tokens.refresh((await gate.tokens.issue({ subject })).refreshToken);
      expect(await gate.sessions.revokeAll(subject)).to.equal(2);
    }
    expect(await rejectionOf(gate.sessions.count())).to.include({ name: "StoreFault" });
  });
});
