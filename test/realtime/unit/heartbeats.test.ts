import { expect } from "chai";
import { Heartbeats } from "../../../packages/core/src/realtime/heartbeats.js";
import { cleanUp } from "../../support/clean-up.js";
import { until } from "../../support/until.js";

/** The timers that are set and cleared until the test ends. */
function watchTimers(): { set: number; cleared: number } {
  const { setInterval, clearInterval } = globalThis;
  const counts = { set: 0, cleared: 0 };
  cleanUp(() => Object.assign(globalThis, { setInterval, clearInterval }));
  Object.assign(globalThis, {
    setInterval: (...given: Parameters<typeof setInterval>) => {
      counts.set += 1;
      return setInterval(...given);
    },
    clearInterval: (timer: NodeJS.Timeout) => {
      counts.cleared += 1;
      clearInterval(timer);
    },
  });
  return counts;
}

describe("heartbeats", () => {
  it("reach every member once in a period, and not all at once", async () => {
    const beats = new Heartbeats(160);
    const counts = Array.from({ length: 32 }, () => 0);
    const members = counts.map((_, index) => ({ beat: () => void (counts[index] = (counts[index] ?? 0) + 1) }));
    for (const member of members) beats.add(member);
    let wasPartial = false;
    await until(() => {
      wasPartial ||= counts.includes(0) && counts.includes(1);
      return counts.every((count) => count >= 2);
    });
    expect(Math.max(...counts) - Math.min(...counts)).to.be.at.most(1);
    expect(wasPartial).to.equal(true);
    for (const member of members) beats.delete(member);
  });

  it("have one timer however many members there are, and none without members", () => {
    const counts = watchTimers();
    const beats = new Heartbeats(60_000);
    const members = Array.from({ length: 100 }, () => ({ beat: () => undefined }));
    expect(counts.set).to.equal(0);
    for (const member of members) beats.add(member);
    expect(counts).to.deep.equal({ set: 1, cleared: 0 });
    for (const member of members) beats.delete(member);
    for (const member of members) beats.delete(member);
    expect(counts).to.deep.equal({ set: 1, cleared: 1 });
  });

  it("go on when a beat ends its member", async () => {
    const beats = new Heartbeats(16);
    let count = 0;
    const first = { beat: () => beats.delete(first) };
    const second = { beat: () => void (count += 1) };
    beats.add(first);
    beats.add(second);
    await until(() => count > 3);
    beats.delete(second);
  });
});
