import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { expect } from "chai";
import fc from "fast-check";
import { Breaker } from "../../packages/core/src/lib/breaker.js";
import { events } from "../../packages/core/src/telemetry/events.js";
import { withoutGate } from "../support/without-gate.js";

/** A breaker on a clock that stands until it is moved; probes are allowed 1 s after it opened. */
function openBreaker(random = 0.5) {
  const clock = { ms: 1000 };
  const breaker = new Breaker({ name: "test", now: () => clock.ms, random: () => random });
  function call(outcome: "succeed" | "fail" | "abandon"): boolean {
    if (!breaker.enter()) return false;
    breaker[outcome]();
    return true;
  }
  function failTimes(times: number): void {
    for (let round = 0; round < times; round += 1) call("fail");
  }
  return { breaker, clock, call, failTimes };
}

describe("a breaker", () => {
  it("lets everything through until the 5th failure in a row", () => {
    const { breaker, call } = openBreaker();
    for (let round = 0; round < 4; round += 1) expect(call("fail")).to.be.true;
    expect(breaker.state).to.equal("closed");
    expect(call("fail")).to.be.true;
    expect(breaker.state).to.equal("open");
    expect(call("succeed")).to.be.false;
  });

  it("starts the count of failures anew at each success", () => {
    const { breaker, call, failTimes } = openBreaker();
    failTimes(4);
    call("succeed");
    failTimes(4);
    expect(breaker.state).to.equal("closed");
  });

  it("does not count a call that never went out, neither way", () => {
    const { breaker, call, failTimes } = openBreaker();
    failTimes(4);
    for (let round = 0; round < 100; round += 1) call("abandon");
    expect(breaker.state).to.equal("closed");
    call("fail");
    expect(breaker.state).to.equal("open");
  });

  it("lets a probe through at once after a sign of recovery, one at a time, and none while an operator holds it open", () => {
    const { breaker, call, failTimes } = openBreaker();
    failTimes(5);
    breaker.allowProbe();
    expect([breaker.enter(), breaker.enter()]).to.deep.equal([true, false]);
    breaker.fail();
    expect([breaker.state, call("succeed")]).to.deep.equal(["open", false]);
    breaker.allowProbe();
    expect(call("succeed")).to.be.true;
    expect(breaker.state).to.equal("closed");
    breaker.open();
    breaker.allowProbe();
    expect(call("succeed")).to.be.false;
  });

  it("opens when half of 20 calls within 10 s failed, though never five in a row", () => {
    const { breaker, clock, call } = openBreaker();
    let calls = 0;
    for (; breaker.state === "closed" && calls < 100; calls += 1) {
      call(calls % 2 === 0 ? "succeed" : "fail");
      clock.ms += 10;
    }
    expect(calls).to.equal(20);
  });

  it("stays closed with less than half of many failing", () => {
    const { breaker, clock, call } = openBreaker();
    for (let index = 0; index < 10_000; index += 1) {
      call(index % 5 < 2 ? "fail" : "succeed");
      clock.ms += 3;
    }
    expect(breaker.state).to.equal("closed");
  });

  it("stays closed with rare failures, however they add up over hours", () => {
    const { breaker, clock, call } = openBreaker();
    for (let index = 0; index < 1000; index += 1) {
      call(index % 2 === 0 ? "fail" : "succeed");
      clock.ms += 5000;
    }
    expect(breaker.state).to.equal("closed");
  });

  for (const [random, ms] of [
    [0, 750],
    [0.5, 1000],
    [1, 1250],
  ] as const) {
    it(`is open for ${ms} ms where the dice say ${random}`, () => {
      const { breaker, clock, failTimes } = openBreaker(random);
      failTimes(5);
      clock.ms += ms - 1;
      expect(breaker.enter()).to.be.false;
      clock.ms += 1;
      expect(breaker.enter()).to.be.true;
      expect(breaker.state).to.equal("half-open");
    });
  }

  it("is open for the same time again after a failed probe: the time does not grow", () => {
    const { breaker, clock, call, failTimes } = openBreaker();
    failTimes(5);
    for (let round = 0; round < 50; round += 1) {
      clock.ms += 999;
      expect(breaker.enter()).to.be.false;
      clock.ms += 1;
      expect(call("fail")).to.be.true;
      expect(breaker.state).to.equal("open");
    }
  });

  it("recovers within 2.5 s of the other side, whenever that was", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 5000 }), fc.double({ min: 0, max: 1, noNaN: true }), (recovery, random) => {
        const { breaker, clock, call, failTimes } = openBreaker(random);
        failTimes(5);
        const start = clock.ms;
        while (breaker.state !== "closed" && clock.ms < start + 20_000) {
          clock.ms += 10;
          call(clock.ms - start >= recovery ? "succeed" : "fail");
        }
        expect(clock.ms - start - recovery).to.be.at.most(2500);
      }),
    );
  });

  it("lets one of 100 through as a probe, and the others wait for nothing", () => {
    const { breaker, clock, failTimes } = openBreaker();
    failTimes(5);
    clock.ms += 1000;
    const entered = Array.from({ length: 100 }, () => breaker.enter());
    expect(entered.filter(Boolean)).to.have.length(1);
    clock.ms += 60_000;
    expect(breaker.enter()).to.be.false;
    breaker.succeed();
    expect(breaker.state).to.equal("closed");
    expect(Array.from({ length: 100 }, () => breaker.enter()).every(Boolean)).to.be.true;
  });

  it("lets another probe through at once if one never went out", () => {
    const { breaker, clock, call, failTimes } = openBreaker();
    failTimes(5);
    clock.ms += 1000;
    expect(call("abandon")).to.be.true;
    expect(breaker.state).to.equal("half-open");
    expect(call("succeed")).to.be.true;
    expect(breaker.state).to.equal("closed");
  });

  it("forgets earlier failures when it closes: it takes five failures in a row again", () => {
    const { breaker, clock, call, failTimes } = openBreaker();
    for (let index = 0; index < 19; index += 1) call(index % 2 === 0 ? "succeed" : "fail");
    failTimes(5);
    clock.ms += 1000;
    call("succeed");
    failTimes(4);
    expect(breaker.state).to.equal("closed");
    call("fail");
    expect(breaker.state).to.equal("open");
  });

  it("is not opened a second time, nor closed, by calls that were on their way when it opened", () => {
    const { breaker, clock } = openBreaker();
    for (let index = 0; index < 10; index += 1) breaker.enter();
    for (let index = 0; index < 5; index += 1) breaker.fail();
    clock.ms += 900;
    for (let index = 0; index < 4; index += 1) breaker.fail();
    breaker.succeed();
    expect(breaker.state).to.equal("open");
    clock.ms += 100;
    expect(breaker.enter(), "the time to the probe must not have been put off").to.be.true;
  });

  it("moves only along closed, open, half-open, and says each move once", () => {
    const moves: string[] = [];
    const note = (message: unknown): void => {
      const { from, to, ...rest } = message as { name: string; from: string; to: string };
      expect(withoutGate(rest)).to.deep.equal({ name: "test" });
      moves.push(`${from} to ${to}`);
    };
    subscribe(events.breaker.name, note);
    try {
      const { clock, call, failTimes } = openBreaker();
      failTimes(5);
      clock.ms += 1000;
      call("fail");
      clock.ms += 1000;
      call("succeed");
    } finally {
      unsubscribe(events.breaker.name, note);
    }
    expect(moves).to.deep.equal([
      "closed to open",
      "open to half-open",
      "half-open to open",
      "open to half-open",
      "half-open to closed",
    ]);
  });
});

