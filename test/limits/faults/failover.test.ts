import { expect } from "chai";
import { startRedis } from "@portcullis/testkit";
import { allAdapters } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { startFakeSentinel } from "../../support/fake-sentinel.js";
import { send } from "../../support/http.js";
import { openLatch } from "../../support/latch.js";
import { silentLogger } from "../../support/logger.js";
import { operate } from "../../support/redis.js";
import { until } from "../../support/until.js";

const limits = [
  { name: "slots", per: "ip", algorithm: "concurrency", limit: 3, window: "10m" },
  { name: "failures", per: "ip", limit: 1000, window: "10m", countOnly: "failures" },
  { name: "settled", per: "ip", limit: 1000, window: "10m", cost: 4, settle: () => 1 },
] as const;

describe("what a master confirmed that is replaced by a replica without it", function () {
  this.timeout(60_000);
  for (const adapter of allAdapters)
    it(`is given back to the next master, once (${adapter.name})`, async () => {
      const [master, next] = [await startRedis(), await startRedis()];
      cleanUp(() => Promise.all([master.stop(), next.stop()]));
      const [old, promoted] = [operate(master.url), operate(next.url)];
      const sentinel = await startFakeSentinel(master);
      cleanUp(() => sentinel.close());
      const latch = openLatch();
      const app = await adapter.start({
        options: {
          redis: { sentinels: [{ host: "127.0.0.1", port: sentinel.port }], name: "main" },
          ...{ logger: silentLogger, deadline: 1000, limits: [...limits] },
        },
        routes: { "GET /held": async () => latch.wait(), "GET /": () => ({ in: true }) },
      });
      cleanUp(() => app.close());
      /** Slots that are held, and what the two windows have counted. */
      async function counted(redis: typeof old): Promise<[slots: number, failures: number, settled: number]> {
        const one = async (name: string): Promise<string> => (await redis.keys(`*:${name}:a:*`))[0] ?? "none";
        const windows = [await redis.get(await one("failures")), await redis.get(await one("settled"))];
        return [await redis.zcard(await one("slots")), Number(windows[0] ?? NaN), Number(windows[1])];
      }
      const are = async (redis: typeof old, ...expected: number[]): Promise<boolean> =>
        (await counted(redis)).join() === expected.join();

      // The first requests may be counted in process.
      let asked = 0;
      await until(async () => {
        asked += 1;
        await send(app.url);
        const [slots, failures, settled] = await counted(old);
        return slots === 0 && failures === 0 && settled > 0 && settled <= asked && sentinel.listening > 0;
      });
      const [, , before] = await counted(old);

      await promoted.call("REPLICAOF", "127.0.0.1", master.port);
      const held = Array.from({ length: 3 }, async () => send(`${app.url}/held`));
      await latch.waiting(3);
      const [taken, given] = [[3, 3, before + 12] as const, [0, 0, before + 3] as const];
      await until(async () => are(promoted, ...taken));
      await promoted.call("REPLICAOF", "NO", "ONE");
      latch.open();
      expect((await Promise.all(held)).map(({ status }) => status)).to.deep.equal([200, 200, 200]);
      await until(async () => are(old, ...given));
      expect(await counted(promoted)).to.deep.equal(taken);

      sentinel.name(next);
      sentinel.announce();
      await until(async () => are(promoted, ...given)).catch(() => undefined);
      expect(await counted(promoted)).to.deep.equal(given);

      // One more connection gives nothing back a second time.
      await promoted.call("CLIENT", "KILL", "TYPE", "NORMAL");
      await until(async () => /"slots";r=2/.test(String((await send(app.url)).headers.ratelimit)));
      await until(async () => (await counted(promoted))[1] === 0);
      const [slots, , settled] = await counted(promoted);
      expect(slots).to.equal(0);
      expect(settled).to.be.above(given[2]);
    });
});
