import { setTimeout as sleep } from "node:timers/promises";
import FakeTimers from "@sinonjs/fake-timers";
import { expect } from "chai";
import type { WaitingCall } from "../../../packages/core/src/store/redis/connection-wait.js";
import { ConnectionWait, maxWaiting } from "../../../packages/core/src/store/redis/connection-wait.js";
import { cleanUp } from "../../support/clean-up.js";
import { until } from "../../support/until.js";

const refused = { fault: "unreachable", reason: "ECONNREFUSED" } as const;
const late = { fault: "unreachable", reason: "ETIMEDOUT" } as const;

interface World {
  readonly wait: ConnectionWait;
  /** Moves the clocks. */
  readonly pass: (ms: { monotonic?: number; wall?: number }) => void;
  readonly checks: () => number;
  readonly ends: () => number;
}

function open({ isConnected = true, connectDeadlineMs = 60_000 } = {}): World {
  const time = { monotonic: 1000, wall: 1_000_000 };
  let checks = 0;
  let ends = 0;
  const wait = new ConnectionWait({
    ...{ deadlineMs: 50, connectDeadlineMs, isConnected },
    check: () => (checks += 1),
    clocks: { monotonic: () => time.monotonic, wall: () => time.wall },
  });
  wait.onEnd(() => (ends += 1));
  cleanUp(() => wait.close());
  return {
    wait,
    pass({ monotonic = 0, wall = 0 }) {
      time.monotonic += monotonic;
      time.wall += wall;
    },
    checks: () => checks,
    ends: () => ends,
  };
}

