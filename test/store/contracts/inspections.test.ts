import { startCluster } from "@portcullis/testkit";
import { expect } from "chai";
import fc from "fast-check";
import { Cluster, Redis } from "ioredis";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import { inspectMemory } from "../../../packages/core/src/store/memory/inspection.js";
import type { Consumption, CounterState, DecisionStore } from "../../../packages/core/src/store/ports/decisions.js";
import type { StoreInspection } from "../../../packages/core/src/store/ports/inspection.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import type { RevocationStore } from "../../../packages/core/src/store/ports/revocation.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { connect } from "../../../packages/core/src/store/redis/connect.js";
import { RedisDecisionStore } from "../../../packages/core/src/store/redis/decisions.js";
import { inspectRedis } from "../../../packages/core/src/store/redis/inspection.js";
import { RedisRevocationRecords } from "../../../packages/core/src/store/redis/revocation-records.js";
import { scripts } from "../../../packages/core/src/store/redis/scripts/all.js";
import { Tracking } from "../../../packages/core/src/store/redis/tracking.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";

interface OpenInspection {
  readonly store: DecisionStore & RevocationStore;
  readonly inspection: StoreInspection;
  /** Everything that the store holds under the prefix, with its end. */
  readonly contents: (prefix: string) => Promise<unknown>;
}

const consumption = fc.record({
  of: fc.nat({ max: 1 }),
  algorithm: fc.constantFrom("plain", "fixed-window", "sliding-window", "token-bucket", "concurrency"),
  limit: fc.constantFrom(0, 1, 2, 4),
  cost: fc.constantFrom(1, 1, 2),
  shadow: fc.boolean(),
  block: fc.constantFrom(undefined, "once", "extended"),
});
type Picked = typeof consumption extends fc.Arbitrary<infer T> ? T : never;

function consumptionOf(prefix: string, picked: Picked, index: number): Consumption {
  const { of, algorithm, limit, cost, shadow, block } = picked;
  const key = `${prefix}{${of}}:${algorithm}`;
  const plain = { key, limit, cost, windowSeconds: 60 };
  if (algorithm === "plain") return plain;
  const rule = { after: 2, firstMs: 10_000, maxMs: 40_000, extends: block === "extended" };
  return {
    ...plain,
    mode: { algorithm, shadow, block: block === undefined ? undefined : rule },
    ...(algorithm === "token-bucket" ? { burst: 3 } : {}),
    ...(algorithm === "concurrency" ? { slot: `s${index}`, cost: 1 } : {}),
    ...(block === undefined ? {} : { blockKey: `${key}:block` }),
  };
}

function describeInspection(name: string, open: () => OpenInspection, numRuns: number): void {
  describe(`${name} keeps the contract of an inspection`, () => {
    it("foretells the state that the next request gets, for every algorithm, and changes nothing", async () => {
      const { store, inspection, contents } = open();
      await fc.assert(
        fc.asyncProperty(fc.array(consumption, { minLength: 1, maxLength: 12 }), async (all) => {
          const prefix = freshPrefix();
          for (const [index, picked] of all.entries()) {
            const asked = consumptionOf(prefix, picked, index);
            const before = await contents(prefix);
            const [foretold] = await inspection.counters([asked]);
            expect(await contents(prefix)).to.deep.equal(before);
            const answer = await store.ask({ beforeToken: [asked], token: undefined, afterToken: [] });
            if (answer instanceof StoreFault) throw answer;
            const [state] = answer.beforeToken;
            expect(comparable(foretold)).to.deep.equal(comparable(state));
            // The clock goes on between the two.
            expect(resetOf(foretold) - resetOf(state)).to.be.within(-3500, 3500);
          }
        }),
        { numRuns },
      );
    });

    it("tells of records and cut-offs by their keys, and nothing of others", async () => {
      const { store, inspection } = open();
      const keys = new Keyspace(freshPrefix(), "test");
      const [record, cutoff, none] = [keys.revokedToken("j"), keys.subjectCutoff("alice"), keys.subjectCutoff("bob")];
      await store.revoke(record, Math.floor(Date.now() / 1000) + 600);
      const at = await store.cutOff(cutoff, 600);
      const { found, fault } = await inspection.records([record, cutoff, none]);
      expect(fault).to.equal(undefined);
      expect([...found.keys()]).to.have.members([record, cutoff]);
      expect([found.get(record), found.get(cutoff)]).to.deep.equal([undefined, at]);
      expect(inspection.doubt()).to.equal(undefined);
    });
  });
}

