import type { RedisCluster } from "@portcullis/testkit";
import { startCluster } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { until } from "../../support/until.js";
import { ask, expectOutage, firstMs, recovers, startAll } from "../support/outage-apps.js";

async function command(port: number, ...words: [string, ...(string | number)[]]): Promise<unknown> {
  const client = new Redis({ port, retryStrategy: () => null });
  return client.call(...words).finally(() => client.disconnect());
}

describe("a gate that begins while a Cluster cannot serve all keys", function () {
  this.timeout(60_000);
  let cluster: RedisCluster;

  before(async () => {
    cluster = await startCluster();
  });
  after(() => cluster.stop());

  it("answers in time while a node is stopped, with 503 where it is needed", async () => {
    const stopped = cluster.nodes[1]!;
    stopped.pause();
    const apps = await startAll({ cluster: cluster.seeds });
    for (let count = 0; count < 5; count += 1)
      for (const { status, ms } of await Promise.all(apps.map((app) => ask(app)))) {
        expect(status).to.be.oneOf([200, 503]);
        expect(ms).to.be.below(firstMs);
      }
    stopped.resume();
    await Promise.all(apps.map(recovers));
  });

  it("answers 503 in time with slots that no node serves, and works when one does", async () => {
    const ports = cluster.nodes.map(({ port }) => port);
    const [first = 0] = ports;
    const slots = Array.from({ length: 5461 }, (_, slot) => slot);
    // One after the other: a node that has the slots still tells the others.
    for (const port of ports) await command(port, "CLUSTER", "DELSLOTS", ...slots);
    await until(async () => {
      const states = await Promise.all(ports.map(async (port) => String(await command(port, "CLUSTER", "INFO"))));
      return states.every((state) => state.includes("cluster_state:fail"));
    });
    const apps = await startAll({ cluster: cluster.seeds });
    await Promise.all(apps.map(expectOutage));
    await command(first, "CLUSTER", "ADDSLOTS", ...slots);
    await Promise.all(apps.map(recovers));
  });
});
