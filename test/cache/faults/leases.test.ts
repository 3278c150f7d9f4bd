import { connect } from "node:net";
import { startProxy, startRedis } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { adapters } from "../../support/app.js";
import type { AnyGate } from "../../support/app.js";
import { startCacheProcess } from "../../support/cache-fleet.js";
import { cleanUp } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { latch } from "../../support/response-cache.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";

const longMs = 3_600_000;

for (const adapter of adapters) {
  describe(`a lease of the cache on ${adapter.name}`, function () {
    this.timeout(30_000);
    let server: RedisServer;
    let proxy: Proxy;
    let admin: Redis;

    before(async () => {
      server = await startRedis();
      proxy = await startProxy(server);
      admin = new Redis(server.url);
    });
    afterEach(() => {
      server.resume();
      proxy.mode = "pass";
    });
    after(async () => {
      admin.disconnect();
      await proxy.close();
      await server.stop();
    });

    /** Two gates with one cache; the first reaches it through the proxy. */
    async function open(): Promise<{ one: AnyGate; other: AnyGate; leases: () => Promise<string[]> }> {
      const prefix = freshPrefix();
      const gates: AnyGate[] = [];
      for (const redis of [proxy.url, server.url]) {
        const options = { redis, prefix, cache: { ttl: "1m", hardTimeout: "1h" }, logger: silentLogger } as const;
        const app = await adapter.start({ options, routes: {}, use: () => [] });
        await app.gate.cache.getOrSet({ key: `warm ${gates.length}` }, () => 1);
        await until(async () => (await app.gate.cache.get(`warm ${gates.length}`)) === 1);
        gates.push(app.gate);
      }
      const [one, other] = gates as [AnyGate, AnyGate];
      return { one, other, leases: () => admin.keys(`${prefix}*making*`) };
    }

    /** What clients send to the server from now on. */
    async function monitor(): Promise<string[]> {
      const commands: string[] = [];
      // By hand: a line that comes in one packet with the OK is more than ioredis takes.
      const socket = connect(server.port, "127.0.0.1");
      cleanUp(() => socket.destroy());
      socket.setEncoding("utf8").on("data", (text: string) => commands.push(text));
      socket.write("MONITOR\r\n");
      await until(() => commands.length > 0);
      return commands;
    }

    /** As if leases lasted for ever: nobody is helped by their end. */
    async function prolong(leases: readonly string[]): Promise<void> {
      for (const lease of leases) await admin.pexpire(lease, longMs);
    }

    it("whose reply was lost is given back when Redis can be reached again, and no caller waits for its end", async () => {
      const { one, other, leases } = await open();
      // The lease is got, the reply is lost with the connection, and no other is to be had for the time being.
      proxy.cutAfter(":making:");
      const first = one.cache.getOrSet({ key: "rates" }, () => "made alone");
      await until(() => proxy.cuts > 0);
      proxy.mode = "refuse";
      proxy.reset();
      expect(await first).to.equal("made alone");
      await prolong(await leases());
      const waiting = other.cache.getOrSet({ key: "rates" }, () => "made by who waited");
      await new Promise((resolve) => setTimeout(resolve, 300));
      proxy.mode = "pass";
      expect(await waiting).to.equal("made by who waited");
      expect(await leases()).to.deep.equal([]);
    });

    for (const force of [false, true]) {
      it(`that ${force ? "was forced and " : ""}arrives after it was given back blocks no caller`, async () => {
        const { one, other, leases } = await open();
        const commands = await monitor();
        // The request is on its way in a connection that has ended, and the give-back overtakes it.
        proxy.strand(":making:");
        const first = one.cache.getOrSet({ key: "rates", forceFresh: force }, () => "made alone");
        await until(() => proxy.stranded > 0);
        expect(await first).to.equal("made alone");
        await until(() => commands.some((command) => command.includes(":making:")));
        const made = latch();
        const holder = force ? other.cache.getOrSet({ key: "rates" }, () => made.opened.then(() => "held")) : undefined;
        await until(async () => (await leases()).length === (force ? 1 : 0));
        await proxy.deliver();
        await prolong(await leases());
        made.open();
        expect(await holder).to.equal(force ? "held" : undefined);
        expect(await other.cache.getOrSet({ key: "rates" }, () => "made next")).to.equal(force ? "held" : "made next");
        expect(await leases()).to.deep.equal([]);
      });
    }

    it("whose end was lost is given back too", async () => {
      const { one, other, leases } = await open();
      const made = latch();
      const first = one.cache.getOrSet({ key: "rates" }, async () => {
        await made.opened;
        return "made";
      });
      await until(async () => (await leases()).length === 1);
      proxy.mode = "refuse";
      proxy.reset();
      made.open();
      expect(await first).to.equal("made");
      await prolong(await leases());
      const waiting = other.cache.getOrSet({ key: "rates" }, () => "made by who waited");
      proxy.mode = "pass";
      expect(await waiting).to.equal("made by who waited");
      await until(async () => (await leases()).length === 0);
    });

    it("is not waited for when Redis goes away: every process makes the value, once", async () => {
      const { one, other, leases } = await open();
      const made = latch();
      const first = one.cache.getOrSet({ key: "slow" }, async () => {
        await made.opened;
        return "made";
      });
      await until(async () => (await leases()).length === 1);
      let calls = 0;
      await prolong(await leases());
      const waiting = Array.from({ length: 20 }, () =>
        other.cache.getOrSet({ key: "slow" }, () => `made alone ${(calls += 1)}`),
      );
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(calls).to.equal(0);
      server.pause();
      expect(new Set(await Promise.all(waiting))).to.deep.equal(new Set(["made alone 1"]));
      made.open();
      expect(await first).to.equal("made");
      server.resume();
      // What it held is given back also now.
      await until(async () => (await leases()).length === 0);
    });
  });
}

describe("several processes that wait for a value while Redis goes away", function () {
  this.timeout(60_000);

  it("make it once each, and agree again when Redis is back", async () => {
    const server = await startRedis();
    const admin = new Redis(testRedisUrl());
    const processes = Array.from({ length: 3 }, () => startCacheProcess());
    try {
      const prefix = freshPrefix();
      const open = { op: "open", url: server.url, counterUrl: testRedisUrl(), prefix, cache: {} } as const;
      await Promise.all(processes.map((one) => one.run(open)));
      const obtain = { op: "obtain", key: "k", count: 20, ms: 1500, options: { hardTimeout: "30s" } } as const;
      const answers = processes.map((one) => one.run(obtain));
      await until(async () => (await admin.get(`${prefix}calls`)) === "1");
      server.pause();
      for (const answer of await Promise.all(answers))
        expect(new Set((answer as object[]).map((one) => JSON.stringify(one))).size).to.equal(1);
      expect(Number(await admin.get(`${prefix}calls`))).to.equal(3);
      server.resume();
      const again = { ...obtain, ms: 10 };
      await until(async () => {
        const key = `agreed ${Math.random()}`;
        const found = await Promise.all(processes.map((one) => one.run({ ...again, key })));
        return new Set(found.flatMap((all) => (all as object[]).map((one) => JSON.stringify(one)))).size === 1;
      });
    } finally {
      for (const one of processes) await one.kill();
      admin.disconnect();
      await server.stop();
    }
  });
});
