import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { startRedis } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import type { Redis } from "ioredis";
import { adapters } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { operate } from "../../support/redis.js";
import type { Rig } from "../../support/rig.js";
import { startRig } from "../../support/rig.js";
import { redisPassword } from "../../support/witness.js";
import { isRejected } from "../../support/rejection.js";

interface Trouble {
  readonly name: string;
  /** What a protected request may get meanwhile. */
  readonly statuses: readonly number[];
  readonly begin: (operator: Redis, server: RedisServer) => Promise<unknown>;
  readonly end: (operator: Redis, server: RedisServer) => Promise<unknown>;
}

/** Milliseconds that no healthy Redis takes on a busy machine. All these troubles answer at once. */
const deadline = 500;

/** Ends the gate's connections, so that it has to come in anew. */
const cutOthers = (operator: Redis) => operator.call("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes");

const troubles: readonly Trouble[] = [
  {
    name: "cannot save, and therefore not write (MISCONF)",
    statuses: [200],
    async begin(operator) {
      const gone = await mkdtemp(join(tmpdir(), "portcullis-gone-"));
      await operator.config("SET", "dir", gone);
      await rm(gone, { recursive: true });
      await operator.config("SET", "save", "900 1");
      await operator.bgsave();
      while (!/rdb_last_bgsave_status:err/.test(await operator.info("persistence"))) await pause(20);
    },
    async end(operator) {
      await operator.config("SET", "save", "");
      await operator.config("SET", "dir", tmpdir());
    },
  },
  {
    name: "has not enough replicas to write (NOREPLICAS)",
    statuses: [200],
    begin: (operator) => operator.config("SET", "min-replicas-to-write", "1"),
    end: (operator) => operator.config("SET", "min-replicas-to-write", "0"),
  },
  {
    name: "is busy with a script (BUSY)",
    statuses: [503],
    async begin(operator, server) {
      await operator.config("SET", "busy-reply-threshold", "50");
      const endless = operate(server.url, { password: redisPassword, retryStrategy: () => null });
      endless.eval("while true do end", 0).catch(() => endless.disconnect());
      await pause(200);
    },
    end: (operator) => operator.script("KILL"),
  },
  {
    name: "lets no more clients in",
    statuses: [503],
    async begin(operator) {
      await operator.config("SET", "maxclients", "1");
      await cutOthers(operator);
    },
    end: (operator) => operator.config("SET", "maxclients", "1000"),
  },
  {
    name: "is a replica without its master and without stale answers (MASTERDOWN)",
    statuses: [503],
    async begin(operator) {
      await operator.config("SET", "replica-serve-stale-data", "no");
      await operator.replicaof("127.0.0.1", 1);
    },
    end: (operator) => operator.call("REPLICAOF", "NO", "ONE"),
  },
  {
    name: "has another password (WRONGPASS)",
    statuses: [503],
    async begin(operator) {
      await operator.config("SET", "requirepass", "another-seeded-password");
      await cutOthers(operator);
    },
    end: (operator) => operator.config("SET", "requirepass", redisPassword),
  },
  {
    name: "forbids scripts to this user (NOPERM)",
    statuses: [503],
    begin: (operator) => operator.call("ACL", "SETUSER", "default", "-evalsha", "-eval"),
    end: (operator) => operator.call("ACL", "SETUSER", "default", "+evalsha", "+eval"),
  },
];

for (const [index, adapter] of adapters.entries()) {
  describe(`the gate on ${adapter.name}, while Redis`, function () {
    this.timeout(60_000);
    let server: RedisServer;
    let operator: Redis;
    let rig: Rig;

    beforeEach(async () => {
      server = await startRedis({ config: { requirepass: redisPassword, "enable-protected-configs": "yes" } });
      cleanUp(async () => {
        await server.stop();
        expect(rig.witness.lines.join("\n")).to.not.include("another-seeded-password");
      });
      operator = operate(server.url, { password: redisPassword });
      const limits = [{ name: "user", per: "user", limit: 100_000, window: "1m" }] as const;
      const redis = server.url.replace("redis://", `redis://:${redisPassword}@`);
      rig = await startRig({ redis, limits, deadline }, { adapter });
    });

    // What the gate makes of an error has no framework in it: each is met on one of them.
    for (const { name, statuses, begin, end } of troubles.filter((_, at) => at % adapters.length === index)) {
      it(`${name}: answers in time, accepts no revoked token, and recovers by itself`, async () => {
        expect(await rig.traffic(2)).to.deep.equal(new Set([200]));
        await begin(operator, server);
        const seen = await rig.traffic(20);
        // The breaker may meet the trouble within a batch, or a moment before it begins.
        expect([...seen].filter((status) => status !== 503 && !statuses.includes(status))).to.deep.equal([]);
        expect(await rig.traffic(10)).to.deep.equal(new Set(statuses));
        expect(rig.app.gate.health().status).to.not.equal("up");
        expect(rig.app.gate.breakers.map(({ state }) => state)).to.include.oneOf(["open", "half-open"]);
        const undone = await isRejected(rig.app.gate.revocations.revokeSubject("somebody"));
        expect(undone, "a revocation that could not be written").to.equal(true);
        await end(operator, server);
        await rig.recovered();
        while (rig.app.gate.health().status !== "up") await rig.ask();
        expect(await rig.traffic(2)).to.deep.equal(new Set([200]));
      });
    }

    if (index === 0) {
      it("is still reading its data (LOADING): waits for it, and accepts no revoked token", async () => {
        await operator.config("SET", "save", "900 1");
        const pipeline = operator.pipeline();
        for (let n = 0; n < 20_000; n += 1) pipeline.set(`filler:${n}`, n);
        await pipeline.exec();
        await operator.save();
        await server.kill();
        server.configure({ save: "900 1", "key-load-delay": "60", "loading-process-events-interval-bytes": "1024" });
        const loaded = server.restart();
        const statuses = new Set<number>();
        const over = loaded.then(() => true);
        const yet = (): Promise<boolean> => Promise.race([over, pause(0).then(() => false)]);
        while (!(await yet())) for (const status of await rig.traffic(2)) statuses.add(status);
        expect(statuses).to.include(503);
        await loaded;
        await rig.recovered();
      });
    }
  });
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
