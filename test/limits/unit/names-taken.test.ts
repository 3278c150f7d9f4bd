import { expect } from "chai";
import type { LimitOptions } from "@portcullis/core";
import { signToken, testAuth } from "@portcullis/testkit";
import type { FakeGate, FakeOptions } from "../../support/fake-gate.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";

const limit: LimitOptions = { name: "a", per: "ip", limit: 10, window: "1m" };

function open(options: Partial<FakeOptions> = {}): { gate: FakeGate; said: string[] } {
  const said: string[] = [];
  const logger = { debug: () => undefined, warn: (_fields: object, message: string) => void said.push(message) };
  return { gate: openGate({ ...options, logger }), said };
}

function named(said: readonly string[]): string[] {
  return said.filter((message) => message.includes("two limits are named"));
}

const others: Readonly<Record<string, Partial<LimitOptions>>> = {
  algorithm: { algorithm: "sliding-window" },
  window: { window: "1h" },
  per: { per: "user" },
};

describe("two limits of one name", () => {
  for (const [difference, changed] of Object.entries(others)) {
    it(`are a warning once if they differ in ${difference}`, () => {
      const { gate, said } = open();
      gate.limit(limit);
      for (let round = 0; round < 3; round += 1) gate.limit({ ...limit, ...changed });
      expect(named(said)).to.have.length(1);
      expect(named(said)[0]).to.include('"a"').and.include(`differ in ${difference}`);
    });

    it(`are a warning at the second of two gates on one Redis if they differ in ${difference}`, async () => {
      const prefix = freshPrefix();
      const [one, two] = [open({ redis: testRedisUrl(), prefix }), open({ redis: testRedisUrl(), prefix })];
      one.gate.limit(limit);
      two.gate.limit({ ...limit, ...changed });
      expect([named(one.said).length, named(two.said).length]).to.deep.equal([0, 1]);
      await one.gate.close();
      const three = open({ redis: testRedisUrl(), prefix });
      three.gate.limit({ ...limit, ...changed });
      expect(named(three.said)).to.have.length(0);
    });
  }

  it("are none by a claim that is named as text and as a list of one name, and a warning by a name with dots", () => {
    const { gate, said } = open({ auth: testAuth });
    for (const claim of ["tenant", ["tenant"]]) gate.limit({ ...limit, per: { claim } });
    expect(named(said)).to.have.length(0);
    // The text is a path as well; the list is not.
    for (const claim of ["a.b", ["a.b"]]) gate.limit({ ...limit, name: "dots", per: { claim } });
    expect(named(said)).to.have.length(1);
  });

  it("by a claim as text and as a list of one name are one counter", async () => {
    const { gate } = open({ auth: testAuth, limits: [] });
    const auth = await signToken({ tenant: "acme" });
    const one = { ...limit, limit: 1 };
    const statuses: unknown[] = [];
    for (const claim of ["tenant", ["tenant"]]) {
      const exchange = fakeExchange({ headers: { authorization: `Bearer ${auth}` } });
      await gate.guard().check(exchange);
      statuses.push((await gate.limit({ ...one, per: { claim } }).check(exchange)).allowed);
    }
    expect(statuses).to.deep.equal([true, false]);
  });

  it("are none if only their maximum, cost or condition differ, or if they are on other stores", () => {
    const { gate, said } = open();
    const key = (): string => "k";
    for (const more of [{}, { limit: 5 }, { cost: 2 }, { when: { path: "/a" } }]) gate.limit({ ...limit, ...more });
    for (let round = 0; round < 2; round += 1) gate.limit({ ...limit, name: "b", per: () => key() });
    const other = open();
    other.gate.limit({ ...limit, window: "1h" });
    const [one, two] = [
      open({ redis: testRedisUrl(), prefix: freshPrefix() }),
      open({ redis: testRedisUrl(), prefix: freshPrefix() }),
    ];
    one.gate.limit(limit);
    two.gate.limit({ ...limit, window: "1h" });
    expect([said, other.said, one.said, two.said].flatMap(named)).to.deep.equal([]);
  });
});
