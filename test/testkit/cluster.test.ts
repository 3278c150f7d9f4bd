import { startCluster } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster, Redis } from "ioredis";

describe("a Redis Cluster for tests", function () {
  this.timeout(60_000);

  it("serves keys on every master", async () => {
    const cluster = await startCluster();
    const client = new Cluster([...cluster.seeds]);
    try {
      await Promise.all(Array.from({ length: 300 }, (_, index) => client.set(`key:${index}`, index)));
      expect(await client.get("key:299")).to.equal("299");
      const sizes = await Promise.all(cluster.nodes.map((node) => ask(node.url, (redis) => redis.dbsize())));
      expect(sizes).to.have.length(3);
      for (const size of sizes) expect(size).to.be.greaterThan(50);
      expect(sizes.reduce((sum, size) => sum + size)).to.equal(300);
    } finally {
      client.disconnect();
      await cluster.stop();
    }
    for (const node of cluster.nodes) expect(() => process.kill(node.pid, 0)).to.throw("ESRCH");
  });

  it("gives each master its replicas, which take over when it dies", async () => {
    const cluster = await startCluster({ masters: 3, replicasPerMaster: 1 });
    const client = new Cluster([...cluster.seeds], { clusterRetryStrategy: () => 50 });
    try {
      const roles = await Promise.all(cluster.nodes.map((node) => ask(node.url, (redis) => redis.role())));
      expect(roles.map(([role]) => role)).to.deep.equal(["master", "master", "master", "slave", "slave", "slave"]);
      const replicated = roles.slice(3).map((role) => role[2]);
      expect(replicated).to.deep.equal(cluster.nodes.slice(0, 3).map((node) => node.port));

      await cluster.nodes[0]!.kill();
      const successor = cluster.nodes[3]!.url;
      while ((await ask(successor, (redis) => redis.role()))[0] !== "master") {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    } finally {
      client.disconnect();
      await cluster.stop();
    }
  });
});

async function ask<T>(url: string, question: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url);
  try {
    return await question(redis);
  } finally {
    redis.disconnect();
  }
}
