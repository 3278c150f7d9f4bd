import { expect } from "chai";
import { nowSeconds, startCluster, startSentinel } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import type { Redis } from "ioredis";
import { adapters } from "../../support/app.js";
import type { AnyOptions } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { operate } from "../../support/redis.js";
import { startLoad } from "../../support/load.js";
import type { Load } from "../../support/load.js";
import type { Rig } from "../../support/rig.js";
import { muchTooLongMs, revokedJti, startRig } from "../../support/rig.js";

interface Group {
  readonly redis: AnyOptions["redis"];
  readonly servers: readonly RedisServer[];
  stop(): Promise<void>;
}

const topologies: Readonly<Record<string, () => Promise<Group>>> = {
  async Sentinel() {
    const group = await startSentinel({ replicas: 1 });
    return { redis: { sentinels: group.sentinels, name: group.name }, ...group };
  },
  async Cluster() {
    const cluster = await startCluster({ masters: 3, replicasPerMaster: 1 });
    return { redis: { cluster: cluster.seeds }, servers: cluster.nodes, stop: () => cluster.stop() };
  },
};

const record = `auth:revoked:${revokedJti}`;
const limits = [{ name: "user", per: "user", limit: 1_000_000, window: "10m" }] as const;

describe("when a master is lost", function () {
  this.timeout(90_000);

  /** The master that has the record of the revoked token, when its replica has it as well. */
  async function holder(servers: readonly RedisServer[]): Promise<RedisServer> {
    const clients = servers.map(({ url }) => operate(url));
    for (;;) {
      const sizes = await Promise.all(clients.map((client) => client.call("KEYS", record) as Promise<string[]>));
      const roles = await Promise.all(clients.map(async (client) => (await client.role())[0] as string));
      const have = servers.filter((_, index) => sizes[index]?.length === 1);
      const master = servers.find((_, index) => sizes[index]?.length === 1 && roles[index] === "master");
      if (have.length > 1 && master !== undefined) return master;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async function start(group: Group, redis = group.redis): Promise<Rig> {
    cleanUp(() => group.stop());
    return startRig({ redis, limits }, { adapter: adapters[1] });
  }

  function visit({ url, token, revoked }: Rig): Load {
    return startLoad(url, { token, revoked, rate: 200 });
  }

  for (const [name, open] of Object.entries(topologies)) {
    for (const how of ["killed", "stopped"] as const) {
      it(`(${how}, ${name}), another is found, nobody waits long, and no revoked token passes`, async () => {
        const group = await open();
        const rig = await start(group);
        const master = await holder(group.servers);
        const load = visit(rig);
        const revocations = startRevoking(rig);
        await pause(300);
        if (how === "killed") await master.kill();
        else master.pause();
        await pause(200);
        await rig.recovered();
        await pause(500);
        const { sent, statuses, slowestMs, accepted } = await load.stop();
        expect(accepted).to.equal(0);
        expect(slowestMs).to.be.below(muchTooLongMs);
        expect([...statuses.keys()].filter((status) => ![200, 401, 503].includes(status))).to.deep.equal([]);
        expect([...statuses.values()].reduce((sum, count) => sum + count)).to.equal(sent);
        await rig.serves();
        const lasting = await revocations.stop();
        expect(lasting).to.not.be.empty;
        for (const jti of lasting) await rig.knows(jti);
      });
    }
  }

  it("and not replaced, a Cluster says 503 (CLUSTERDOWN), and serves when it is back", async () => {
    const cluster = await startCluster({ masters: 3 });
    const rig = await start({
      redis: { cluster: cluster.seeds },
      servers: cluster.nodes,
      stop: () => cluster.stop(),
    });
    const keys = await Promise.all(cluster.nodes.map(({ url }) => operate(url).keys("auth:revoked:*")));
    const [lost] = cluster.nodes.filter((_, index) => keys[index]?.length === 0);
    await lost!.kill();
    await rig.refuses("CLUSTERDOWN");
    expect(await rig.traffic(10)).to.deep.equal(new Set([503]));
    await lost!.restart();
    await rig.recovered();
    await rig.serves();
  });

  it("nothing is: slots move from one master to another under load, and every answer is right", async () => {
    const cluster = await startCluster({ masters: 3 });
    const rig = await start(
      { redis: undefined, servers: cluster.nodes, stop: () => cluster.stop() },
      {
        cluster: cluster.seeds,
      },
    );
    const nodes = cluster.nodes.map((node) => ({ node, client: operate(node.url) }));
    const load = visit(rig);
    const slots = new Set<number>([await slotOf(nodes[0]!.client, record)]);
    for (const { client } of nodes) {
      for (const key of await client.keys("*:quota:*")) slots.add(await slotOf(client, key));
    }
    for (const slot of slots) {
      const owners = await Promise.all(nodes.map(({ client }) => client.call("CLUSTER", "COUNTKEYSINSLOT", slot)));
      const from = nodes[owners.findIndex((count) => Number(count) > 0)];
      const to = nodes.find((node) => node !== from);
      if (from !== undefined && to !== undefined) await moveSlot(slot, from, to, nodes);
    }
    await pause(300);
    await rig.recovered();
    const { statuses, slowestMs, accepted } = await load.stop();
    expect(accepted).to.equal(0);
    expect(slowestMs).to.be.below(muchTooLongMs);
    expect(statuses.get(200)).to.be.greaterThan(10);
    expect([...statuses.keys()].filter((status) => ![200, 401, 503].includes(status))).to.deep.equal([]);
  });
});

/** Revokes token after token; `stop` resolves to those whose revocation was acknowledged. */
function startRevoking({ app }: Rig): { stop(): Promise<string[]> } {
  const acknowledged: string[] = [];
  let stopped = false;
  const expiresAt = nowSeconds() + 300;
  const done = revokeAll();
  async function revokeAll(): Promise<void> {
    for (let index = 0; !stopped; index += 1) {
      const jti = `during-${index}`;
      await app.gate.revocations.revoke({ jti, expiresAt }).then(
        () => acknowledged.push(jti),
        () => undefined,
      );
      await pause(20);
    }
  }
  async function stop(): Promise<string[]> {
    stopped = true;
    await done;
    return acknowledged;
  }
  cleanUp(stop);
  return { stop };
}

interface Node {
  readonly node: RedisServer;
  readonly client: Redis;
}

async function slotOf(client: Redis, key: string): Promise<number> {
  return Number(await client.call("CLUSTER", "KEYSLOT", key));
}

/** As `redis-cli --cluster reshard` does it, with a while in which the slot is in two places. */
async function moveSlot(slot: number, from: Node, to: Node, all: readonly Node[]): Promise<void> {
  const [source, target] = [await from.client.cluster("MYID"), await to.client.cluster("MYID")];
  await to.client.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source);
  await from.client.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target);
  await pause(100);
  for (;;) {
    const keys = (await from.client.call("CLUSTER", "GETKEYSINSLOT", slot, 10)) as string[];
    if (keys.length === 0) break;
    await from.client.call("MIGRATE", to.node.host, to.node.port, "", 0, 5000, "KEYS", ...keys);
  }
  await pause(100);
  for (const { client } of [to, from, ...all]) await client.call("CLUSTER", "SETSLOT", slot, "NODE", target);
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
