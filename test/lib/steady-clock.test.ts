import { expect } from "chai";
import { Degradation } from "../../packages/core/src/guard/degradation.js";
import { createChallenges } from "../../packages/core/src/guard/challenges.js";
import { Telemetry } from "../../packages/core/src/telemetry/telemetry.js";
import { steadyNow } from "../../packages/core/src/lib/steady-clock.js";
import { MemoryLoginStore } from "../../packages/core/src/store/memory/logins.js";
import { MemoryDecisionStore } from "../../packages/core/src/store/memory/decisions.js";
import type { Consumption, CounterState } from "../../packages/core/src/store/ports/decisions.js";
import { ruledCharge } from "../limits/support/clocked-stores.js";

const hour = 3_600_000;
const realNow = Date.now;
const RealDate = Date;

describe("a count of this process", () => {
  afterEach(() => {
    globalThis.Date = RealDate;
    Date.now = realNow;
  });

  const jump = (ms: number): void => {
    Date.now = () => realNow() + ms;
  };
  const rule = { algorithm: "fixed-window", shadow: false, block: undefined } as const;
  const charges: Readonly<Record<string, Consumption>> = {
    "a fixed window": ruledCharge({ key: "w", limit: 1 }),
    "a sliding window": ruledCharge({ key: "s", limit: 1, mode: { ...rule, algorithm: "sliding-window" } }),
    "a token bucket": ruledCharge({ key: "b", limit: 1, burst: 1, mode: { ...rule, algorithm: "token-bucket" } }),
    "a slot": ruledCharge({ key: "c", limit: 1, slot: "one", mode: { ...rule, algorithm: "concurrency" } }),
  };

  for (const [name, charge] of Object.entries(charges)) {
    it(`ends neither sooner nor later when the wall clock is set (${name})`, () => {
      const store = new MemoryDecisionStore();
      const consumed = (): number =>
        (store.ask({ beforeToken: [charge], token: undefined, afterToken: [] }).beforeToken[0] as CounterState)
          .consumed;
      expect(consumed()).to.equal(1);
      for (const ms of [2 * hour, -2 * hour, 0]) {
        jump(ms);
        const [tally] = store.corrections.peek([charge]);
        expect(tally?.consumed, `after ${ms} ms`).to.equal(2);
        expect(tally?.resetMs, `after ${ms} ms`).to.be.within(0, 63_000);
      }
    });
  }

  it("keeps blocks and used proofs for their time", () => {
    const { corrections: quotas } = new MemoryDecisionStore();
    quotas.block("eve", hour);
    for (const ms of [2 * hour, -2 * hour, 0]) {
      jump(ms);
      expect(quotas.blockedMs("eve")).to.be.within(hour - 60_000, hour);
    }
    const store = new MemoryDecisionStore();
    const repeated = (): unknown =>
      store.ask({ beforeToken: [], token: undefined, replayCheck: { key: "p", ttlMs: 60_000 }, afterToken: [] })
        .replayed;
    expect(repeated()).to.equal(false);
    jump(2 * hour);
    expect(repeated()).to.equal(true);
  });

  it("keeps attempts to sign in for their time", async () => {
    const store = new MemoryLoginStore();
    const question = {
      address: { key: "address", limit: 30, windowMs: 60_000 },
      accountAndIp: { key: "pair", limit: 1, windowMs: 60_000, spelling: "s" },
      resetKey: "pardon",
      account: undefined,
    };
    expect((await store.count(question)).refusedBy).to.equal(undefined);
    for (const ms of [2 * hour, -2 * hour, 0]) {
      jump(ms);
      const answer = await store.count(question);
      expect(answer.refusedBy).to.equal("pair");
      expect(answer.retryMs).to.be.within(1, 60_000);
    }
  });

  it("gives a grace period its time, neither more nor less", () => {
    const degradation = new Degradation({
      ...{ revocations: undefined, revocationPolicy: { graceMs: 60_000 }, instances: 1, now: Date.now },
      ...{ challenges: createChallenges({ realm: undefined, dpop: undefined }), telemetry: new Telemetry() },
    });
    degradation.noteAnswer();
    for (const ms of [2 * hour, -2 * hour, 0]) {
      jump(ms);
      expect(degradation.refusesUnknown()).to.equal(false);
    }
    jump(-2 * hour);
    expect(degradation.refusesUnknown({ graceMs: -1 }), "a grace period that is over").to.equal(true);
  });

  it("goes on with fake timers, which replace Date, so that an application's tests can move limits", () => {
    const fakeNow = steadyNow() + 90_000;
    class FakeDate extends RealDate {
      static override now(): number {
        return fakeNow;
      }
    }
    const { corrections: quotas } = new MemoryDecisionStore();
    quotas.block("eve", 60_000);
    globalThis.Date = FakeDate as DateConstructor;
    expect(quotas.blockedMs("eve")).to.equal(0);
  });
});
