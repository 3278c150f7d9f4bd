import { startSentinel } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { until } from "../support/until.js";

describe("a Redis under Sentinel for tests", function () {
  this.timeout(60_000);

  it("replicates, and puts a replica in the place of a master that dies", async () => {
    const group = await startSentinel({ replicas: 1 });
    const client = new Redis({ sentinels: [...group.sentinels], name: group.name, failoverDetector: true });
    client.on("error", () => undefined);
    try {
      await client.set("a", "1");
      await client.wait(1, 5000);
      expect(await group.findMaster()).to.equal(group.servers[0]);
      await group.servers[0]!.kill();
      while ((await group.findMaster()) === group.servers[0]) await new Promise((resolve) => setTimeout(resolve, 50));
      expect(await group.findMaster()).to.equal(group.servers[1]);
      // ioredis may refuse a command at the moment in which it changes the master.
      await until(async () => (await client.get("a").catch(() => undefined)) === "1");
    } finally {
      client.disconnect();
      await group.stop();
    }
  });
});
