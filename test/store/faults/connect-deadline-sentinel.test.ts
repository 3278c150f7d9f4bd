import { startSentinel } from "@portcullis/testkit";
import { expect } from "chai";
import { cleanUp } from "../../support/clean-up.js";
import { ask, expectOutage, firstMs, recovers, startAll } from "../support/outage-apps.js";

describe("a gate that begins while Sentinel cannot name a master that serves", function () {
  this.timeout(60_000);

  it("answers 503 in time with a wrong name of the master, and during a failover, which it follows", async () => {
    const { sentinels, name, servers, stop } = await startSentinel();
    cleanUp(stop);
    await Promise.all((await startAll({ sentinels, name: "other" })).map(expectOutage));
    servers[0]!.pause();
    const apps = await startAll({ sentinels, name });
    for (const { status, ms } of await Promise.all(apps.map((app) => ask(app)))) {
      expect(status).to.be.oneOf([200, 503]);
      expect(ms).to.be.below(firstMs);
    }
    await Promise.all(apps.map(recovers));
  });
});
