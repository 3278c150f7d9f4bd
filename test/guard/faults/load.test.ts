import { expect } from "chai";
import { startProxy, startRedis } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { cleanUp } from "../../support/clean-up.js";
import { operate } from "../../support/redis.js";
import { startLoad } from "../../support/load.js";
import { muchTooLongMs, startRig } from "../../support/rig.js";

interface Place {
  readonly server: RedisServer;
  /** Between the gate and the server. */
  readonly proxy: Proxy;
}

interface Fault {
  readonly name: string;
  readonly begin: (place: Place) => unknown;
  readonly end: (place: Place) => unknown;
  /** The record of the revoked token is gone: it is accepted until the gate has repeated what it had revoked. */
  readonly forgets?: boolean;
}

const faults: readonly Fault[] = [
  { name: "is stopped", begin: ({ server }) => server.pause(), end: ({ server }) => server.resume() },
  { name: "is killed, and started again", begin: ({ server }) => server.kill(), end: ({ server }) => server.restart() },
  {
    name: "is behind connections that are open and carry nothing",
    begin: ({ proxy }) => proxy.freeze(),
    end: ({ proxy }) => proxy.thaw(),
  },
  {
    name: "hears everything and is not heard",
    begin: ({ proxy }) => (proxy.mode = "drop-replies"),
    end: ({ proxy }) => (proxy.mode = "pass"),
  },
  {
    name: "is cut off from the network",
    begin({ proxy }) {
      proxy.mode = "refuse";
      proxy.reset();
    },
    end: ({ proxy }) => (proxy.mode = "pass"),
  },
  {
    name: "answers, but too late",
    begin: ({ proxy }) => (proxy.delayMs = 300),
    end: ({ proxy }) => (proxy.delayMs = 0),
  },
  {
    name: "is out of memory",
    begin: ({ server }) => operate(server.url).config("SET", "maxmemory", "1"),
    end: ({ server }) => operate(server.url).config("SET", "maxmemory", "0"),
  },
  {
    name: "has forgotten its scripts",
    begin: ({ server }) => operate(server.url).script("FLUSH"),
    end: () => undefined,
  },
  {
    name: "has forgotten everything",
    begin: ({ server }) => operate(server.url).flushall(),
    end: () => undefined,
    forgets: true,
  },
];

describe("at 500 requests a second, while Redis", function () {
  this.timeout(60_000);

  for (const { name, begin, end, forgets = false } of faults) {
    it(`${name}: each is answered, in time, by 200, 401 or 503, and no revoked token passes`, async () => {
      // What was written survives that the process is killed.
      const server = await startRedis({ config: { appendonly: "yes" } });
      cleanUp(() => server.stop());
      const proxy = await startProxy(server);
      cleanUp(() => proxy.close());
      const limits = [{ name: "user", per: "user", limit: 1_000_000, window: "10m" }] as const;
      const rig = await startRig({ redis: proxy.url, limits });
      const load = startLoad(rig.url, rig);
      await pause(300);
      await begin({ server, proxy });
      await pause(700);
      await end({ server, proxy });
      await rig.recovered();
      await pause(200);
      const { sent, statuses, slowestMs, accepted } = await load.stop();
      if (!forgets) expect(accepted).to.equal(0);
      expect(slowestMs).to.be.below(muchTooLongMs);
      expect([...statuses.keys()].filter((status) => ![200, 401, 503].includes(status))).to.deep.equal([]);
      expect([...statuses.values()].reduce((sum, count) => sum + count)).to.equal(sent);
      expect(statuses.get(200)).to.be.greaterThan(10);
    });
  }
});

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