/** What a breaker is, in few lines. Windows are counted from the first call after the last one ended. */
class Model {
  state = "closed";
  row = 0;
  calls = 0;
  failures = 0;
  windowStart = 1000;
  openUntil = 0;

  enter(now: number): boolean {
    if (this.state === "open" && now >= this.openUntil) this.state = "half-open";
    return this.state !== "open";
  }

  report(now: number, failed: boolean): void {
    if (now - this.windowStart > 10_000) Object.assign(this, { windowStart: now, calls: 0, failures: 0 });
    this.calls += 1;
    this.failures += failed ? 1 : 0;
    this.row = failed ? this.row + 1 : 0;
    if (
      failed &&
      (this.state === "half-open" || this.row >= 5 || (this.calls >= 20 && this.failures * 2 >= this.calls))
    ) {
      Object.assign(this, { state: "open", openUntil: now + 1000 });
    } else if (!failed && this.state === "half-open")
      Object.assign(this, { state: "closed", row: 0, windowStart: now, calls: 0, failures: 0 });
  }
}

describe("a breaker and its model", () => {
  const step = fc.record({
    wait: fc.oneof(fc.constant(0), fc.nat({ max: 1500 }), fc.nat({ max: 12_000 })),
    outcome: fc.constantFrom("succeed", "fail", "fail", "abandon"),
  });

  it("agree, call by call", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const { breaker, clock, call } = openBreaker();
        const model = new Model();
        for (const { wait, outcome } of steps) {
          clock.ms += wait;
          const allowed = model.enter(clock.ms);
          expect(call(outcome)).to.equal(allowed);
          if (allowed && outcome !== "abandon") model.report(clock.ms, outcome === "fail");
          expect(breaker.state).to.equal(model.state);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("with calls side by side there is never more than one probe, and none is refused while closed", () => {
    const parallel = fc.record({
      wait: fc.nat({ max: 1500 }),
      callers: fc.integer({ min: 1, max: 20 }),
      fails: fc.array(fc.boolean(), { minLength: 20, maxLength: 20 }),
    });
    fc.assert(
      fc.property(fc.array(parallel, { maxLength: 30 }), (waves) => {
        const { breaker, clock } = openBreaker();
        for (const { wait, callers, fails } of waves) {
          clock.ms += wait;
          const before = breaker.state;
          const entered = Array.from({ length: callers }, () => breaker.enter()).filter(Boolean).length;
          expect(entered).to.equal(before === "closed" ? callers : breaker.state === "half-open" ? 1 : 0);
          for (let index = 0; index < entered; index += 1) breaker[fails[index] === true ? "fail" : "succeed"]();
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("a breaker worked by hand", () => {
  it("stays open without probes until it is closed", () => {
    const { breaker, clock, call } = openBreaker();
    breaker.open();
    for (let round = 0; round < 10; round += 1) {
      clock.ms += 5000;
      expect(breaker.enter()).to.be.false;
    }
    expect(breaker.state).to.equal("open");
    breaker.close();
    expect(call("succeed")).to.be.true;
    expect(breaker.state).to.equal("closed");
  });

  it("is not moved by calls that were on their way", () => {
    const { breaker, clock, call, failTimes } = openBreaker();
    breaker.enter();
    breaker.open();
    breaker.succeed();
    expect(breaker.state).to.equal("open");
    breaker.close();
    failTimes(5);
    clock.ms += 1000;
    expect(breaker.enter()).to.be.true;
    breaker.open();
    breaker.succeed();
    clock.ms += 1000;
    expect(call("succeed")).to.be.false;
    breaker.close();
    expect(breaker.state).to.equal("closed");
  });

  it("closes at once a breaker that had opened by itself, which can open by itself again", () => {
    const { breaker, failTimes } = openBreaker();
    failTimes(5);
    breaker.close();
    expect(breaker.state).to.equal("closed");
    failTimes(5);
    expect(breaker.state).to.equal("open");
  });
});
