import { startRedis } from "@portcullis/testkit";
import { cleanUp } from "../../support/clean-up.js";
import { startFakeSentinel } from "../../support/fake-sentinel.js";
import { until } from "../../support/until.js";
import { startRig } from "../../support/rig.js";

const checks = [
  { how: "asks about each token", check: "asked", connections: 1 },
  { how: "keeps answers in process", check: "tracked", connections: 2 },
] as const;

describe("a master that is replaced while a gate looks for it", function () {
  this.timeout(60_000);
  // ioredis gives up for ever when its failover detector speaks while its own question to a sentinel is under way.
  for (const { how, check, connections } of checks) {
    it(`is found by one that ${how}`, async () => {
      const [master, next] = [await startRedis(), await startRedis()];
      cleanUp(() => Promise.all([master.stop(), next.stop()]));
      const sentinel = await startFakeSentinel(master);
      cleanUp(() => sentinel.close());
      const redis = { sentinels: [{ host: "127.0.0.1", port: sentinel.port }], name: "main" };
      const rig = await startRig({ redis, revocation: { check } });
      await until(() => sentinel.listening === connections);

      sentinel.hold();
      await master.kill();
      await until(() => sentinel.waiting === connections);
      sentinel.announce();
      await until(() => sentinel.listening === 0);
      sentinel.name(next);

      await rig.works();
      await until(() => sentinel.listening === connections);
    });
  }
});
