import { expect } from "chai";
import { OutageReport } from "../../../packages/core/src/store/redis/outages.js";

describe("a report of an outage", () => {
  it("has a bounded number of lines, also where each failure has another address", () => {
    let lines = 0;
    const report = new OutageReport({
      logger: { debug: () => undefined, warn: () => void (lines += 1) },
      isUp: () => false,
      isBroken: () => true,
    });
    for (let round = 0; round < 3; round += 1)
      for (let node = 0; node < 200; node += 1)
        report.connectionFailed({ fault: "unreachable", reason: "ETIMEDOUT", host: `10.0.0.${node}`, port: 6379 });
    report.close();
    expect(lines).to.equal(100);
  });
});
