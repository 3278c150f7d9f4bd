import { expect } from "chai";
import { startCluster, startProxy, startRedis, startSentinel } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import type { AnyOptions } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { operate } from "../../support/redis.js";
import { startRig } from "../../support/rig.js";

interface Place {
  readonly redis: AnyOptions["redis"];
  readonly servers: readonly RedisServer[];
  readonly proxies: readonly Proxy[];
}

const rounds = 4;

describe("a reply that is lost after its command ran", function () {
  this.timeout(60_000);
  const topologies: Readonly<Record<string, () => Promise<Place>>> = {
    async standalone() {
      const server = await startRedis();
      cleanUp(() => server.stop());
      const proxy = await startProxy(server);
      cleanUp(() => proxy.close());
      return { redis: proxy.url, servers: [server], proxies: [proxy] };
    },
    async "under Sentinel"() {
      const proxies: Proxy[] = [];
      const group = await startSentinel({ downAfterMs: 10_000, announce: (server) => through(server, proxies) });
      cleanUp(() => group.stop());
      const redis = { sentinels: group.sentinels, name: group.name };
      return { redis, servers: group.servers.slice(0, 1), proxies };
    },
    async "in a Cluster"() {
      const proxies: Proxy[] = [];
      const cluster = await startCluster({ announce: (node) => through(node, proxies) });
      cleanUp(() => cluster.stop());
      return { redis: { cluster: cluster.seeds }, servers: cluster.nodes, proxies };
    },
  };

  async function through(server: { readonly port: number }, proxies: Proxy[]): Promise<number> {
    const proxy = await startProxy(server);
    cleanUp(() => proxy.close());
    proxies.push(proxy);
    return proxy.port;
  }

  for (const [name, start] of Object.entries(topologies)) {
    it(`counts its request at most once, ${name}`, async () => {
      const { redis, servers, proxies } = await start();
      const limits = [{ name: "counted", per: "user", limit: 100_000, window: "10m" }] as const;
      const rig = await startRig({ redis, limits });
      const operators = servers.map(({ url }) => operate(url));

      async function counted(): Promise<number> {
        const all = await Promise.all(
          operators.map(async (operator) => {
            const keys = await operator.keys("*:counted:*");
            return Promise.all(keys.map(async (key) => Number(await operator.get(key))));
          }),
        );
        return all.flat().reduce((sum, value) => sum + value, 0);
      }

      let before = await counted();
      for (let round = 0; round < rounds; round += 1) {
        for (const proxy of proxies) proxy.cutAfter(":counted:");
        for (let index = 0; index < 3; index += 1) await rig.ask();
        const after = await counted();
        expect(after - before).to.be.at.most(3);
        for (const proxy of proxies) proxy.cutAfter("");
        let asked = 0;
        while ((await rig.ask()).status !== 200 || rig.app.gate.health().status !== "up") {
          asked += 1;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
        before = await counted();
        expect(before - after).to.be.at.most(asked + 1);
      }
      const lost = proxies.reduce((sum, { cuts }) => sum + cuts, 0);
      expect(lost, "replies that were lost").to.be.at.least(rounds);
    });
  }
});
