import { startSentinel } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";

describe("a Redis under Sentinel for tests", function () {
  this.timeout(60_000);

  it("replicates, and puts a replica in the place of a master that dies", async () => {
    const group = await startSentinel({ replicas: 1 });
    const connectToMaster = (): Redis => {
      const redis = new Redis({ sentinels: [...group.sentinels], name: group.name });
      return redis.on("error", () => undefined);
    };
    const client = connectToMaster();
    try {
      await client.set("a", "1");
      await client.wait(1, 5000);
      expect(await group.findMaster()).to.equal(group.servers[0]);
      await group.servers[0]!.kill();
      while ((await group.findMaster()) === group.servers[0]) await new Promise((resolve) => setTimeout(resolve, 50));
      expect(await group.findMaster()).to.equal(group.servers[1]);
      // A new client: ioredis refuses commands while it changes the master.
      const reader = connectToMaster();
      try {
        expect(await reader.get("a")).to.equal("1");
      } finally {
        reader.disconnect();
      }
    } finally {
      client.disconnect();
      await group.stop();
    }
  });
});
