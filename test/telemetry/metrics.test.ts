import { expect } from "chai";
import { gauge, prometheusText } from "../../packages/core/src/telemetry/metrics.js";
import { Counter, Histogram } from "../../packages/core/src/telemetry/counters.js";

describe("metrics", () => {
  it("count by labels", () => {
    const counter = new Counter("c_total", "Counts.");
    counter.add({ code: "a" });
    counter.add({ code: "b" }, 5);
    counter.add({ code: "a" });
    expect(counter.read().samples).to.deep.equal([
      { suffix: "", labels: { code: "a" }, value: 2 },
      { suffix: "", labels: { code: "b" }, value: 5 },
    ]);
  });

  it("gather durations in cumulative buckets", () => {
    const histogram = new Histogram("h_seconds", "Takes.", "store");
    for (const seconds of [0.0001, 0.0005, 0.003, 0.05, 99]) histogram.observe("s", seconds);
    const text = prometheusText([histogram.read()]);
    const at = (le: string) => Number(new RegExp(`le="${le.replace("+", "\\+")}"\\} (\\d+)`).exec(text)?.[1]);
    expect(["0.0005", "0.001", "0.005", "0.05", "10", "+Inf"].map(at)).to.deep.equal([2, 2, 3, 4, 4, 5]);
    expect(text).to.include('h_seconds_count{store="s"} 5\n');
    expect(text).to.match(/h_seconds_sum\{store="s"\} 99\.05/);
  });

  it("escape the characters that labels may contain", () => {
    const text = prometheusText([gauge("g", "Is.", [[{ a: 'x"y\\z\nw' }, 1]])]);
    expect(text).to.equal('# HELP g Is.\n# TYPE g gauge\ng{a="x\\"y\\\\z\\nw"} 1\n');
  });
});