function comparable(state: CounterState | StoreFault | undefined): unknown {
  if (state === undefined || state instanceof StoreFault) return state?.kind ?? "none";
  return { consumed: state.consumed, blocked: state.blocked };
}

function resetOf(state: CounterState | StoreFault | undefined): number {
  return state === undefined || state instanceof StoreFault ? 0 : state.resetMs;
}

function onRedis(client: RedisLike, contents: OpenInspection["contents"], deadlineMs = 2000): OpenInspection {
  const connection = connect({ redis: client, deadlineMs, logger: silentLogger, scripts });
  const store = new RedisDecisionStore({ connection, deadlineMs, clockToleranceMs: 60_000 });
  const tracking = new Tracking({ connection, logger: silentLogger, observe: () => undefined });
  const records = new RedisRevocationRecords({ connection, tracking, prefixes: [], deadlineMs });
  const isOpen = () => ({ reads: false, writes: false });
  return {
    store,
    inspection: inspectRedis({ connection, records, deadlineMs, isOpen, doubt: () => undefined }),
    contents,
  };
}

describe("inspections", () => {
  const cleanUp: (() => unknown)[] = [];
  after(async () => {
    for (const clean of cleanUp.reverse()) await clean();
  });

  describeInspection(
    "the in-process store",
    () => {
      const store = new MemoryDecisionStore();
      return { store, inspection: inspectMemory(store), contents: () => Promise.resolve(undefined) };
    },
    100,
  );

  describeInspection(
    "the Redis store",
    () => {
      const client = new Redis(testRedisUrl());
      cleanUp.push(() => client.disconnect());
      return onRedis(client, async (prefix) => {
        const keys = (await client.keys(`${prefix}*`)).toSorted();
        return Promise.all(
          keys.map(async (key) => [
            key,
            ((await client.dumpBuffer(key)) as Buffer | null)?.toString("hex"),
            await client.pexpiretime(key),
          ]),
        );
      });
    },
    30,
  );

  it("of Redis tell what cannot be read, and write no end to a counter that has none", async () => {
    const client = new Redis(testRedisUrl());
    cleanUp.push(() => client.disconnect());
    const { inspection } = onRedis(client, () => Promise.resolve(undefined));
    const prefix = freshPrefix();
    await client.set(`${prefix}endless`, "3");
    await client.lpush(`${prefix}list`, "x");
    const plain = { limit: 5, cost: 1, windowSeconds: 60 };
    const states = await inspection.counters([
      { ...plain, key: `${prefix}endless` },
      { ...plain, key: `${prefix}list` },
    ]);
    expect(states[0]).to.include({ consumed: 4 });
    expect(states[1]).to.be.instanceOf(StoreFault).and.include({ kind: "unreadable" });
    expect(await client.pttl(`${prefix}endless`)).to.equal(-1);
    await client.del(`${prefix}endless`, `${prefix}list`);
  });

  it("of a Redis that is away are faults, in every part", async () => {
    const client = new Redis("redis://127.0.0.1:1", { retryStrategy: () => null, enableOfflineQueue: false });
    client.on("error", () => undefined);
    cleanUp.push(() => client.disconnect());
    const { inspection } = onRedis(client, () => Promise.resolve(undefined), 50);
    const [[state], { fault }] = await Promise.all([
      inspection.counters([{ key: "k", limit: 1, cost: 1, windowSeconds: 60 }]),
      inspection.records(["a", "b"]),
    ]);
    expect(state).to.be.instanceOf(StoreFault);
    expect(fault).to.be.instanceOf(StoreFault);
  });

  describe("on Redis Cluster", function () {
    this.timeout(60_000);
    let client: Cluster;
    before(async () => {
      const cluster = await startCluster({ masters: 3 });
      cleanUp.push(() => cluster.stop());
      client = new Cluster([...cluster.seeds]);
      cleanUp.push(() => client.disconnect());
    });

    describeInspection("the Redis store", () => onRedis(client, () => Promise.resolve(undefined)), 10);
  });
});
