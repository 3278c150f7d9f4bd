import { Agent } from "node:http";
import { expect } from "chai";
import { Redis } from "ioredis";
import { signToken, startCluster, testAuth } from "@portcullis/testkit";
import { adapters } from "../../support/app.js";
import type { RunningApp } from "../../support/app.js";
import { commonRoutes } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { minimumOf } from "../../support/minimum.js";
import { silentLogger } from "../../support/logger.js";
import type { ServerProcess } from "../../support/processes.js";
import { startProcess } from "../../support/processes.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";
import { isSoak, rounds } from "../../support/soak.js";

const users = isSoak ? 2000 : 500;

/** The same four processes, on one Redis or on a Cluster. */
function describeProcesses(where: string, findRedis: () => Promise<{ url: string; stop: () => Promise<void> }>): void {
  describe(`leases of four processes on ${where}`, function () {
    this.timeout(60_000 + rounds * 20_000);
    let redis: Awaited<ReturnType<typeof findRedis>>;
    let processes: ServerProcess[] = [];

    before(async () => {
      redis = await findRedis();
      const options = {
        redis: redis.url,
        prefix: freshPrefix(),
        auth: testAuth,
        revocation: { check: "tracked" },
        deadline: 5000,
        limits: [{ name: "user", per: "user", limit: 1000, window: "5m", precision: "leased" }],
      } as const;
      processes = await Promise.all(["Express", "Koa", "Express", "Koa"].map((name) => startProcess(name, options)));
    });

    after(async () => {
      const ends = await Promise.all(processes.map((process) => process.close()));
      await redis.stop();
      for (const { code } of ends) expect(code).to.equal(0);
    });

    it(`admit at most the quota of 2000 requests at once and at least 95 % of it, ${rounds} times`, async () => {
      for (let round = 0; round < rounds; round += 1) {
        const token = await signToken({ sub: `busy-${round}` });
        const agent = new Agent({ keepAlive: true, maxSockets: 64 });
        const visit = async (index: number): Promise<number> =>
          (await send(`${processes[index % 4]!.url}/me`, { token, agent })).status;
        const statuses = await Promise.all(Array.from({ length: 2000 }, (_, index) => visit(index)));
        agent.destroy();
        const admitted = statuses.filter((status) => status === 200).length;
        expect(statuses.filter((status) => status === 429)).to.have.length(2000 - admitted);
        expect(admitted).to.be.within(950, 1000);
      }
    });
  });
}

describeProcesses("Redis", () => Promise.resolve({ url: testRedisUrl(), stop: () => Promise.resolve() }));
describeProcesses("a Cluster of six nodes", async () => {
  const cluster = await startCluster({ masters: 3, replicasPerMaster: 1 });
  const nodes = cluster.seeds.map(({ host, port }) => `${host}:${port}`).join(",");
  return { url: `redis+cluster://${nodes}`, stop: () => cluster.stop() };
});

describe("a process with leases", function () {
  this.timeout(60_000);
  const running: (RunningApp | ServerProcess)[] = [];
  let redis: Redis;

  before(() => {
    redis = new Redis(testRedisUrl());
  });
  afterEach(async () => {
    for (const one of running.splice(0)) await one.close();
  });
  after(() => redis.disconnect());

  async function scriptCalls(): Promise<number> {
    const stats = await redis.info("commandstats");
    return ["eval", "evalsha"].reduce((sum, command) => {
      const calls = new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1];
      return sum + Number(calls ?? 0);
    }, 0);
  }

  for (const adapter of isSoak ? adapters : adapters.slice(-1)) {
    it(`asks Redis at most once for twenty requests of ${users} users over 64 connections (${adapter.name})`, async () => {
      const app = await adapter.start({
        options: {
          ...{ redis: testRedisUrl(), prefix: freshPrefix(), deadline: 5000, logger: silentLogger },
          limits: [
            {
              ...{ name: "user", limit: 5000, window: "1h", precision: "leased" },
              per: (raw) => String(raw.headers["x-user"]),
            },
          ],
        },
        routes: commonRoutes,
      });
      running.push(app);
      const agent = new Agent({ keepAlive: true, maxSockets: 64 });
      let next = 0;
      const work = async (count: number): Promise<void> => {
        const end = next + count;
        const visit = async (): Promise<void> => {
          while (next < end) {
            const user = `user-${next++ % users}`;
            expect((await send(`${app.url}/me`, { agent, headers: { "x-user": user } })).status).to.equal(200);
          }
        };
        await Promise.all(Array.from({ length: 64 }, visit));
      };
      await work(2 * users);
      const measure = async (): Promise<number> => {
        const before = await scriptCalls();
        await work(4 * users);
        return ((await scriptCalls()) - before) / (4 * users);
      };
      const calls = await minimumOf(measure, 0.05);
      agent.destroy();
      expect(calls).to.be.at.most(0.05);
    });
  }

  it("needs no round trip where the revocation check is tracked too, and still refuses a revoked token", async () => {
    const app = await adapters[0]!.start({
      options: {
        ...{ redis: testRedisUrl(), prefix: freshPrefix(), deadline: 5000, logger: silentLogger },
        ...{ auth: testAuth, revocation: { check: "tracked", staleness: "20s" } },
        limits: [
          { name: "ip", per: "ip", limit: 100_000, window: "1h", precision: "leased" },
          { name: "user", per: "user", limit: 100_000, window: "1h", precision: "leased" },
        ],
      },
      routes: commonRoutes,
    });
    running.push(app);
    const token = await signToken({ sub: "alice" });
    const visit = async (): Promise<number> => (await send(`${app.url}/me`, { token })).status;
    await until(async () => {
      const before = await scriptCalls();
      for (let index = 0; index < 50; index += 1) expect(await visit()).to.equal(200);
      // Renewals go on beside the requests; the requests themselves ask nothing.
      return (await scriptCalls()) - before <= 5;
    });
    expect((await send(`${app.url}/logout`, { method: "POST", token })).status).to.equal(204);
    expect(await visit()).to.equal(401);
  });

  it("loses its leases when it is killed, until the window ends and no longer", async () => {
    const prefix = freshPrefix();
    const options = {
      ...{ redis: testRedisUrl(), prefix, auth: testAuth, deadline: 5000 },
      limits: [{ name: "user", per: "user", limit: 1000, window: "3s", precision: "leased" }],
    } as const;
    const [victim, witness] = await Promise.all([startProcess("Express", options), startProcess("Express", options)]);
    running.push(witness);
    const token = await signToken({ sub: "alice" });
    const remaining = async ({ url }: ServerProcess): Promise<number> =>
      Number(/r=(\d+)/.exec(String((await send(`${url}/me`, { token })).headers.ratelimit))?.[1]);
    for (let index = 0; index < 60; index += 1) await remaining(victim);
    process.kill(victim.pid, "SIGKILL");
    await victim.close();
    for (const key of await redis.keys(`${prefix}*quota*`)) expect(await redis.pttl(key)).to.be.within(0, 3000);
    await until(async () => (await redis.keys(`${prefix}*quota*`)).length === 0);
    expect(await remaining(witness)).to.equal(999);
  });
});
