import { expect } from "chai";
import { Heartbeats } from "../../../packages/core/src/realtime/heartbeats.js";
import { watchTimers } from "../../support/timers.js";
import { until } from "../../support/until.js";

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
    const timers = watchTimers();
    const beats = new Heartbeats(60_000);
    const members = Array.from({ length: 100 }, () => ({ beat: () => undefined }));
    expect(timers).to.have.length(0);
    for (const member of members) beats.add(member);
    expect(timers.map((timer) => timer._destroyed)).to.deep.equal([false]);
    for (const member of members) beats.delete(member);
    for (const member of members) beats.delete(member);
    expect(timers.map((timer) => timer._destroyed)).to.deep.equal([true]);
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