describe("calls wait for the connection", () => {
  it("until it is closed, and no call afterwards, whosever it is", () => {
    const { wait } = open({ isConnected: false });
    const said: string[] = [];
    for (const isCounted of [true, false]) {
      if (isCounted) expect(wait.enter()).to.equal(undefined);
      wait.add({ isCounted, begin: () => said.push("begin"), end: () => said.push("end") });
    }
    wait.close();
    wait.add({ isCounted: false, begin: () => said.push("begin"), end: () => said.push("end") });
    expect([said, wait.size]).to.deep.equal([["end", "end", "end"], 0]);
    expect(wait.enter()?.kind).to.equal("unreachable");
  });

  it("at the start, longer than for an answer, until an attempt to connect has failed", () => {
    const { wait, ends } = open({ isConnected: false });
    expect([wait.ms, wait.isOver, wait.isPromising]).to.deep.equal([60_000, false, true]);
    wait.failed(late);
    expect(wait.ms, "the process was busy").to.equal(60_000);
    wait.failed(refused);
    expect([wait.ms, wait.isOver, wait.isPromising, ends()]).to.deep.equal([50, false, false, 0]);
    wait.connected();
    expect([wait.ms, wait.isOver, ends()]).to.deep.equal([0, true, 1]);
  });

  it("at the start for no longer than connectDeadline in all, from the first call", async () => {
    const { wait } = open({ isConnected: false, connectDeadlineMs: 20 });
    await sleep(60);
    expect([wait.ms, wait.isPromising], "nobody has waited yet").to.deep.equal([20, true]);
    await until(() => !wait.isPromising);
    expect(wait.ms).to.equal(50);
  });

  it("so that a call that begins late has the rest of the wait, and at least its deadline", () => {
    const { wait, pass } = open({ isConnected: false });
    expect(wait.ms).to.equal(60_000);
    pass({ monotonic: 59_000 });
    expect(wait.ms).to.equal(1000);
    pass({ monotonic: 990 });
    expect(wait.ms).to.equal(50);
    pass({ monotonic: 1000 });
    expect(wait.ms, "the event loop was blocked").to.equal(50);
  });

  it("from the first call for a request: those of the background begin no wait", () => {
    const { wait, pass } = open({ isConnected: false });
    expect(wait.backgroundMs).to.equal(60_000);
    pass({ monotonic: 59_000 });
    expect([wait.backgroundMs, wait.ms]).to.deep.equal([60_000, 60_000]);
    pass({ monotonic: 1000 });
    expect([wait.backgroundMs, wait.ms]).to.deep.equal([59_000, 59_000]);
  });

  it("for no longer under the fake timers of a test, which do not run", async () => {
    const really = globalThis.setTimeout;
    const clock = FakeTimers.install({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval"] });
    cleanUp(() => clock.uninstall());
    const { wait } = open({ isConnected: false, connectDeadlineMs: 20 });
    expect(wait.ms).to.equal(20);
    for (let attempt = 0; wait.isPromising && attempt < 100; attempt += 1)
      await new Promise((resolve) => void really(resolve, 20));
    expect(wait.ms).to.equal(50);
  });

  for (const [what, moved] of [
    ["is stopped, and both clocks go on", { monotonic: 6000, wall: 6000 }],
    ["sleeps with its machine, and the monotonic clock stands still", { wall: 3_600_000 }],
    ["was restored, and the wall clock stands still", { monotonic: 6000 }],
  ] as const) {
    it(`after the process ${what}, until the connection has been checked`, () => {
      const { wait, pass, checks, ends } = open();
      expect([wait.ms, checks()]).to.deep.equal([0, 0]);
      pass(moved);
      expect([wait.ms, wait.ms, checks(), wait.isOver]).to.deep.equal([60_000, 60_000, 1, false]);
      wait.connected();
      expect([wait.ms, wait.isOver, checks(), ends()]).to.deep.equal([0, true, 1, 1]);
    });
  }

  it("after a standstill that a beat has noticed before a call", () => {
    const { wait, pass, checks } = open();
    pass({ monotonic: 6000, wall: 6000 });
    wait.beat();
    expect([checks(), wait.ms]).to.deep.equal([1, 60_000]);
  });

  it("not after a change of the wall clock, nor after a pause, while the beats come", () => {
    const { wait, pass, checks } = open();
    pass({ monotonic: 1000, wall: 3_600_000 });
    wait.beat();
    for (let count = 0; count < 10; count += 1) {
      pass({ monotonic: 1000, wall: 1000 });
      wait.beat();
    }
    expect([wait.ms, checks()]).to.deep.equal([0, 0]);
  });

  it("not after the first reconnection has failed, and calls fail at once from then on", () => {
    const { wait, pass, ends } = open();
    pass({ monotonic: 6000 });
    expect(wait.ms).to.equal(60_000);
    wait.failed(refused);
    expect([wait.ms, wait.isOver, ends()]).to.deep.equal([0, true, 1]);
  });

  it("in a bounded number, and each is begun or ended once", () => {
    for (const how of ["connected", "close"] as const) {
      const { wait } = open({ isConnected: false });
      const done: string[] = [];
      function add(isCounted = true): WaitingCall {
        const call = { isCounted, begin: () => done.push("connected"), end: () => done.push("close") };
        wait.add(call);
        return call;
      }
      for (let count = 1; count < maxWaiting; count += 1) {
        expect(wait.enter()).to.equal(undefined);
        add();
      }
      expect(wait.enter()).to.equal(undefined);
      const last = add();
      expect([wait.size, wait.enter()?.kind]).to.deep.equal([maxWaiting, "overloaded"]);
      add(false);
      wait.remove(last);
      wait.remove(last);
      expect([wait.size, wait.enter()]).to.deep.equal([maxWaiting - 1, undefined]);
      add();
      wait[how]();
      wait[how]();
      expect([done.length, new Set(done), wait.size]).to.deep.equal([maxWaiting + 1, new Set([how]), 0]);
    }
  });

  it("not at all once it is closed", () => {
    const { wait } = open({ isConnected: false });
    wait.close();
    expect(wait.enter()?.kind).to.equal("unreachable");
  });

  it("once for each standstill", async () => {
    const { wait, pass, checks, ends } = open({ connectDeadlineMs: 20 });
    pass({ monotonic: 6000 });
    expect(wait.ms).to.equal(20);
    await until(() => wait.isOver);
    expect([wait.ms, checks(), ends()]).to.deep.equal([0, 1, 1]);
    pass({ monotonic: 6000 });
    expect([wait.ms, checks()]).to.deep.equal([20, 2]);
  });
});
